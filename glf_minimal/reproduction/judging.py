"""How a claim is judged: what a claim is, which rows may be compared, how comparisons add up."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from glf_minimal.reproduction.recorded import RecordedRow, common_seeds
from glf_minimal.reproduction.tables import number

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
    """

    verdict: str
    evidence: str = ""
    met: str = ""


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


def verdict(met: list[bool], planned: int, evidence: list[str]) -> Judgement:
    """Judge a claim by several comparisons.

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
    return Judgement(found, "; ".join(evidence) + "." if evidence else "", count)


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


def clearly_lower(one: RecordedRow, other: RecordedRow, metric: str = "fcd") -> bool:
    """Whether the mean of a classifier's metric is lower for ``one`` than for ``other``.

    With several seeds of each, the difference must exceed two standard errors; with one seed any
    difference counts.
    """
    low, high = (row.values("classifier", metric) for row in (one, other))
    error = 0.0
    if min(len(low), len(high)) > 1:
        error = sum(statistics.variance(v) / len(v) for v in (low, high)) ** 0.5
    return statistics.mean(high) - statistics.mean(low) > 2 * error


def ranking(rows: dict[str, RecordedRow], names: Iterable[str]) -> str:
    """The FCD of those rows that are there, the lowest first: "FCD 1.20 GLF; 3.00 VAE"."""
    found = sorted((rows[name] for name in names if name in rows), key=lambda row: row.fcd)
    numbers = [f"{number(row.values('classifier', 'fcd'))} {row.row.title}" for row in found]
    return f"FCD {'; '.join(numbers)}"
