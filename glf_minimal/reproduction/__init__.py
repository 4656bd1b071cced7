"""The reproduction: what is planned, what was published, records, tables, figures, verdicts."""

from glf_minimal.reproduction.cells import make_cells
from glf_minimal.reproduction.figures import FIGURES, draw, show
from glf_minimal.reproduction.filling import has_record, is_recorded, reproduce
from glf_minimal.reproduction.plan import EXPERIMENTS, get_experiment
from glf_minimal.reproduction.records import read_records
from glf_minimal.reproduction.report import TABLES, write_report

__all__ = [
    "EXPERIMENTS",
    "FIGURES",
    "TABLES",
    "draw",
    "get_experiment",
    "has_record",
    "is_recorded",
    "make_cells",
    "read_records",
    "reproduce",
    "show",
    "write_report",
]
