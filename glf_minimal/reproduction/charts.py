"""Distances of samples as charts, with the share of the decoder and with the paper's numbers."""

import math
import statistics
from pathlib import Path
from textwrap import shorten

from glf_minimal.plotting import COLOURS
from glf_minimal.reproduction import plan, published
from glf_minimal.reproduction.cells import Experiment
from glf_minimal.reproduction.judging import FCD, FSD
from glf_minimal.reproduction.plan import NAMES
from glf_minimal.reproduction.recorded import NOT_RUN, RecordedRow, read_rows
from glf_minimal.reproduction.records import Status
from glf_minimal.reproduction.small_edition import DENSITIES, TABLE_1_SMALL, TUNING
from glf_minimal.reproduction.small_tables import trained_on_squeezenet
from glf_minimal.reproduction.tables import Text
from glf_minimal.reproduction.tuning import read_tries, validation_distance

FARTHEST = 5.0  # a panel ends at this multiple of GLF's distance
FARTHEST_DENSITY = 2.0  # of densities on one auto-encoder, which lie nearer to one another
GLF, SAME_ENCODER, OTHER, REAL = "GLF", "same auto-encoder", "other", "real"
LOOKS = {
    GLF: {"color": COLOURS[1], "marker": "o"},
    SAME_ENCODER: {"color": COLOURS[2], "marker": "D"},
    OTHER: {"color": COLOURS[0], "marker": "s"},
    REAL: {"color": COLOURS[6], "marker": "x"},
}
LEGEND = {
    GLF: "GLF",
    SAME_ENCODER: "another density on GLF's latents",
    OTHER: "other models",
    REAL: "training images",
}


def kind(row: RecordedRow) -> str:
    """Which of ``LOOKS`` a row has."""
    if row.row.real:
        return REAL
    if row.row.name == "glf":
        return GLF
    return SAME_ENCODER if row.row.lender == "glf" else OTHER


def not_run(experiment: Experiment) -> Text:
    """What stands in place of a figure whose records have not been made."""
    return Text(f"*Not run yet.* `glf reproduce {experiment.name}` makes the records.\n")


def distances(
    results: str | Path,
    experiment: Experiment,
    judge: tuple[str, str] = FCD,
    farthest: float = FARTHEST,
):
    """Draw the distance of the samples of every row, one panel per data set.

    From the distance of a row's reconstructions, a tick, a line leads to the distance of its
    samples, a dot with one standard deviation over seeds. A vertical line marks GLF. Rows and data
    sets of which nothing has been run are left out. Rows that are farther than ``farthest`` times
    GLF's distance stand at the edge, as numbers; so do reconstructions beyond the edge.

    Args:
        results: the folder of the records.
        experiment: whose rows are drawn, those of its first data set.
        judge: the group and the name of the distance.
        farthest: the end of each panel, over GLF's distance.
    """
    found = {data: read_rows(results, experiment, data) for data in experiment.rows}
    sets = [
        data for data, rows in found.items() if any(row.values(*judge) for row in rows.values())
    ]
    if not sets:
        return not_run(experiment)
    planned = experiment.rows[sets[0]]
    names = [row.name for row in planned if any(found[data][row.name] for data in sets)]
    figure, axes = _panels(1, len(sets), len(names))
    for axis, data in zip(axes[0], sets, strict=True):
        rows = [found[data][name] for name in names]
        begin = _draw_distances(axis, rows, judge, farthest)
        label = judge[1].upper() + (f", from {begin}" if begin else "")
        axis.set(title=NAMES[data], xlabel=label)
    titles = {row.name: row.title for row in planned}
    _name_rows(axes[0, 0], [titles[name] for name in names])
    missing = [NAMES[data] for data in found if data not in sets]
    _explain(figure, [found[data][name] for data in sets for name in names], missing)
    return figure


