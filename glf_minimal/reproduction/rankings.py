"""What the small edition of Table 1 says.

The rankings of its two judges, and its main numbers in sentences.
"""

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

from glf_minimal.reproduction.judging import (
    DIGITS,
    FCD,
    FSD,
    clearly_lower,
    comparable_rows,
    swapped,
)
from glf_minimal.reproduction.plan import NAMES
from glf_minimal.reproduction.recorded import NOT_RUN, RecordedRow, nearest, read_rows
from glf_minimal.reproduction.small_edition import (
    DENSITIES,
    SWEEPS,
    TABLE_1_SMALL,
    sweep_rows,
)
from glf_minimal.reproduction.small_tables import trained_on_squeezenet
from glf_minimal.reproduction.tables import Table, Text, number
from glf_minimal.reproduction.tuning import read_tries, validation_distance


def rankings(results: str | Path) -> Table:
    """Rank every model by FCD and by FSD on each data set, and name the pairs that clearly swap."""
    judged = {data: _judged(results, data) for data in TABLE_1_SMALL.rows}
    names = [row.name for row in TABLE_1_SMALL.rows["mnist"]]
    ranks = {data: _ranks(rows) for data, rows in judged.items()}
    lines = []
    for name in names:
        title = next((rows[name].row.title for rows in judged.values() if name in rows), None)
        if title is not None:
            cells = [ranks[data].get(name, "–") for data in judged]
            lines.append([title, *cells])
    notes = [
        "Rank by FCD / rank by FSD, 1 for the lowest distance, among the models that both may "
        "judge: not those that were trained on SqueezeNet's features."
    ]
    notes += [_swaps(NAMES[data], rows) for data, rows in judged.items()]
    return Table(["model", *(NAMES[data] for data in judged)], lines, notes)


def _judged(results: str | Path, data: str) -> dict[str, RecordedRow]:
    """The rows on a data set that both judges may rank, with the seeds that all of them have."""
    judged = {
        name: row
        for name, row in read_rows(results, TABLE_1_SMALL, data).items()
        if not row.row.real
        and not trained_on_squeezenet(row)
        and row.values(*FCD)
        and row.values(*FSD)
    }
    return comparable_rows(judged)


def _ranks(rows: dict[str, RecordedRow]) -> dict[str, str]:
    """For each row its ranks by the two judges: "3 / 1"."""
    orders = [sorted(rows, key=lambda name: rows[name].mean(*judge)) for judge in (FCD, FSD)]
    return {name: " / ".join(str(order.index(name) + 1) for order in orders) for name in rows}


def _swaps(title: str, rows: dict[str, RecordedRow]) -> str:
    """A sentence on the pairs that the judges clearly put in reverse order."""
    if len(rows) < 2:
        return f"{title}: {NOT_RUN}."
    behind: dict[str, list[str]] = {}
    for one, other in permutations(rows.values(), 2):
        if swapped(one, other):
            behind.setdefault(one.row.title, []).append(f"*{other.row.title}*")
    pairs = sum(map(len, behind.values()))
    listed = "; ".join(f"*{title}* before {', '.join(others)}" for title, others in behind.items())
    seeds = {len(row.records) for row in rows.values()}
    errors = "of the samples, as there is one seed" if seeds == {1} else "over seeds"
    count = f"{pairs} of {len(rows) * (len(rows) - 1) // 2} pairs"
    return (
        f"{title}: the judges put {count} in reverse order, each by more than two standard errors "
        f"({errors}){f': by FCD {listed}' if listed else ''}."
    )


def findings(results: str | Path) -> Text:
    """What the numbers of the small edition say so far, on every data set that has been run."""
    subjects: dict[str, Callable[[str | Path, str], str]] = {
        "Which density on the same latents": _best_density,
        "One stage, or a fresh flow on the finished auto-encoder": _fresh_flow,
        "β of the VAE with a flow prior": _tuned_flow_prior,
        "β of GLF": _tries,
    }
    lines = []
    for subject, find in subjects.items():
        lines.append(f"- **{subject}**")
        parts = [f"  - {NAMES[data]}: {said}" for data in NAMES if (said := find(results, data))]
        lines += parts or [f"  - {NOT_RUN}"]
    return Text("\n".join(lines) + "\n")


