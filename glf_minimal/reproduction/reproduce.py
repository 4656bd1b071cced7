"""Filling tables: train what is missing, measure it, record it; nothing recorded is redone."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from glf_minimal.errors import DivergenceError, GLFError, RecipeError, RunError
from glf_minimal.evaluation.classifier import classifier_digest
from glf_minimal.evaluation.features import InceptionFeatures
from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures
from glf_minimal.files import make_folder, user_path
from glf_minimal.recipes.run import train_recipe
from glf_minimal.reproduction.cells import Cell, differing
from glf_minimal.reproduction.extras import EXTRAS
from glf_minimal.reproduction.recorded import diverged
from glf_minimal.reproduction.records import diverged_run, evaluate_run, read_record, write_record
from glf_minimal.reproduction.tuning import tuned_cell
from glf_minimal.training.folder import SNAPSHOTS, WEIGHTS
from glf_minimal.training.settings import pick_device

LARGER = ", with a larger run; --results gives this one a place of its own"


def is_recorded(cell: Cell, results: Path, fid: bool = False, squeezenet: bool = False) -> bool:
    """Whether there is a record of this cell: of its settings and protocol, whole (with ``fid``,
    also of FID; with ``squeezenet``, also of the second judge, if the experiment asks for it).

    Any other record is replaced, except that a reduced run never replaces a full one, nor one that
    is reduced in no more settings and is at least as long.
    """
    path = cell.record(results)
    if not path.exists():
        return False
    record, wanted = read_record(path), cell.recipe.settings()
    if cell.row.real:
        differences = differing({"data": record["settings"]["data"]}, {"data": wanted["data"]})
    else:
        differences = differing(record["settings"], wanted)
    if differences and cell.reduced:
        full = cell.row.settings()
        less, wanted_less = (differing(settings, full) for settings in (record["settings"], wanted))
        same = all(
            value == wanted_less.get(name) for name, value in less.items() if name != "train.epochs"
        )
        epochs, wanted_epochs = (
            settings["train"]["epochs"] for settings in (record["settings"], wanted)
        )
        return not less or (same and epochs >= wanted_epochs)
    if differences or diverged(record):
        return not differences
    samples_are = "real training images" if cell.row.real else "generated"
    protocol = asdict(cell.protocol) | {
        "samples_are": samples_are,
        "binarize": record["protocol"]["binarize"],
    }
    classified = isinstance(record["metrics"]["classifier"], dict)
    curve = (
        not (wanted["train"]["snapshots"] and classified and not cell.row.real) or "curve" in record
    )
    digest = record["classifier"].get("sha256") if classified else None  # older records do not say
    same_judge = not digest or digest == classifier_digest(
        cell.data
    )  # else another classifier has taken its place
    measured = not fid or isinstance(record["metrics"]["inception"], dict)
    if squeezenet and cell.experiment.squeezenet:
        measured = measured and isinstance(record["metrics"].get("squeezenet"), dict)
    whole = all(extra.exists() for extra in cell.extras(results).values())
    return record["protocol"] == protocol and same_judge and curve and measured and whole


def has_record(cell: Cell, results: Path, **asked: bool) -> bool:
    """Whether a cell is recorded; one whose settings have not been chosen yet is not."""
    try:
        return is_recorded(tuned_cell(cell, results), results, **asked)
    except RecipeError:
        return False


def reproduce(
    cells: list[Cell],
    runs: Path = Path("runs"),
    results: Path = Path("data/results"),
    root: Path | None = None,
    device: str = "auto",
    inception: InceptionFeatures | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
    squeezenet: SqueezeNetFeatures | None = None,
) -> list[Cell]:
    """Train, measure and record the cells that have no record yet; returns those that failed.

    It may be killed at any time: a training goes on from its last whole epoch, a measurement begins
    again. Several may run side by side, on the same folders: each takes cells that no other is at.

    Args:
        cells: from ``make_cells``.
        runs: folder of the trainings, one folder each.
        results: folder of the records.
        root: where data is cached.
        device: of training and measurement.
        inception: also measure FID with it.
        progress: show a progress bar for each training.
        say: is told what happens, a line at a time.
        squeezenet: the second judge, of the experiments that ask for it.

    A cell that cannot be trained or measured does not keep the others from it.
    """
    failed, counts, device = [], Counter(), str(pick_device(device))
    runs, results = user_path(runs), user_path(results)
    make_folder(runs)
    for place, cell in enumerate(cells, start=1):
        name = f"[{place}/{len(cells)}] {cell.experiment.name} {cell.data} {cell.row.name}"
        name += f" seed {cell.seed}"
        try:
            cell = tuned_cell(cell, results)
            folder = cell.run(runs)
            asked = {"fid": inception is not None, "squeezenet": squeezenet is not None}
            if not is_recorded(cell, results, **asked):
                with FileLock(runs / f".{folder.name}.lock", timeout=0):
                    if not is_recorded(cell, results, **asked):  # by another process, just now
                        say(f"{name}: {folder}")
                        judges = (inception, squeezenet)
                        path = _fill(cell, runs, results, root, device, judges, progress)
                        say(f"{name}: {path}")
                        counts["recorded now"] += 1
                        continue
            counts["recorded before"] += 1
            settings = read_record(cell.record(results))["settings"]
            larger = not cell.row.real and differing(settings, cell.recipe.settings())
            say(f"{name}: recorded{LARGER if larger else ''}")
        except Timeout:
            counts["worked on by another process"] += 1
            say(f"{name}: being worked on by another process")
        except (GLFError, OSError, torch.OutOfMemoryError) as error:
            failed.append(cell)
            say(f"{name}: failed: {error}")
    counts["failed"] = len(failed)
    say("; ".join(f"{number} {what}" for what, number in counts.items() if number))
    return failed


def _fill(
    cell: Cell,
    runs: Path,
    results: Path,
    root: Path | None,
    device: str,
    judges: tuple[InceptionFeatures | None, SqueezeNetFeatures | None],
    progress: bool,
) -> Path:
    folder = cell.run(runs)
    inception, squeezenet = judges
    wants_snapshots = cell.row.changes.get("train.snapshots") and not cell.row.real
    if wants_snapshots and (folder / WEIGHTS).exists() and not (folder / SNAPSHOTS).exists():
        raise RunError(
            f"{folder} was trained without snapshots, so it has no learning curve; delete it"
        )
    # A checkpoint after every epoch, so that no more than the one under way can be lost.
    how = {"train.device": device, "train.progress": progress, "train.checkpoint_seconds": 0.0}
    lender = None
    if cell.lender:
        lender = cell.lender.run(runs)
        with FileLock(runs / f".{lender.name}.lock", timeout=0):
            train_recipe(cell.lender.recipe.with_settings(how), lender, root)
    try:
        train_recipe(cell.recipe.with_settings(how), folder, root, lender)
    except DivergenceError as error:  # a result, too
        record = diverged_run(folder, cell.protocol, str(error))
        return write_record(record, folder, results, cell.experiment.folder, cell.row.name)
    second = squeezenet if cell.experiment.squeezenet else None
    record = evaluate_run(folder, cell.protocol, root, device, inception, cell.row.real, second)
    for name, path in cell.extras(results).items():
        make_folder(path.parent)
        EXTRAS[name](folder, path, root, device)
    return write_record(record, folder, results, cell.experiment.folder, cell.row.name)
