"""Filling tables: train what is missing, measure it, record it; nothing recorded is redone."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from glf_minimal.errors import DivergenceError, GLFError, RecipeError, RunError
from glf_minimal.evaluation.classifier import classifier_digest
from glf_minimal.evaluation.features import InceptionFeatures
from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures
from glf_minimal.files import make_folder, user_path
from glf_minimal.recipes.run import read_run, train_recipe
from glf_minimal.reproduction.cells import Cell, differing
from glf_minimal.reproduction.extras import EXTRAS
from glf_minimal.reproduction.measuring import diverged_run, evaluate_run
from glf_minimal.reproduction.records import (
    GENERATED,
    REAL,
    Record,
    Status,
    read_record,
    write_record,
)
from glf_minimal.reproduction.tuning import tuned_cell
from glf_minimal.training.folder import SNAPSHOTS, WEIGHTS
from glf_minimal.training.settings import pick_device


def is_recorded(cell: Cell, results: Path, fid: bool = False, squeezenet: bool = False) -> bool:
    """Whether there is a whole record of this cell, of its settings and protocol.

    Any other record is replaced, except that a reduced run never replaces a full one, nor one that
    is reduced in no more settings and is at least as long.

    Args:
        cell: with its chosen settings, see ``tuned_cell``.
        results: the folder of the records.
        fid: a whole record has FID.
        squeezenet: a whole record has the second judge's distance.
    """
    path = cell.path(results)
    if not path.exists():
        return False
    record = read_record(path.json)
    wanted = cell.recipe.settings()
    if cell.row.real:
        differences = differing({"data": record.settings["data"]}, {"data": wanted["data"]})
    else:
        differences = differing(record.settings, wanted)
    if differences and cell.reduced:
        return _is_larger(record.settings, wanted, cell.row.settings())
    if differences:
        return False
    if record.status is Status.DIVERGED:
        return True
    return _is_whole(record, cell, results, fid, squeezenet)


def _is_larger(recorded: dict, wanted: dict, full: dict) -> bool:
    """Whether a recorded run is the full one, or reduced as the wanted one is and as long."""
    less, wanted_less = differing(recorded, full), differing(wanted, full)
    others = {name: value for name, value in less.items() if name != "train.epochs"}
    same = all(value == wanted_less.get(name) for name, value in others.items())
    return not less or (same and recorded["train"]["epochs"] >= wanted["train"]["epochs"])


def _is_whole(record: Record, cell: Cell, results: Path, fid: bool, squeezenet: bool) -> bool:
    """Whether a record has been measured as its cell says, and nothing is missing."""
    protocol = asdict(cell.protocol)
    protocol["samples_are"] = REAL if cell.row.real else GENERATED
    protocol["binarize"] = record.protocol["binarize"]  # which follows from the settings
    if record.protocol != protocol:
        return False
    classified = record.status_of("classifier") is Status.MEASURED
    if classified and record.judge_digest not in (None, classifier_digest(cell.data)):
        return False  # another classifier has been installed since
    wants_curve = cell.recipe.settings()["train"]["snapshots"] and not cell.row.real
    if wants_curve and classified and "curve" not in record:
        return False
    groups = ["inception"] if fid else []
    if squeezenet:
        groups.append("squeezenet")
    if any(record.status_of(group) is not Status.MEASURED for group in groups):
        return False
    return all(extra.exists() for extra in cell.extras(results).values())


def has_record(cell: Cell, results: Path, **asked: bool) -> bool:
    """Whether a cell is recorded; one whose settings have not been chosen yet is not."""
    try:
        return is_recorded(tuned_cell(cell, results), results, **asked)
    except RecipeError:
        return False


class LenderBusy(Exception):  # noqa: N818
    """Another process is training the auto-encoder that a cell needs."""


@dataclass(frozen=True)
class _Work:
    """What all cells of one call of ``reproduce`` have in common; see there."""

    runs: Path
    results: Path
    root: Path | None
    device: str
    inception: InceptionFeatures | None
    squeezenet: SqueezeNetFeatures | None
    progress: bool
    say: Callable[[str], None]
    only_news: bool

    def lock(self, folder: Path, timeout: float = 0) -> FileLock:
        """The lock of a run's folder; it fails with Timeout while another process has it."""
        return FileLock(self.runs / f".{folder.name}.lock", timeout=timeout)

    def is_recorded(self, cell: Cell) -> bool:
        fid, squeezenet = self.inception is not None, self.squeezenet is not None
        return is_recorded(cell, self.results, fid, squeezenet)


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
    only_news: bool = False,
) -> list[Cell]:
    """Train, measure and record the cells that have no record yet; returns those that failed.

    It may be killed at any time: a training goes on from its last whole epoch, a measurement begins
    again. Several may run side by side, on the same folders: each skips the cells that another is
    working on. A cell whose auto-encoder another process is training waits for it, but comes last.
    A cell that cannot be trained or measured does not keep the others from it.

    Args:
        cells: from ``make_cells``.
        runs: folder of the trainings, one folder each.
        results: folder of the records.
        root: where data is cached.
        device: of training and measurement.
        inception: also measure FID with it.
        progress: show a progress bar for each training.
        say: is told what happens, a line at a time.
        squeezenet: also measure with the second judge.
        only_news: say nothing of cells that there is nothing to do for, and no summary.
    """
    device = str(pick_device(device))
    work = _Work(
        runs=user_path(runs),
        results=user_path(results),
        root=root,
        device=device,
        inception=inception,
        squeezenet=squeezenet,
        progress=progress,
        say=say,
        only_news=only_news,
    )
    make_folder(work.runs)
    names = [f"[{index}/{len(cells)}] {cell}" for index, cell in enumerate(cells, start=1)]
    counts: Counter[str] = Counter()
    failed, left, waiting = [], [], []

    def attend(index: int, wait: bool) -> None:
        try:
            counts[_attend(cells[index], names[index], work, wait)] += 1
        except LenderBusy:
            waiting.append(index)
        except Timeout:
            left.append(index)
        except (GLFError, OSError, torch.OutOfMemoryError) as error:
            failed.append(cells[index])
            say(f"{names[index]}: failed: {error}")

    for index in range(len(cells)):
        attend(index, wait=False)
    # Rows may share a training, so what was busy may have been left by all who passed it.
    again, left, waiting = sorted(left + waiting), [], []
    for index in again:
        attend(index, wait=True)
    if only_news:
        return failed
    for index in left:
        say(f"{names[index]}: being worked on by another process")
    counts["worked on by another process"] = len(left)
    counts["failed"] = len(failed)
    say("; ".join(f"{number} {what}" for what, number in counts.items() if number))
    return failed