def _best_density(results: str | Path, data: str) -> str:
    """GLF's flow and the density that is nearest to the data, with the reconstructions below."""
    rows = comparable_rows(read_rows(results, DENSITIES, data))
    judged = {name: row for name, row in rows.items() if row.fcd is not None}
    if len(judged) < 2:
        return ""
    parts = []
    for judge in (FCD, FSD):
        found = [row for row in judged.values() if row.values(*judge)]
        best = nearest(found, judge)
        if best is None or not rows["glf"].values(*judge):
            continue
        floor = number(best.values("reconstruction", judge[1]), DIGITS[judge])
        parts.append(
            f"{judge[1].upper()} of GLF's own flow {_distance(rows['glf'], judge)}, of the best of "
            f"{len(found)} densities {_distance(best, judge)} (*{best.row.title}*), of "
            f"reconstructions {floor}"
        )
    return f"{'; '.join(parts)}{_seeds(rows['glf'])}."


def _fresh_flow(results: str | Path, data: str) -> str:
    rows = comparable_rows(read_rows(results, DENSITIES, data), of=("glf", "flow"))
    return _pair(rows, "glf", "flow", "GLF", "the fresh flow")


def _tuned_flow_prior(results: str | Path, data: str) -> str:
    names = ("glf", "vae-flow-prior", "vae-flow-prior-tuned")
    rows = comparable_rows(read_rows(results, TABLE_1_SMALL, data), of=names)
    if "vae-flow-prior-tuned" not in rows:
        return ""
    tuned = rows["vae-flow-prior-tuned"]
    beta = tuned.records[0].settings["model"]["beta"]
    said = _pair(rows, "glf", "vae-flow-prior-tuned", "GLF", f"the VAE with β = {beta:g}")
    if "vae-flow-prior" in rows:
        said += f" With β = 1 its FCD is {_distance(rows['vae-flow-prior'], FCD)}."
    return said


def _pair(
    rows: dict[str, RecordedRow], one: str, other: str, one_title: str, other_title: str
) -> str:
    """Which of two rows is ahead by each judge, with the distances; empty without a pair."""
    if not {one, other} <= rows.keys():
        return ""
    parts = []
    for judge in (FCD, FSD):
        first, second = rows[one], rows[other]
        if not (first.values(*judge) and second.values(*judge)):
            continue
        if clearly_lower(first, second, judge):
            outcome = f"{one_title} is ahead"
        elif clearly_lower(second, first, judge):
            outcome = f"{other_title} is ahead"
        else:
            outcome = "level"
        numbers = (
            f"{one_title} {_distance(first, judge)}, of {other_title} {_distance(second, judge)}"
        )
        parts.append(f"{judge[1].upper()} of {numbers}: {outcome}")
    return f"{'; '.join(parts)}{_seeds(rows[one])}."


def _distance(row: RecordedRow, judge: tuple[str, str]) -> str:
    return number(row.values(*judge), DIGITS[judge])


def _seeds(row: RecordedRow) -> str:
    return " (one seed)" if len(row.records) == 1 else f" ({len(row.records)} seeds)"


def _tries(results: str | Path, data: str) -> str:
    """GLF's distance on held-out images with each β that was tried."""
    tries = read_tries(results, "glf", data)
    parts = []
    for row, settings in zip(sweep_rows("glf", data), SWEEPS["glf"], strict=True):
        distance = validation_distance(tries[row.name]) if row.name in tries else None
        if distance is not None:
            parts.append(f"{distance:.2f} with β = {settings['model.beta']:g}")
    return f"FCD on held-out images {', '.join(parts)} (one seed)." if parts else ""


RANKINGS: dict[str, Callable[[str | Path], Table | Text]] = {
    "small-findings": findings,
    "small-rankings": rankings,
}
