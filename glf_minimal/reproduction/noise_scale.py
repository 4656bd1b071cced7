"""What the judges say of noise that is narrower or wider than the flow's."""

from pathlib import Path

from glf_minimal.files import read_csv
from glf_minimal.plotting import COLOURS, panels
from glf_minimal.reproduction.charts import not_run
from glf_minimal.reproduction.judging import FCD, FSD
from glf_minimal.reproduction.plan import NAMES
from glf_minimal.reproduction.recorded import read_rows
from glf_minimal.reproduction.small_edition import NOISE_SCALE, NOISE_SCALES

JUDGES = {"FCD": FCD, "FSD": FSD}
SHOWN = (1.0, 1.5, 2.0)  # scales whose samples are shown
TICKS = {"FCD": (0.5, 1, 2, 4), "FSD": (0.9, 1, 1.2, 1.5, 2)}


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


def feature_spread(results: str | Path, data: str) -> dict[str, float]:
    """Read how much the classifier's features vary, over what they do for test images.

    By kind of image: "reconstructions", and "samples, noise times 1" for each scale. Empty where it
    has not been measured.
    """
    path = _extra(results, data, "feature-spread.csv")
    if not path.exists():
        return {}
    return {row["images"]: row["variance"] for row in read_csv(path)}


def _extra(results: str | Path, data: str, name: str) -> Path:
    """A file about all scales; it lies beside the record of the largest one."""
    return NOISE_SCALE.path(results, data, f"temperature-{NOISE_SCALES[-1]:g}").extra(name)


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
        axis.set(title=title, yscale="log", xlabel="factor on the noise")
        axis.set_ylabel("distance over that of factor 1")
        axis.set_yticks(TICKS[title], [f"{tick:g}" for tick in TICKS[title]])
        axis.minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def scaled_samples(results: str | Path):
    """Show what one GLF makes of the same noises at some scales, on MNIST and on CIFAR-10."""
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.image import imread

    places = {data: _extra(results, data, "noise-scales.png") for data in ("mnist", "cifar10")}
    found = {data: imread(path) for data, path in places.items() if path.exists()}
    if not found:
        return not_run(NOISE_SCALE)
    size = (4.4, 1.6 * len(found))  # below each other, so that a phone shows them whole
    figure, axes = plt.subplots(len(found), 1, figsize=size, squeeze=False, layout="constrained")
    for axis, (data, picture) in zip(axes.flat, found.items(), strict=True):
        height = picture.shape[0] // len(NOISE_SCALES)
        tops = [NOISE_SCALES.index(scale) * height for scale in SHOWN]
        axis.imshow(np.concatenate([picture[top : top + height] for top in tops]))
        centres = [(i + 0.5) * height for i in range(len(SHOWN))]
        axis.set_yticks(centres, [f"factor {scale:g}" for scale in SHOWN])
        axis.set_xticks([])
        axis.set_title(NAMES[data])
        axis.tick_params(length=0)
        axis.grid(False)
        for spine in axis.spines.values():
            spine.set_visible(False)
    return figure
