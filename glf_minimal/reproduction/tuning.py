"""What the sweeps on held-out training images have chosen for the baselines."""

from dataclasses import replace
from pathlib import Path

from glf_minimal.errors import RecipeError
from glf_minimal.files import user_path
from glf_minimal.reproduction.cells import Cell, Row, differing
from glf_minimal.reproduction.records import read_record
from glf_minimal.reproduction.small_edition import SWEEPS, TUNED_ON, TUNING


def sweep_distances(results: Path, sweep: str, data: str) -> dict[str, float]:
    """The validation FCD of each row of a sweep that has a whole record, by the row's name."""
    distances = {}
    for row in sweep_rows(sweep, data):
        cell = Cell(TUNING, data, row, seed=0)
        path = cell.record(user_path(results))
        if not path.exists():
            continue
        record = read_record(path)
        measures = record["metrics"]["classifier"]
        if differing(record["settings"], row.settings()) or not isinstance(measures, dict):
            continue
        distances[row.name] = measures["fcd"]
    return distances


def sweep_rows(sweep: str, data: str) -> list[Row]:
    """The rows of a sweep in the experiment "tuning", in the order of its settings."""
    before = 0
    for name, (_, tries) in SWEEPS.items():
        if name == sweep:
            return list(TUNING.rows[data][before : before + len(tries)])
        before += len(tries)
    raise RecipeError(f"unknown sweep {sweep!r}; expected one of {', '.join(SWEEPS)}")


def chosen_settings(results: Path, sweep: str, data: str) -> dict:
    """The settings of a sweep with the least FCD on held-out images; for ``data``, whose sweep may
    be another data set's.

    Raises:
        RecipeError: the sweep has not been recorded, or not all of it.
    """
    tuned_on = TUNED_ON[data]
    distances = sweep_distances(results, sweep, tuned_on)
    rows = sweep_rows(sweep, tuned_on)
    missing = [row.name for row in rows if row.name not in distances]
    if missing and not _diverged(results, tuned_on, missing):
        names = " ".join(f"--rows {name}" for name in missing)
        raise RecipeError(
            f"{sweep}: its settings have not been chosen yet, as {len(missing)} of {len(rows)} "
            f"tries have no record; first run: glf reproduce tuning --dataset {tuned_on} {names}"
        )
    best = min(distances, key=distances.__getitem__)
    index = [row.name for row in rows].index(best)
    return SWEEPS[sweep][1][index]


def _diverged(results: Path, data: str, names: list[str]) -> bool:
    """Whether all of these tries have a record that says they diverged."""
    folder = user_path(results) / TUNING.folder / data
    paths = [folder / name / "seed-0.json" for name in names]
    return all(
        path.exists() and str(read_record(path)["metrics"]["classifier"]).startswith("diverged")
        for path in paths
    )


def with_chosen_settings(row: Row, results: Path, data: str) -> Row:
    """The row with what its sweep has chosen; a row without a sweep is returned as it is."""
    if not row.sweep:
        return row
    return replace(row, changes=row.changes | chosen_settings(results, row.sweep, data))


def tuned_cell(cell: Cell, results: Path) -> Cell:
    """The cell with what the sweep of its row has chosen."""
    return replace(cell, row=with_chosen_settings(cell.row, results, cell.data))