def _attend(cell: Cell, name: str, work: _Work, wait: bool) -> str:
    """Record a cell if it is not; returns what was done.

    With ``wait``, wait for another process that is training the cell's auto-encoder.

    Raises:
        Timeout: another process is working on this cell, or on one that shares its training.
        LenderBusy: another process is training its auto-encoder, and ``wait`` is False.
    """
    cell = tuned_cell(cell, work.results)
    if not work.is_recorded(cell):
        folder = cell.run(work.runs)
        with work.lock(folder):
            if not work.is_recorded(cell):  # by another process, just now
                work.say(f"{name}: {folder}")
                work.say(f"{name}: {_fill(cell, work, wait)}")
                return "recorded now"
    if not work.only_news:
        recorded = read_record(cell.record(work.results)).settings
        larger = not cell.row.real and differing(recorded, cell.recipe.settings())
        place = ", with a larger run; --results gives this one a place of its own"
        work.say(f"{name}: recorded{place if larger else ''}")
    return "recorded before"


def _fill(cell: Cell, work: _Work, wait: bool) -> Path:
    """Train, measure and record a cell; returns the path of its record."""
    folder, path = cell.run(work.runs), cell.path(work.results)
    root = work.root
    wants_snapshots = cell.row.changes.get("train.snapshots") and not cell.row.real
    if wants_snapshots and (folder / WEIGHTS).exists() and not (folder / SNAPSHOTS).exists():
        raise RunError(
            f"{folder} was trained without snapshots, so it has no learning curve; delete it"
        )
    # A checkpoint after every epoch, so that no more than the one under way can be lost.
    how = {
        "train.device": work.device,
        "train.progress": work.progress,
        "train.checkpoint_seconds": 0.0,
    }
    lender = None
    if cell.lender:
        lender = cell.lender.run(work.runs)
        try:
            with work.lock(lender, timeout=-1 if wait else 0):
                train_recipe(cell.lender.recipe.with_settings(how), lender, root)
        except Timeout:
            raise LenderBusy from None
    try:
        train_recipe(cell.recipe.with_settings(how), folder, root, lender)
    except DivergenceError as error:  # a result, too
        content = diverged_run(folder, cell.protocol, str(error))
        return write_record(content, folder, work.results, path.experiment, path.row)
    run = read_run(folder, work.device)
    content = evaluate_run(
        run, cell.protocol, root, work.device, work.inception, cell.row.real, work.squeezenet
    )
    for name, extra in cell.extras(work.results).items():
        make_folder(extra.parent)
        EXTRAS[name](run, extra, root, work.device)
    return write_record(content, folder, work.results, path.experiment, path.row)
