"""What the judges say of noise that is narrower or wider than the flow's."""

from pathlib import Path

from glf_minimal.plotting import COLOURS, panels
from glf_minimal.reproduction.charts import not_run, plain_numbers
from glf_minimal.reproduction.judging import FCD, FSD
from glf_minimal.reproduction.recorded import read_rows
from glf_minimal.reproduction.small_edition import NOISE_SCALE, NOISE_SCALES
from glf_minimal.reproduction.small_tables import NAMES

JUDGES = {"FCD": FCD, "FSD": FSD}


def ratios(results: str | Path, data: str, judge: tuple[str, str]) -> list[tuple[float, float]]:
    """Give the distance of samples over that of scale 1, for each scale that was measured.

    Pairs of a scale and a ratio; none where scale 1 was not measured.
    """
    rows = read_rows(results, NOISE_SCALE, data)
    found = {
        scale: rows[f"temperature-{scale:g}"].mean(*judge)
        for scale in NOISE_SCALES
        if rows[f"temperature-{scale:g}"].values(*judge)
    }
    if 1.0 not in found:
        return []
    return [(scale, distance / found[1.0]) for scale, distance in found.items()]


def over_scales(results: str | Path):
    """Draw the distance of samples over the scale of their noise.

    There is a panel for each judge and a line for each data set that has scale 1.
    """
    lines = {
        (title, data): points
        for title, judge in JUDGES.items()
        for data in NAMES
        if (points := ratios(results, data, judge))
    }
    if not lines:
        return not_run(NOISE_SCALE)
    figure, axes = panels(len(JUDGES), width=3.4, height=3.0)
    colours = dict(zip(NAMES, COLOURS, strict=False))
    for axis, title in zip(axes, JUDGES, strict=True):
        for data, marker in zip(NAMES, "osD^", strict=True):
            if points := lines.get((title, data)):
                look = {"color": colours[data], "marker": marker, "label": NAMES[data]}
                axis.plot(*zip(*points, strict=True), **look)
        axis.axhline(1, color="0.6", linewidth=1, zorder=0)
        axis.set(title=title, yscale="log", xlabel="scale of the noise")
        axis.set_ylabel("distance over that of scale 1")
        plain_numbers(axis.yaxis)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
