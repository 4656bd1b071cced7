"""The reproduction: what is planned, what was published, and the tables and figures that the records give."""

from glf_minimal.reproduction.plan import EXPERIMENTS, cells, get_experiment
from glf_minimal.reproduction.reproduce import is_recorded, reproduce
from glf_minimal.reproduction.tables import TABLES

__all__ = ["EXPERIMENTS", "TABLES", "cells", "get_experiment", "is_recorded", "reproduce"]
