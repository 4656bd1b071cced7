"""How a claim is judged: what a claim is, which rows may be compared, how comparisons add up."""

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from glf_minimal.reproduction import plan
from glf_minimal.reproduction.cells import Experiment
from glf_minimal.reproduction.recorded import RecordedRow, common_seeds, read_rows
from glf_minimal.reproduction.tables import number

FCD, FSD = ("classifier", "fcd"), ("squeezenet", "fsd")  # a judge's group and its distance
DIGITS = {FCD: 2, FSD: 0}  # after the point, of a distance

SUPPORTED, PARTLY, NOT_SUPPORTED, NOT_TESTED = "supported", "partly", "not supported", "not tested"

# How texts of rules speak of the shares that ``verdict`` asks for, and of bounds that are written
# out. A bound without an entry here is a KeyError, so that no text can lag behind its rule.
ALL, HALF = "in every comparison", "in at least half of them"
IN_WORDS = {0.1: "a tenth", 2: "two"}
TIMES = {2: "twice"}


def percent(share: float) -> str:
    """0.02 as "2 %"."""
    return f"{100 * share:g} %"


class Judgement(NamedTuple):
    """The outcome for one claim.

    Args:
        verdict: SUPPORTED, PARTLY, NOT_SUPPORTED or NOT_TESTED.
        evidence: the numbers behind it, as sentences.
        met: how many of the comparisons were met, such as "3 of 4"; empty where there is only one.
        edition: the records that decided it, such as "small edition (mnist)"; empty where none did.
        seeds: how many trainings of each model stand behind every comparison; 0 for none.
    """

    verdict: str
    evidence: str = ""
    met: str = ""
    edition: str = ""
    seeds: int = 0

    @property
    def said(self) -> str:
        """The verdict as texts say it, "partly (one seed)" where no comparison has more."""
        one = self.seeds == 1 and self.verdict != NOT_TESTED
        return f"{self.verdict} (one seed)" if one else self.verdict


@dataclass(frozen=True)
class Claim:
    """A claim, its rule in words and its rule as code. Calling it gives the ``Judgement``.

    Args:
        text: what is claimed.
        source: where it is claimed.
        supported: when it counts as supported.
        partly: when it counts as partly supported; empty where it cannot.
        judge: judges it from the folder of the records.
    """

    text: str
    source: str
    supported: str
    partly: str
    judge: Callable[[str | Path], Judgement]

    def __call__(self, results: str | Path) -> Judgement:
        return self.judge(results)

    @property
    def rule(self) -> str:
        """When it is supported and when partly, in words."""
        return f"{self.supported}; partly: {self.partly}" if self.partly else self.supported


def claim(
    text: str, source: str, supported: str, partly: str = ""
) -> Callable[[Callable[[str | Path], Judgement]], Claim]:
    """Turn the function below it, which judges a claim from the records, into that ``Claim``."""

    def with_judge(judge: Callable[[str | Path], Judgement]) -> Claim:
        return Claim(text, source, supported, partly, judge)

    return with_judge


# What decided a comparison: an edition or an experiment, a data set, and a row that was compared.
Source = tuple[str, str, RecordedRow]


def verdict(
    met: list[bool],
    planned: int,
    evidence: list[str],
    sources: Iterable[Source] = (),
    missing: Iterable[str] = (),
) -> Judgement:
    """Judge a claim by several comparisons; the evidence names the data sets that are ``missing``.

    It is supported if all planned comparisons were made and met, partly supported if at least half
    of those made were met, and else not supported. It is not tested if less than half of the
    planned comparisons could be made.
    """
    count = f"{sum(met)} of {len(met)}" if met else "none made"
    if len(met) < planned:
        count += f", {planned} planned"
    if 2 * len(met) < planned:
        found = NOT_TESTED
    elif all(met) and len(met) == planned:
        found = SUPPORTED
    elif 2 * sum(met) >= len(met):
        found = PARTLY
    else:
        found = NOT_SUPPORTED
    if evidence and (names := ", ".join(missing)):
        evidence = [*evidence, f"not tested yet: {names}"]
    text = "; ".join(evidence) + "." if evidence else ""
    return Judgement(found, text, count, *decided_by(sources))


def decided_by(sources: Iterable[Source]) -> tuple[str, int]:
    """Which records decided a claim, and with how many seeds at least.

    "small edition (mnist); full table, reduced (cifar10)", 1
    """
    sets: dict[str, list[str]] = {}
    seeds = []
    for title, data, row in sources:
        name = f"{title}, reduced" if row.reductions else title
        if data not in sets.setdefault(name, []):
            sets[name].append(data)
        seeds.append(len(row.records))
    said = [f"{name} ({', '.join(names)})" for name, names in sets.items()]
    return "; ".join(said), min(seeds, default=0)


@dataclass(frozen=True)
class Edition:
    """An edition of the paper's Table 1.

    Args:
        title: what texts call it.
        experiment: its rows.
        names: the names of its rows for those of the paper's table, where they differ.
    """

    title: str
    experiment: Experiment
    names: dict[str, str]

    def read(self, results: str | Path, data: str) -> dict[str, RecordedRow]:
        """Its rows on a data set by their names in the paper's table, all others by their own."""
        rows = read_rows(results, self.experiment, data)
        return rows | {name: rows[own] for name, own in self.names.items()}


