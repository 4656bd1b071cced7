"""What the records say of an experiment's rows."""

import json
import shlex
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

from glf_minimal.errors import RecipeError
from glf_minimal.evaluation.protocol import Protocol
from glf_minimal.files import read_csv
from glf_minimal.reproduction import plan
from glf_minimal.reproduction.cells import Experiment, Row, differing
from glf_minimal.reproduction.once import kept
from glf_minimal.reproduction.records import (
    Record,
    Status,
    find_records,
    read_records,
)
from glf_minimal.reproduction.tuning import with_chosen_settings

NOT_RUN = str(Status.NOT_RUN)


@dataclass(frozen=True)
class RecordedRow:
    """A row of an experiment with its records, one a seed, all of the same settings, if any."""

    experiment: Experiment
    row: Row
    records: tuple[Record, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.records)

    @property
    def title(self) -> str:
        """The row's title, marked if its runs are reduced."""
        return f"{self.row.title} (reduced)" if self.reductions else self.row.title

    @property
    def finished(self) -> list[Record]:
        """The records of trainings that did not diverge."""
        return [record for record in self.records if record.status is not Status.DIVERGED]

    @property
    def diverged(self) -> int:
        """How many of its trainings did."""
        return len(self.records) - len(self.finished)

    @property
    def seeds(self) -> set[int]:
        """Of the trainings that did not diverge."""
        return {record.seed for record in self.finished}

    def of_seeds(self, seeds: set[int]) -> "RecordedRow":
        """The same row with the records of these seeds alone."""
        return replace(
            self, records=tuple(record for record in self.records if record.seed in seeds)
        )

    @property
    def reductions(self) -> dict[str, tuple]:
        """What the runs have otherwise than the row's full run: setting -> (recorded, full)."""
        return reductions(self.records[0], self.row) if self.records else {}

    def values(self, group: str, name: str) -> list[float]:
        """A metric of every seed; empty where it was not measured."""
        measured = [record.measures(group) for record in self.records]
        return [measures[name] for measures in measured if name in measures]

    def mean(self, group: str, name: str) -> float | None:
        """Mean over seeds of a metric, None where it was not measured."""
        values = self.values(group, name)
        return statistics.mean(values) if values else None

    @property
    def fcd(self) -> float | None:
        """Mean FCD over seeds."""
        return self.mean("classifier", "fcd")

    @property
    def test_error(self) -> float | None:
        """Mean squared error of reconstructed test images, summed over pixels."""
        return self.mean("reconstruction", "mse_per_image")

    @property
    def curves(self) -> list[list[dict]]:
        """The learning curves of its records, as far as they have one."""
        return [record.curve for record in self.records if record.curve]

    @property
    def hardware(self) -> str:
        """ "CPU", "GPU" or "CPU and GPU"."""
        made = [record.training for record in self.records]
        names = [
            h["hardware"]
            for training in made
            for h in (training, *training.get("resumed_with", []))
        ]
        return " and ".join(sorted({"CPU" if " thread" in name else "GPU" for name in names}))

    @property
    def machines(self) -> set[tuple]:
        """What its trainings ran on, as far as their records tell machines apart."""
        made = [record.training for record in self.records]
        return {
            (training["hardware"], training.get("versions", {}).get("torch")) for training in made
        }

    @property
    def images(self) -> set[tuple]:
        """Digests of what its trainings saw and of what they were measured on."""
        measured = [record.evaluation.get("reference_sha256") for record in self.records]
        return {
            (record.training.get("data_sha256"), digest)
            for record, digest in zip(self.records, measured, strict=True)
        }

    @property
    def clock(self) -> str:
        """Which times of its trainings to compare; "" where none compare.

        On a CPU these are the seconds that its cores worked, as it may have done other work, too.
        """
        clock = {"CPU": "cpu_seconds", "GPU": "seconds"}.get(self.hardware, "")
        whole = (
            bool(self.finished)
            and not self.row.real
            and all(clock in record.training for record in self.finished)
        )
        return clock if whole else ""

    @property
    def seconds(self) -> float | None:
        """Mean seconds of a training, by ``clock``; None where they do not compare."""
        return (
            statistics.mean(record.training[self.clock] for record in self.finished)
            if self.clock
            else None
        )

    @property
    def training(self) -> str:
        """How long its trainings were, and what else is other than in the row's settings.

        Such as "15 of 50 epochs, networks.width 32, not 64".
        """
        less = self.reductions
        done, planned = less.pop("train.epochs", (self.records[0].settings["train"]["epochs"],) * 2)
        parts = [f"{done} of {planned} epochs" if done != planned else f"{done} epochs"]
        parts += [
            f"{name} {value}" + ("" if full is None else f", not {full}")
            for name, (value, full) in less.items()
        ]
        return ", ".join(parts)

    @property
    def extent(self) -> str:
        """How much was run: "15 epochs, 3 seeds, CPU".

        A run with less than the row's settings is called reduced.
        """
        if not self.records:
            return NOT_RUN
        if self.row.real:
            return "–"
        parts = [self.training]
        number = len(self.records)
        planned_seeds = self.experiment.seeds
        of = f" of {planned_seeds}" if number < planned_seeds else ""
        parts.append(f"{number} seed{'s' if number > 1 else ''}{of}")
        if self.diverged:
            parts.append(f"{self.diverged} diverged")
        reduced = "reduced: " if self.reductions else ""
        return f"{reduced}{', '.join([*parts, self.hardware])}"

    @property
    def options(self) -> str:
        """The options of ``glf reproduce`` that make a reduced run; empty for a full one."""
        less = sorted(self.reductions.items())
        settings = [
            part for name, (value, _) in less for part in ("--set", f"{name}={json.dumps(value)}")
        ]
        return shlex.join([*settings, "--seeds", str(len(self.records))]) if less else ""


