"""The reproduction: what is planned, what was published, and the tables and figures that the records give."""

from glf_minimal.reproduction.cells import cells
from glf_minimal.reproduction.figures import FIGURES, draw
from glf_minimal.reproduction.plan import EXPERIMENTS, get_experiment
from glf_minimal.reproduction.report import TABLES, write_report
from glf_minimal.reproduction.reproduce import is_recorded, reproduce

__all__ = [
    "EXPERIMENTS",
    "FIGURES",
    "TABLES",
    "cells",
    "draw",
    "get_experiment",
    "is_recorded",
    "reproduce",
    "write_report",
]
