"""What the sweeps on held-out training images have chosen for the baselines."""

from dataclasses import replace
from pathlib import Path

from glf_minimal.errors import RecipeError
from glf_minimal.reproduction.cells import Cell, Row, differing
from glf_minimal.reproduction.records import Record, Status, read_record
from glf_minimal.reproduction.small_edition import SWEEPS, TUNED_ON, TUNING


def sweep_rows(sweep: str, data: str) -> list[Row]:
    """The rows of a sweep in the experiment "tuning", in the order of its settings."""
    before = 0
    for name, (_, tries) in SWEEPS.items():
        if name == sweep:
            return list(TUNING.rows[data][before : before + len(tries)])
        before += len(tries)
    raise RecipeError(f"unknown sweep {sweep!r}; expected one of {', '.join(SWEEPS)}")


def _tried(results: Path, sweep: str, data: str) -> dict[str, Record]:
    """The records of a sweep's full runs, by row."""
    records = {}
    for row in sweep_rows(sweep, data):
        path = TUNING.path(results, data, row.name)
        if path.exists():
            record = read_record(path.json)
            if not differing(record.settings, row.settings()):
                records[row.name] = record
    return records


def sweep_distances(results: str | Path, sweep: str, data: str) -> dict[str, float]:
    """The validation FCD of each row of a sweep that was measured, by the row's name."""
    tried = _tried(Path(results), sweep, data)
    measured = {name: record.measures("classifier") for name, record in tried.items()}
    return {name: measures["fcd"] for name, measures in measured.items() if measures}


def chosen_settings(results: str | Path, sweep: str, data: str) -> dict:
    """The settings of a sweep with the least FCD on held-out images.

    A try whose training diverged is not chosen.

    Args:
        results: the folder of the records.
        sweep: its name in ``SWEEPS``.
        data: the data set they are for; its sweep may be that of another data set.

    Raises:
        RecipeError: not every try of the sweep has been recorded, or all of them diverged.
    """
    tuned_on = TUNED_ON[data]
    rows = sweep_rows(sweep, tuned_on)
    tried = _tried(Path(results), sweep, tuned_on)
    distances = sweep_distances(results, sweep, tuned_on)
    ended = [name for name in tried if tried[name].status is Status.DIVERGED]
    missing = [row.name for row in rows if row.name not in (*distances, *ended)]
    if missing:
        names = " ".join(f"--rows {name}" for name in missing)
        raise RecipeError(
            f"{sweep}: its settings have not been chosen yet, as {len(missing)} of {len(rows)} "
            f"tries have no record; first run: glf reproduce tuning --dataset {tuned_on} {names}"
        )
    if not distances:
        raise RecipeError(f"{sweep}: every try on {tuned_on} diverged, so no settings are chosen")
    best = min(distances, key=distances.__getitem__)
    index = [row.name for row in rows].index(best)
    return SWEEPS[sweep][1][index]


def with_chosen_settings(row: Row, results: str | Path, data: str) -> Row:
    """The row with what its sweep has chosen; a row without a sweep is returned as it is."""
    if not row.sweep:
        return row
    return replace(row, changes=row.changes | chosen_settings(results, row.sweep, data))


def tuned_cell(cell: Cell, results: str | Path) -> Cell:
    """The cell with what the sweep of its row has chosen."""
    return replace(cell, row=with_chosen_settings(cell.row, results, cell.data))