def reductions(record: Record, row: Row) -> dict[str, tuple]:
    """What a record's run has otherwise than the row's full run: setting -> (recorded, full)."""
    return {} if row.real else differing(record.settings, row.settings())


@kept
def read_rows(results: str | Path, experiment: Experiment, data: str) -> dict[str, RecordedRow]:
    """Every row of an experiment, in the order of the plan, by name.

    Where a row has records of different settings, those of the full run count, or else of the
    longest: runs of different settings are not averaged. A record that was measured in another way
    than the row says does not count.

    Raises:
        RunError: a record that is damaged.
    """
    found: dict[str, dict[str, list[Record]]] = {}  # by folder and row
    read = {}
    for row in experiment.rows[data]:
        path = experiment.path(results, data, row.name)
        if path.experiment not in found:
            some = find_records(results, path.experiment, data)
            found[path.experiment] = read_records(results, path.experiment, data) if some else {}
        chosen = _as_chosen(row, results, data)
        records = found[path.experiment].get(path.row, [])
        read[row.name] = RecordedRow(experiment, chosen, comparable_records(records, chosen))
    return read


def _as_chosen(row: Row, results: str | Path, data: str) -> Row:
    """The row with what its sweep has chosen, or as it is planned while nothing is chosen."""
    try:
        return with_chosen_settings(row, results, data)
    except RecipeError:
        return row


def comparable_records(records: list[Record], row: Row) -> tuple[Record, ...]:
    """Those records of a row that may be averaged, see ``read_rows``."""
    groups: dict[str, list[Record]] = {}
    protocol = asdict(replace(Protocol(), **row.protocol))
    del protocol["binarize"]  # which follows from the settings
    for record in records:
        if all(record.protocol.get(name, value) == value for name, value in protocol.items()):
            groups.setdefault(json.dumps(reductions(record, row), sort_keys=True), []).append(
                record
            )

    def rank(same: list[Record]) -> tuple:
        return not reductions(same[0], row), same[0].settings["train"]["epochs"], len(same)

    return tuple(max(groups.values(), key=rank, default=()))


def nearest(rows: Iterable[RecordedRow], judge: tuple[str, str]) -> RecordedRow | None:
    """The row whose samples are nearest to the data by a judge; None if it has judged none."""
    judged = [row for row in rows if row.values(*judge)]
    return min(judged, key=lambda row: row.mean(*judge), default=None)


def common_seeds(rows: Iterable[RecordedRow]) -> set[int]:
    """The seeds that all of these rows have, of those that have any; real images have none.

    A mean over other seeds differs even where the rows do not. Rows with diverged trainings come
    last; a row that would leave no common seed is skipped.
    """
    trained = [row for row in rows if row.seeds and not row.row.real]
    trained.sort(key=lambda row: row.diverged > 0)
    common = trained[0].seeds if trained else set()
    for row in trained[1:]:
        common = common & row.seeds or common
    return common


