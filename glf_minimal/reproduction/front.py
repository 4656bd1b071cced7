"""The first picture of the book: what GLF draws on each data set, from the best run recorded."""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from glf_minimal.plotting import use_style
from glf_minimal.reproduction.plan import TABLE_1
from glf_minimal.reproduction.recorded import NOT_RUN, RecordedRow, first_samples, read_rows
from glf_minimal.reproduction.small_edition import TABLE_1_SMALL
from glf_minimal.reproduction.small_tables import NAMES
from glf_minimal.reproduction.tables import Text

SOURCES = (TABLE_1, TABLE_1_SMALL)
NETWORKS = {TABLE_1.name: "the paper's networks", TABLE_1_SMALL.name: "networks of half the width"}
LINES = 2  # of eight samples, for each data set


def best_runs(results: str | Path) -> dict[str, RecordedRow]:
    """GLF's rows to show, by data set: of those with samples, the ones with the least FCD.

    A data set without samples is left out.
    """
    found = {}
    for data in NAMES:
        rows = [read_rows(results, source, data)["glf"] for source in SOURCES]
        drawn = [row for row in rows if first_samples(results, data, row)]
        if drawn:
            found[data] = min(drawn, key=_distance)
    return found


def _distance(row: RecordedRow) -> float:
    return float("inf") if row.fcd is None else row.fcd


def samples_of_glf(results: str | Path):
    """Draw the first samples of ``best_runs``, a strip for each data set; they are not chosen."""
    import matplotlib.pyplot as plt
    from matplotlib.image import imread

    use_style()
    strips = {}
    for data, row in best_runs(results).items():
        picture = imread(first_samples(results, data, row))
        strips[NAMES[data]] = picture[: LINES * picture.shape[0] // 8]
    rows = max(len(strips), 1)
    figure, axes = plt.subplots(
        rows, 1, figsize=(4.4, 1.33 * rows), squeeze=False, layout="constrained"
    )
    figure.savefig = partial(_save_with_palette, figure.savefig)
    for axis, (name, strip) in zip(axes[:, 0], strips.items(), strict=False):
        axis.imshow(strip)
        axis.set_title(name, loc="left", fontsize="medium")
    for axis in axes[:, 0]:
        axis.set_axis_off()
    if not strips:
        axes[0, 0].text(0.5, 0.5, f"{NOT_RUN}: glf reproduce {TABLE_1.name}", ha="center")
    return figure


def _save_with_palette(save: Callable, file: object, **arguments) -> None:
    """Save a figure as a PNG of 256 colours, in place of ``save``, its own ``savefig``.

    That is a third of the bytes, and the first page of the book is to load little.
    """
    drawn = BytesIO()
    save(drawn, **arguments)
    with Image.open(drawn) as picture:
        made_by = PngInfo()
        made_by.add_text("Software", picture.info["Software"])
        # Colours from all over the cube, so that the rare bright ones do not fade.
        method = Image.Quantize.MAXCOVERAGE
        colours = picture.convert("RGB").quantize(256, method, kmeans=1)
    colours.save(file, format="PNG", optimize=True, pnginfo=made_by)


def origin_of_samples(results: str | Path) -> Text:
    """Which run each strip of the picture comes from: a paragraph."""
    runs = [
        f"{NAMES[data]}: {NETWORKS[row.experiment.name]}, {row.training}"
        for data, row in best_runs(results).items()
    ]
    return Text(f"{'; '.join(runs) or NOT_RUN}.\n")