def _panels(rows: int, columns: int, names: int):
    """A figure of panels that share the names of the models; returns it and its axes."""
    import matplotlib.pyplot as plt

    size = (2.6 + max(1.7 * columns, 5.4), rows * (0.27 * names + 0.7) + 0.7)
    figure, axes = plt.subplots(
        rows, columns, figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.tick_params(axis="y", length=0)
    return figure, axes


def _name_rows(axis, titles: list[str]) -> None:
    """Write the models at the left, the first one on top."""
    axis.set_yticks(range(len(titles)), titles)
    axis.set_ylim(len(titles) - 0.4, -0.6)


def _draw_distances(axis, rows: list[RecordedRow], judge: tuple[str, str], farthest: float) -> int:
    """Draw a line for each row; gives the distance at which the axis begins.

    This is 0, but where the least distance is more than half of the largest one.
    """
    means = [row.mean(*judge) for row in rows]
    ours = next((row.mean(*judge) for row in rows if kind(row) == GLF), None)
    limit = farthest * ours if ours else float("inf")
    near = [mean for mean in means if mean is not None and mean <= limit]
    floors = [row.mean("reconstruction", judge[1]) for row in rows]
    least = min(near + [floor for floor in floors if floor is not None])
    begin = 0
    if least < max(near) < 2 * least:
        begin = math.floor(least - 0.15 * (max(near) - least))
    ends = [
        mean + (_spread(row.values(*judge)) or 0)
        for row, mean in zip(rows, means, strict=True)
        if mean in near
    ]
    edge = begin + 1.12 * (max(ends) - begin)
    if ours:
        axis.axvline(ours, color=LOOKS[GLF]["color"], linewidth=1, alpha=0.5)
    for height, (row, mean) in enumerate(zip(rows, means, strict=True)):
        if mean is None:
            state = str(Status.DIVERGED) if row and not row.finished else NOT_RUN
            axis.text(
                begin + 0.02 * (edge - begin), height, state, va="center", fontsize=8, color="0.55"
            )
        elif mean > limit:
            _write_at_edge(axis, edge, height, mean)
        else:
            _draw_row(axis, height, row, judge)
            floor = floors[height]
            if floor is not None and floor > edge:
                _write_at_edge(axis, edge, height, floor, mark="|")
    axis.set_xlim(begin, edge)
    axis.xaxis.get_major_locator().set_params(nbins=4)
    return begin


def _write_at_edge(axis, edge: float, height: int, value: float, mark: str = "") -> None:
    """A number that lies beyond the edge, after its mark if it is not that of samples."""
    text = f"{mark} {value:.{0 if value > 20 else 1}f} →".strip()
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 0}
    axis.text(edge, height, text, ha="right", va="center", fontsize=9, bbox=behind)


def _spread(values: list[float]) -> float | None:
    """The standard deviation over seeds; None with one seed."""
    return statistics.stdev(values) if len(values) > 1 else None


def _draw_row(axis, height: int, row: RecordedRow, judge: tuple[str, str]) -> None:
    group, name = judge
    values, mean = row.values(group, name), row.mean(group, name)
    look = LOOKS[kind(row)]
    floor = row.mean("reconstruction", name)
    if floor is not None:
        plain = {"color": look["color"], "linestyle": "-", "linewidth": 1.4, "alpha": 0.5}
        axis.plot([floor, mean], [height, height], **plain)
        axis.plot(floor, height, "|", color="black", markersize=9, zorder=4)
    hollow = group == "squeezenet" and trained_on_squeezenet(row)
    axis.errorbar(
        mean,
        height,
        xerr=_spread(values),
        markersize=6,
        markerfacecolor="white" if hollow else None,
        capsize=2,
        **look,
    )


def _explain(figure, rows: list[RecordedRow], missing: list[str]) -> None:
    """The legend, below all panels; its title says which data sets are missing."""
    from matplotlib.lines import Line2D

    kinds = {kind(row) for row in rows}
    handles = [
        Line2D([], [], linestyle="", label=LEGEND[name], **look)
        for name, look in LOOKS.items()
        if name in kinds
    ]
    if any(row.values("reconstruction", "fcd") for row in rows):
        floor = {"color": "black", "marker": "|", "markersize": 9, "linestyle": ""}
        handles.append(Line2D([], [], label="reconstructions of test images", **floor))
    title = f"{NOT_RUN} yet: {', '.join(missing)}" if missing else None
    figure.legend(handles=handles, loc="outside lower center", ncols=3, title=title)