def first_at(level: float, curves: list[list[dict]], what: str = "epoch") -> float | None:
    """When the FCD of learning curves first came down to a level: the mean over the curves.

    None where not all of them did.

    A straight line between the points of a curve says when: else it would be decided by where the
    snapshots of each model happen to lie. The first point has none before it and counts from where
    it is.
    """
    firsts = [_first_at(level, curve, what) for curve in curves]
    return None if not firsts or None in firsts else statistics.mean(firsts)


def _first_at(level: float, curve: list[dict], what: str) -> float | None:
    if curve[0]["fcd"] <= level:
        return curve[0][what]
    for before, after in pairwise(curve):
        if after["fcd"] <= level:
            share = (before["fcd"] - level) / (before["fcd"] - after["fcd"])
            return before[what] + share * (after[what] - before[what])
    return None


def first_samples(results: str | Path, data: str, row: RecordedRow) -> Path | None:
    """The picture of 64 samples, 8 in a row, that lies beside the first record that has one.

    None where no record has: real images and most diverged trainings draw nothing.
    """
    paths = (
        row.experiment.path(results, data, row.row.name, record.seed).png for record in row.records
    )
    return next((path for path in paths if path.exists()), None)


def nearest_distances(results: str | Path, data: str) -> dict[str, list[float]]:
    """Distances to the nearest training image, of GLF's first record in Table 1, by kind of image.

    Empty where it has none.
    """
    path = plan.TABLE_1.path(results, data, "glf").extra("neighbours.csv")
    distances: dict[str, list[float]] = {}
    for row in read_csv(path) if path.exists() else []:
        distances.setdefault(row["image"], []).append(row["distance"])
    return distances


def notes(rows: list[RecordedRow]) -> list[str]:
    """How much was run of which row; which diverged; which were not run, and why: sentences."""
    extents = {}
    lines = []
    reasons = {}
    for row in rows:
        ends = [
            f"seed {record.seed} {record.said('classifier')}"
            for record in row.records
            if record.status is Status.DIVERGED
        ]
        lines += [f"{row.row.title}: {'; '.join(ends)}."] if ends else []
        if not row:
            reasons.setdefault(
                f"need {row.row.needs}" if row.row.needs else "not yet trained", []
            ).append(row.title)
        elif not row.row.real:
            extents.setdefault(row.extent, []).append(row.row.title)
    whole = len(extents) == 1 and not reasons
    run = [
        extent if whole else f"{extent} ({'; '.join(titles)})" for extent, titles in extents.items()
    ]
    not_run = [f"Not run ({reason}): {'; '.join(titles)}." for reason, titles in reasons.items()]
    return [*([f"Run: {'; '.join(run)}."] if run else []), *lines, *not_run]


def timing(rows: list[RecordedRow]) -> str:
    """What to know before one compares seconds of a CPU: sentences; "" where there are none."""
    timed: dict[str, list[str]] = {}
    for row in rows:
        if row.clock == "cpu_seconds":
            timed.setdefault(str(sorted(row.machines)), []).append(row.row.title)
    if not timed:
        return ""
    older = (
        " Older records have none."
        if any(r.finished and not r.row.real and not r.clock for r in rows)
        else ""
    )
    together = "".join(f" ({'; '.join(titles)})" for titles in timed.values())
    return (
        "Seconds on a CPU are those that its cores worked on the training; those of two machines "
        "do not compare."
        f"{older} Timed on one machine, as far as the records tell:{together}."
    )


def commands(rows: list[RecordedRow], experiment: Experiment, data: str) -> list[str]:
    """What makes an experiment's records on a data set: in full and, if there are such, reduced."""
    full = (
        f"glf reproduce {experiment.name}{f' --dataset {data}' if len(experiment.rows) > 1 else ''}"
    )
    reduced: dict[str, list[str]] = {}
    for row in rows:
        if row.options:
            reduced.setdefault(row.options, []).append(row.row.name)
    every = [row.name for row in experiment.rows[data] if not row.real]
    lines = [full]
    # Settings of some rows, which others may not even have.
    for options, names in sorted(reduced.items()):
        chosen = "" if names == every else "".join(f" --rows {name}" for name in names)
        lines.append(f"{full}{chosen} {options}  # reduced, as above")
    return lines
