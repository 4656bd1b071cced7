"""The first picture of the book: what GLF draws on each data set, from the best run recorded."""

from pathlib import Path

from glf_minimal.reproduction.charts import not_run
from glf_minimal.reproduction.plan import NAMES, TABLE_1
from glf_minimal.reproduction.recorded import NOT_RUN, RecordedRow, first_samples, read_rows
from glf_minimal.reproduction.small_edition import TABLE_1_SMALL
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

    strips = {}
    for data, row in best_runs(results).items():
        picture = imread(first_samples(results, data, row))
        strips[NAMES[data]] = picture[: LINES * picture.shape[0] // 8]
    if not strips:
        return not_run(TABLE_1)
    figure, axes = plt.subplots(
        len(strips), 1, figsize=(4.4, 1.33 * len(strips)), squeeze=False, layout="constrained"
    )
    for axis, (name, strip) in zip(axes[:, 0], strips.items(), strict=True):
        axis.imshow(strip)
        axis.set_title(name, loc="left", fontsize="medium")
        axis.set_axis_off()
    return figure


def origin_of_samples(results: str | Path) -> Text:
    """Which run each strip of the picture comes from: a paragraph."""
    runs = [
        f"{NAMES[data]}: {NETWORKS[row.experiment.name]}, {row.training}"
        for data, row in best_runs(results).items()
    ]
    return Text(f"{'; '.join(runs) or NOT_RUN}.\n")
