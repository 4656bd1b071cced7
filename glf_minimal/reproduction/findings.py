"""What the small edition of Table 1 says, in few lines.

Who is nearer to the data than GLF, what of GLF's distance is the decoder's, and the samples.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from glf_minimal.reproduction import plan
from glf_minimal.reproduction.figures import figure_block
from glf_minimal.reproduction.judging import FCD, FSD, clearly_lower, comparable_rows
from glf_minimal.reproduction.plan import NAMES
from glf_minimal.reproduction.recorded import NOT_RUN, nearest, read_rows
from glf_minimal.reproduction.small_edition import DENSITIES, TABLE_1_SMALL
from glf_minimal.reproduction.small_tables import (
    OWN_JUDGE,
    above_reconstructions,
    trained_on_squeezenet,
)
from glf_minimal.reproduction.tables import Table, Text, number


def ahead_of_glf(results: str | Path) -> Table:
    """Which rows of the small edition are nearer to the test images than GLF, by which judge."""
    lines = []
    for data in TABLE_1_SMALL.rows:
        rows = read_rows(results, TABLE_1_SMALL, data)
        ahead: dict[tuple[bool, bool], list[str]] = {}
        compared = 0
        for name, row in rows.items():
            if name == "glf" or row.row.real:
                continue
            pair = comparable_rows(rows, of=("glf", name))
            if name not in pair:
                continue
            compared += 1
            own = trained_on_squeezenet(row)
            by_fcd, by_fsd = (clearly_lower(pair[name], pair["glf"], judge) for judge in (FCD, FSD))
            by_fsd = by_fsd and not own
            title = row.row.title + (OWN_JUDGE if own else "")
            title += " (one seed)" if len(pair[name].records) == 1 else ""
            ahead.setdefault((by_fcd, by_fsd), []).append(title)
        cells = [
            "; ".join(ahead.get(judges, [])) or "–"
            for judges in ((True, True), (True, False), (False, True))
        ]
        cells = [f"{compared}", *cells] if compared else [NOT_RUN, "–", "–", "–"]
        lines.append([NAMES[data], *cells])
    below = [
        "Compared with GLF on the seeds that both have. A model is ahead if the distances differ "
        "by more than two standard errors: of the means over seeds or, with one seed, of the "
        "samples."
    ]
    if any(OWN_JUDGE in cell for line in lines for cell in line):
        below.append(f"{OWN_JUDGE} judged by FCD alone: trained on the features of FSD.")
    header = ["data set", "models compared", "ahead of GLF by both judges", "by FCD only"]
    return Table([*header, "by FSD only"], lines, below)


def floor_and_gap(results: str | Path) -> Table:
    """The distance of reconstructions from the test images, and what the density adds to it."""
    lines = []
    for data in DENSITIES.rows:
        rows = comparable_rows(read_rows(results, DENSITIES, data))
        gaps = {name: above_reconstructions(row, *FCD) for name, row in rows.items()}
        best = nearest(rows.values(), FCD)
        if best is None or not gaps.get("glf"):
            lines.append([NAMES[data], NOT_RUN, *["–"] * 4])
            continue
        floor = number(rows["glf"].values("reconstruction", "fcd"))
        adds = [number(gaps.get(name, [])) for name in ("glf", "flow", best.row.name)]
        lines.append([NAMES[data], floor, *adds, best.row.title])
    header = [
        "data set",
        "reconstructions",
        "GLF's flow adds",
        "a fresh flow adds",
        "the best density adds",
        "which is",
    ]
    below = [
        "FCD. All densities are fitted to the latents of the same encoder; the fresh flow has as "
        "many updates as GLF's. ± is the standard deviation over seeds."
    ]
    return Table(header, lines, below)


def samples_on(results: str | Path, data: str) -> Text:
    """The samples of both editions of Table 1 on a data set, as figures of a page."""
    label = data.replace("-mnist", "")
    full = _titles(results, plan.TABLE_1, data)
    small = _titles(results, TABLE_1_SMALL, data)
    blocks = [
        figure_block(
            results,
            f"table-1-samples-{data}",
            f"{NAMES[data]}, the paper's networks: the first samples of each model.",
            f"fig-samples-{label}",
            f"Generated pictures of each of these models: {full}.",
        ),
        figure_block(
            results,
            f"table-1-small-samples-{data}",
            f"{NAMES[data]}, small edition: the first samples of each model.",
            f"fig-small-samples-{label}",
            f"Generated pictures of each of these models: {small}.",
        ),
    ]
    return Text("\n".join(block.markdown() for block in blocks))


def _titles(results: str | Path, experiment: plan.Experiment, data: str) -> str:
    rows = read_rows(results, experiment, data).values()
    return "; ".join(row.row.title for row in rows if row and not row.row.real)


def interpolation(results: str | Path) -> Text:
    """What lies between two noises, as a figure of a page."""
    return figure_block(
        results,
        "figure-2-interpolation",
        "Between two noises: each row decodes eight steps along the arc.",
        "fig-interpolation",
        "Rows of faces that change from one into another in eight steps.",
    )


FINDINGS: dict[str, Callable[[str | Path], Table | Text]] = {
    "ahead-of-glf": ahead_of_glf,
    "floor-and-gap": floor_and_gap,
    "interpolation": interpolation,
    **{f"samples-{data}": partial(samples_on, data=data) for data in plan.TABLE_1.rows},
}