# The rows of the paper's Table 1 and their counterparts in the small edition, of which some stand
# there twice: with the weight 1, and with the weight that the sweep has chosen.
COUNTERPARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "vae": ("VAE", ("vae", "vae-tuned")),
    "wae-gan": ("WAE-GAN", ("wae-gan",)),
    "two-stage-vae": ("two-stage VAE", ("two-stage-vae",)),
    "rae-gmm": ("RAE + mixture", ("rae-gmm",)),
    "vae-flow-prior": ("VAE, flow prior", ("vae-flow-prior", "vae-flow-prior-tuned")),
    "vae-flow-posterior": (
        "VAE, flow posterior",
        ("vae-flow-posterior", "vae-flow-posterior-tuned"),
    ),
    "glf": ("GLF", ("glf",)),
    "glf-perceptual": ("GLF, perceptual loss", ("glf-squeezenet",)),
    "glann-perceptual": ("GLANN, perceptual loss", ("glann-squeezenet",)),
}


def paper_and_here(results: str | Path):
    """Draw the FID of the paper's Table 1 above the FCD of the same rows of the small edition."""
    sets = list(TABLE_1_SMALL.rows)
    figure, axes = _panels(2, len(sets), len(COUNTERPARTS))
    for column, data in enumerate(sets):
        paper, here = axes[:, column]
        rows = read_rows(results, TABLE_1_SMALL, data)
        for height, (name, (_, counterparts)) in enumerate(COUNTERPARTS.items()):
            colour = LOOKS[GLF if name == "glf" else OTHER]["color"]
            value = published.TABLE_1[name][data]
            recalled = value.status == published.RECALLED
            face = "white" if recalled else colour
            paper.plot(value.value, height, "s", color=colour, markerfacecolor=face)
            measured = [rows[one] for one in counterparts if rows[one].fcd is not None]
            for row in measured:
                _draw_counterpart(here, height, row, colour)
            if not measured and any(rows.values()):
                place = here.get_yaxis_transform()
                grey = {"va": "center", "fontsize": 8, "color": "0.55"}
                here.text(0.02, height, NOT_RUN, transform=place, **grey)
        paper.set(title=NAMES[data], xlabel="FID, paper", xlim=(0, 1.06 * paper.dataLim.x1))
        here.set(xlabel="FCD, here")
        if here.has_data():
            here.set_xlim(0, 1.06 * here.dataLim.x1)
        else:
            here.text(0.5, 0.5, NOT_RUN, ha="center", transform=here.transAxes)
            here.set_xticks([])
        for axis in (paper, here):
            axis.xaxis.get_major_locator().set_params(nbins=4)
    for axis in axes[:, 0]:
        _name_rows(axis, [title for title, _ in COUNTERPARTS.values()])
    _explain_counterparts(figure)
    return figure


def _draw_counterpart(axis, height: int, row: RecordedRow, colour: str) -> None:
    """A dot with its standard deviation over seeds; hollow if its weight was not tuned."""
    untuned = row.row.name in ("vae", "vae-flow-prior", "vae-flow-posterior")
    values = row.values(*FCD)
    axis.errorbar(
        row.fcd,
        height,
        xerr=_spread(values),
        fmt="o",
        color=colour,
        markerfacecolor="white" if untuned else None,
        capsize=2,
    )


def _explain_counterparts(figure) -> None:
    from matplotlib.lines import Line2D

    looks = {
        "paper, from memory (‡)": {"marker": "s", "markerfacecolor": "white"},
        "paper, second-hand (†)": {"marker": "s"},
        "here, β = 1": {"marker": "o", "markerfacecolor": "white"},
        "here, weight tuned": {"marker": "o"},
    }
    handles = [
        Line2D([], [], linestyle="", color=COLOURS[0], label=label, **look)
        for label, look in looks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)


