"""What the sweeps on held-out training images have chosen for the baselines."""

from dataclasses import replace
from pathlib import Path

from glf_minimal.errors import RecipeError
from glf_minimal.reproduction.cells import Cell, Row, differing
from glf_minimal.reproduction.records import Record, Status, read_record
from glf_minimal.reproduction.small_edition import SWEEPS, TUNED_ON, TUNING, sweep_rows


def read_tries(results: str | Path, sweep: str, data: str) -> dict[str, Record]:
    """The records of a sweep's full runs on a data set, by row."""
    records = {}
    for row in sweep_rows(sweep, data):
        path = TUNING.path(results, data, row.name)
        if path.exists():
            record = read_record(path.json)
            if not differing(record.settings, row.settings()):
                records[row.name] = record
    return records


def validation_distance(record: Record) -> float | None:
    """The FCD of a try on held-out images; None of one whose training diverged."""
    return record.measures("classifier").get("fcd")


def best_try(tries: dict[str, Record], sweep: str, data: str) -> str:
    """The row with the least FCD on held-out images; a try whose training diverged never is.

    Args:
        tries: from ``read_tries``.
        sweep: its name in ``SWEEPS``.
        data: the data set that it was made on.

    Raises:
        RecipeError: not every try of the sweep has been recorded, or all of them diverged.
    """
    rows = sweep_rows(sweep, data)
    distances = {name: validation_distance(record) for name, record in tries.items()}
    measured = {name: value for name, value in distances.items() if value is not None}
    ended = [name for name in tries if tries[name].status is Status.DIVERGED]
    missing = [row.name for row in rows if row.name not in (*measured, *ended)]
    if missing:
        names = " ".join(f"--rows {name}" for name in missing)
        raise RecipeError(
            f"{sweep}: its settings have not been chosen yet, as {len(missing)} of {len(rows)} "
            f"tries have no record; first run: glf reproduce tuning --dataset {data} {names}"
        )
    if not measured:
        raise RecipeError(f"{sweep}: every try on {data} diverged, so no settings are chosen")
    return min(measured, key=measured.__getitem__)


def chosen_settings(results: str | Path, sweep: str, data: str) -> dict:
    """The settings of a sweep's best try, for a data set; the sweep may be that of another one.

    Raises:
        RecipeError: see ``best_try``.
    """
    tuned_on = TUNED_ON[data]
    best = best_try(read_tries(results, sweep, tuned_on), sweep, tuned_on)
    index = [row.name for row in sweep_rows(sweep, tuned_on)].index(best)
    return SWEEPS[sweep][index]


def with_chosen_settings(row: Row, results: str | Path, data: str) -> Row:
    """The row with what its sweep has chosen; a row without a sweep is returned as it is."""
    if not row.sweep:
        return row
    return replace(row, changes=row.changes | chosen_settings(results, row.sweep, data))


def tuned_cell(cell: Cell, results: str | Path) -> Cell:
    """The cell with what the sweep of its row has chosen."""
    return replace(cell, row=with_chosen_settings(cell.row, results, cell.data))