SMALL = Edition(
    "small edition",
    plan.TABLE_1_SMALL,
    {
        "vae": "vae-tuned",
        "vae-flow-prior": "vae-flow-prior-tuned",
        "vae-flow-posterior": "vae-flow-posterior-tuned",
        "glf-perceptual": "glf-squeezenet",
        "glann-perceptual": "glann-squeezenet",
    },
)
FULL = Edition("full table", plan.TABLE_1, {})
# How rules say which of them decides, and when one distance is clearly lower than another.
CLEARLY = "by more than two standard errors (over seeds; with one seed, those of its samples)"
WHICH = (
    "on each data set the small edition decides, whose rivals are tuned, and where it has not been "
    "run the full table"
)


def deciding(
    results: str | Path, data: str, ours: str, rivals: Iterable[str]
) -> tuple[Edition, dict[str, RecordedRow], dict[str, RecordedRow]]:
    """The edition that decides on a data set, all of its rows, and those that may be compared.

    That is the small edition where it has ``ours`` and a rival that may be compared, or where a
    training of ``ours`` diverged; else the full table, which may have nothing to compare either.
    """
    for edition in (SMALL, FULL):
        every = edition.read(results, data)
        rows = comparable_rows(every, ours, of=(ours, *rivals))
        if len(rows) > 1 or every[ours].diverged:
            break
    return edition, every, rows


def comparable_rows(
    rows: dict[str, RecordedRow], like: str = "glf", of: tuple[str, ...] = ()
) -> dict[str, RecordedRow]:
    """The rows that may be compared with the row ``like``, which is one of them.

    They have the same reductions and were trained and measured on the same images. Each is left
    with the seeds that all of them have. Empty where ``like`` itself has no finished training.

    Args:
        rows: all rows of an experiment on a data set, by name.
        like: the row that the others must resemble.
        of: only these rows count; all of them if empty.
    """
    finished = {name: row for name, row in rows.items() if row.finished and (not of or name in of)}
    if like not in finished:
        return {}
    alike = {name: row for name, row in finished.items() if comparable(row, finished[like])}
    seeds = common_seeds(alike.values())
    found = {
        name: row.of_seeds(seeds)
        for name, row in alike.items()
        if row.seeds & seeds or row.row.real
    }
    return found if like in found else {}


def comparable(one: RecordedRow, other: RecordedRow) -> bool:
    """Whether two rows were reduced in the same way, or not at all, and saw the same images."""
    return (one.reductions, one.images) == (other.reductions, other.images)


def all_diverged(row: RecordedRow) -> bool:
    """Whether the row was trained and none of its trainings finished."""
    return bool(row) and not row.finished


def standard_error(row: RecordedRow, metric: tuple[str, str] = FCD) -> float:
    """The standard error of the mean over seeds of a metric, its group and its name.

    With one seed, that of its samples, where the record has it: it knows nothing of what another
    training would give. 0 where there is neither.
    """
    group, name = metric
    values = row.values(group, name)
    if len(values) > 1:
        return statistics.stdev(values) / len(values) ** 0.5
    return next(iter(row.values(group, f"{name}_se")), 0.0)


def clearly_lower(one: RecordedRow, other: RecordedRow, metric: tuple[str, str] = FCD) -> bool:
    """Whether the mean of a metric, its group and its name, is lower for ``one``.

    The difference must exceed two standard errors. False where one of the two was not measured.
    """
    low, high = (row.mean(*metric) for row in (one, other))
    if low is None or high is None:
        return False
    errors = [standard_error(row, metric) for row in (one, other)]
    return high - low > 2 * math.hypot(*errors)


def swapped(one: RecordedRow, other: RecordedRow) -> bool:
    """Whether FCD clearly puts the first row before the second, and FSD clearly the reverse."""
    return clearly_lower(one, other, FCD) and clearly_lower(other, one, FSD)


def judges_disagree(one: RecordedRow, other: RecordedRow) -> bool:
    """Whether FCD clearly puts one of two rows before the other, and FSD clearly the reverse."""
    return swapped(one, other) or swapped(other, one)


def ranking(
    rows: dict[str, RecordedRow], names: Iterable[str], judge: tuple[str, str] = FCD
) -> str:
    """A judge's distances of those rows that it has judged, the lowest first.

    "FCD 1.20 GLF (coverage 0.70); 3.00 VAE (coverage 0.41)"; empty where there are none. Coverage
    stands beside FCD, where it was measured.
    """
    group, name = judge
    judged = [rows[key] for key in names if key in rows and rows[key].values(group, name)]
    parts = []
    for row in sorted(judged, key=lambda row: row.mean(group, name)):
        coverage = row.values("classifier", "coverage") if judge == FCD else []
        beside = f" (coverage {number(coverage)})" if coverage else ""
        parts.append(f"{number(row.values(group, name), DIGITS[judge])} {row.row.title}{beside}")
    return f"{name.upper()} {'; '.join(parts)}" if parts else ""