def tuning(results: str | Path):
    """Draw what β is worth to GLF and to the VAEs, by FCD on held-out images.

    There is one panel for each data set that the sweeps were made on.
    """
    titles = {
        "vae": "VAE",
        "vae-flow-posterior": "VAE, flow posterior",
        "vae-flow-prior": "VAE, flow prior",
        "glf": "GLF",
    }
    curves = {
        data: {title: _sweep(results, name, data) for name, title in titles.items()}
        for data in TUNING.rows
    }
    sets = [data for data, lines in curves.items() if any(lines.values())]
    if not sets:
        return not_run(TUNING)
    import matplotlib.pyplot as plt

    size = (2.2 + 3.4 * len(sets), 3.2)
    figure, axes = plt.subplots(1, len(sets), figsize=size, squeeze=False, layout="constrained")
    colours = (COLOURS[0], COLOURS[5], COLOURS[2], COLOURS[1])
    for title, colour, marker in zip(titles.values(), colours, "svDo", strict=True):
        look = {"color": colour, "marker": marker, "linestyle": "-", "label": title}
        for axis, data in zip(axes[0], sets, strict=True):
            if points := curves[data][title]:
                axis.plot(*zip(*points, strict=True), **look)
    for axis, data in zip(axes[0], sets, strict=True):
        axis.set(xscale="log", title=NAMES[data], ylabel="FCD on held-out images")
        axis.set_xlabel("β, weight of the reconstruction")
        axis.xaxis.set_major_formatter("{x:g}")
        low, high = axis.dataLim.intervaly
        if high > 2 * low:
            axis.set_yscale("log")
            plain_numbers(axis.yaxis)
    lines = axes[0, 0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside right center")
    return figure


def _sweep(results: str | Path, name: str, data: str) -> list[tuple[float, float]]:
    """The tries of a sweep over β that did not diverge: β and FCD on held-out images."""
    tries = read_tries(results, name, data)
    points = []
    for row in TUNING.rows[data]:
        settings = row.changes.get("model.beta")
        if row.name in tries and settings is not None:
            distance = validation_distance(tries[row.name])
            if distance is not None:
                points.append((settings, distance))
    return points


def plain_numbers(axis) -> None:
    """Write plain numbers at the ticks of a logarithmic axis: 2, not 2 x 10^0."""
    from matplotlib.ticker import LogFormatter

    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))


def ablations(results: str | Path):
    """Draw FCD for every row of the ablations on one axis, a dot per seed, grouped by question.

    The grey band reaches from the lowest to the highest seed of the base.
    """
    import matplotlib.pyplot as plt

    recorded = read_rows(results, plan.ABLATIONS, "mnist")
    base = recorded["base"].values(*FCD)
    lines: list[tuple[str, RecordedRow | None]] = []
    for title, rows in plan.ABLATION_GROUPS.values():
        run = [row for row in rows if recorded[row.name] and row.name != "base"]
        if run:
            lines += [(title, None), *((row.title, recorded[row.name]) for row in run)]
    if not lines or not base:
        return not_run(plan.ABLATIONS)
    size = (8.6, 0.24 * len(lines) + 0.8)
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    axis.axvspan(min(base), max(base), color="0.88", zorder=0)
    for height, (title, row) in enumerate(lines):
        if row is None:
            place = axis.get_yaxis_transform()
            heading = {"va": "center", "weight": "bold", "fontsize": 9}
            axis.text(
                0.01, height, shorten(title, 45, placeholder=" …"), transform=place, **heading
            )
        else:
            values = row.values(*FCD)
            axis.plot(values, [height] * len(values), "o", color=COLOURS[0], alpha=0.8)
    named = [(height, title) for height, (title, row) in enumerate(lines) if row is not None]
    axis.set_yticks(*zip(*named, strict=True), fontsize=9)
    axis.set(xscale="log", xlabel="FCD (lower is better)", ylim=(len(lines) - 0.4, -0.6))
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)
    axis.xaxis.set_major_formatter("{x:g}")
    return figure


CHARTS = {
    "table-1-paper-and-here": paper_and_here,
    "table-1-small-fcd": lambda results: distances(results, TABLE_1_SMALL, FCD),
    "table-1-small-fsd": lambda results: distances(results, TABLE_1_SMALL, FSD),
    "table-1-full": lambda results: distances(results, plan.TABLE_1, FCD),
    "densities": lambda results: distances(results, DENSITIES, FCD, farthest=FARTHEST_DENSITY),
    "tuning": tuning,
    "ablations": ablations,
}
