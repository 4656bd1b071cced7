"""Figures of the records.

Where there are none, a sentence says so, with the command that makes them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import torch

from glf_minimal.plotting import (
    COLOURS,
    encode_png,
    latent_map,
    panels,
    shades,
    training_curves,
    use_style,
)
from glf_minimal.reproduction import front, plan
from glf_minimal.reproduction.cells import Experiment
from glf_minimal.reproduction.charts import CHARTS, not_run, plain_numbers
from glf_minimal.reproduction.extras import read_latent_maps
from glf_minimal.reproduction.noise_scale import over_scales, scaled_samples
from glf_minimal.reproduction.plan import NAMES
from glf_minimal.reproduction.recorded import (
    RecordedRow,
    first_samples,
    nearest_distances,
    read_rows,
)
from glf_minimal.reproduction.small_edition import TABLE_1_SMALL
from glf_minimal.reproduction.tables import Text


def samples(results: str | Path, experiment: Experiment, data: str):
    """Draw samples of every row on a data set.

    They are the first of the 64 that lie beside a record, of the first seed that has some.
    """
    rows = read_rows(results, experiment, data).values()
    drawn = _draw_samples({row.title: _samples_of(results, row, data) for row in rows})
    return drawn or not_run(experiment)


def over_data_sets(results: str | Path, experiment: Experiment, *choices: tuple[str, ...]):
    """Draw samples of the same rows on each data set of an experiment.

    Where the experiment has not been run on a data set, those of the small edition of Table 1 take
    its place; of a single row the title says so. Data sets with neither are left out.

    Args:
        results: the folder of the records.
        experiment: whose data sets are drawn.
        choices: the names of the rows; of several choices, the first that has all its samples.
    """
    pictures = {}
    for data in experiment.rows:
        sources = [(source, names) for source in (experiment, TABLE_1_SMALL) for names in choices]
        for source, names in sources:
            rows = read_rows(results, source, data)
            found = {name: _samples_of(results, rows[name], data) for name in names if name in rows}
            if len(found) == len(names) and all(drawn is not None for drawn in found.values()):
                small = ", small edition" if source is TABLE_1_SMALL else ""
                for name, drawn in found.items():
                    model = f": {rows[name].row.title}" if len(names) > 1 else small
                    pictures[NAMES[data] + model] = drawn
                break
    if not pictures:
        return not_run(experiment)
    # Rows that are to be compared lie below each other.
    return _draw_samples(pictures) if len(choices[0]) == 1 else _draw_lines(pictures)


def _samples_of(results: str | Path, row: RecordedRow, data: str):
    """The picture of 64 samples of a row's first seed that has one; None without one."""
    from matplotlib.image import imread

    path = first_samples(results, data, row)
    return imread(path) if path else None


def _draw_samples(pictures: dict):
    """Draw these pictures of 64 samples under their titles; None if there is none.

    Up to six have 36 samples each. More of them have one line each, as the file would become too
    large for a page otherwise.
    """
    found = {title: picture for title, picture in pictures.items() if picture is not None}
    if len(found) > 6:
        return _draw_lines(found)
    if not found:
        return None
    figure, axes = panels(len(found), width=2.1, height=2.3)
    for axis, (title, picture) in zip(axes, found.items(), strict=True):
        axis.imshow(picture[: picture.shape[0] * 6 // 8, : picture.shape[1] * 6 // 8])
        axis.set_title(fill(title, 34), fontsize="small")
        axis.set_axis_off()
    return figure


def _draw_lines(pictures: dict):
    """Draw a line of samples for each of these pictures of 64, its title at the left."""
    import matplotlib.pyplot as plt
    import numpy as np

    size = (6.8, 0.45 * len(pictures))
    figure, axes = plt.subplots(len(pictures), 1, figsize=size, squeeze=False, layout="constrained")
    for axis, (title, picture) in zip(axes[:, 0], pictures.items(), strict=True):
        side = picture.shape[0] // 8
        line = np.concatenate([picture[:side], picture[side : 2 * side]], axis=1)
        axis.imshow(line[:, : 10 * side])
        axis.set_anchor("E")  # leaves the left to the title
        axis.set_axis_off()
        beside = {"ha": "right", "va": "center", "transform": axis.transAxes}
        axis.text(-0.02, 0.5, fill(title, 32), fontsize=9, **beside)
    return figure


def slide_deck_curves(results: str | Path):
    """Draw the losses of the slide deck's four models over epochs, for the first seed.

    The losses are the reconstruction, the KL and the NLL.
    """
    rows = list(read_rows(results, plan.SLIDE_DECK, "mnist").values())[:4]
    histories = {
        row.title: row.records[0].history for row in rows if row and row.records[0].history
    }
    return (
        training_curves(histories, ["recon", "kl", "nll"])
        if histories
        else not_run(plan.SLIDE_DECK)
    )


def flowae_report_curves(results: str | Path):
    """Draw the second stage of the report's two-stage models over epochs.

    The panels show the flow's NLL and the losses of the two GANs, with one line per seed.
    """
    rows = read_rows(results, plan.FLOWAE_REPORT, "mnist")
    if not any(rows.values()):
        return not_run(plan.FLOWAE_REPORT)
    figure, axes = panels(4, height=2.5)
    lines = [
        ("FlowAE: NLL of the latents", "nats", "flowae", "nll"),
        ("AdvAE (WGAN-GP): critic", "loss", "advae", "critic_losses.loss"),
        ("AdvAE, plain GAN: critic", "loss", "advae-gan", "critic_losses.loss"),
        ("AdvAE, plain GAN: generator", "loss", "advae-gan", "generator_losses.loss"),
    ]
    for axis, (title, unit, name, term) in zip(axes, lines, strict=True):
        for record in rows[name].records:
            points = [(epoch["epoch"], epoch[term]) for epoch in record.history if term in epoch]
            axis.plot(*zip(*points, strict=True), label=f"seed {record.seed}")
        axis.set(title=title, xlabel="epoch", ylabel=unit)
    axes[0].legend()
    return figure


def flowae_report_tsne(results: str | Path):
    """Draw t-SNE maps of the test latents of a VAE and of FlowAE's auto-encoder.

    Each is of the first seed; colours stand for digits.
    """
    maps = read_latent_maps(results)
    if not maps:
        return not_run(plan.FLOWAE_REPORT)
    positions, labels = {}, {}
    for row, title in (("vae", "VAE"), ("flowae", "auto-encoder")):
        if row in maps:
            positions[title] = torch.tensor([[point["x"], point["y"]] for point in maps[row]])
            labels[title] = torch.tensor([point["label"] for point in maps[row]])
    return latent_map(positions, labels)


def convergence(results: str | Path, data: str):
    """Draw FCD over epochs and, if all rows were timed on one machine, over seconds of training.

    There is one line per seed. Lines of two-stage models begin with their second stage.
    """
    rows = [row for row in read_rows(results, plan.CONVERGENCE, data).values() if row.curves]
    if not rows:
        return not_run(plan.CONVERGENCE)
    # Seconds of two machines do not compare, and older records have none.
    machines = {(row.clock, frozenset(row.machines)) for row in rows}
    timed = len(machines) == 1 and all(row.clock for row in rows)
    figure, axes = panels(2 if timed else 1, width=4.6, height=3.4)
    planned = [row.name for row in plan.CONVERGENCE.rows[data]]
    colours = dict(zip(planned, COLOURS, strict=False))
    colours |= {"glf": COLOURS[1], planned[1]: colours["glf"]}  # GLF as in all charts
    for axis, x in zip(axes, ("epoch", "seconds of training"), strict=False):
        for row in rows:
            key = "epoch" if x == "epoch" else row.clock
            for index, curve in enumerate(row.curves):
                points = [(point[key], point["fcd"]) for point in curve]
                look = {"color": colours[row.row.name], "label": row.row.title}
                if index > 0:
                    del look["label"]
                axis.plot(*zip(*points, strict=True), ".-", **look)
        axis.set(title=NAMES[data], xlabel=x, ylabel="FCD (lower is better)", yscale="log")
        axis.xaxis.get_major_locator().set_params(integer=True)
        plain_numbers(axis.yaxis)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def pictures_of_glf(results: str | Path, name: str, experiment: Experiment, share: float = 1.0):
    """Draw a picture that lies beside GLF's first record in Table 1, for each data set that has it.

    Only the first ``share`` of its columns are shown: all of them, on all data sets, would make the
    file too large for a page.
    """
    from matplotlib.image import imread

    places = {
        data: plan.TABLE_1.path(results, data, "glf").extra(name) for data in plan.TABLE_1.rows
    }
    found = {data: imread(path) for data, path in places.items() if path.exists()}
    if not found:
        return not_run(experiment)
    found = {data: picture[:, : int(share * picture.shape[1])] for data, picture in found.items()}
    tallest = max(picture.shape[0] / picture.shape[1] for picture in found.values())
    figure, axes = panels(len(found), width=3.0, height=3.0 * tallest + 0.3)
    for axis, (data, picture) in zip(axes, found.items(), strict=True):
        axis.imshow(picture)
        axis.set_title(NAMES[data], fontsize="small")
        axis.set_axis_off()
    return figure


def memorization(results: str | Path):
    """Draw how near images lie to their nearest training image.

    For samples of GLF, for test images and for their reconstructions, a curve gives the share of
    images whose nearest training image lies within a distance.
    """
    found = {
        data: distances
        for data in plan.TABLE_1.rows
        if (distances := nearest_distances(results, data))
    }
    if not found:
        return not_run(plan.TABLE_1)
    figure, axes = panels(len(found))
    for axis, (data, kinds) in zip(axes, found.items(), strict=True):
        for kind, distances in kinds.items():
            label = {"sample": "samples", "test": "test images"}.get(kind, "their reconstructions")
            axis.ecdf(distances, label=label)
        axis.set(title=NAMES[data], xlabel="distance to the nearest training image")
        axis.set_ylabel("cumulative share of images")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


# What the panels of Figures 3 and 4 show: a title, what holds it, and its name there.
ENTROPY = ("entropy of the posterior (nats)", "history", "entropy")
LIKELIHOOD = ("negative log-likelihood (nats)", "history", "nll")
TEST_ERROR = ("squared error of test images", "curve", "mse_per_image")


def over_beta(results: str | Path, experiment: Experiment, *others: tuple[str, str, str]):
    """Draw FCD and two other quantities over epochs, for the first seed of every row on CIFAR-10.

    The darker a line, the larger its β; GLF has its own colour. Lines of trainings that diverged
    end early.

    Args:
        results: the folder of the records.
        experiment: whose rows are drawn.
        others: titles of the other panels, with "history" or "curve" and the name of the quantity.
    """
    rows = [row for row in read_rows(results, experiment, "cifar10").values() if row]
    if not rows:
        return not_run(experiment)
    betas = [row.name for row in experiment.rows["cifar10"] if row.name != "glf"]
    colours = dict(zip(betas, shades(len(betas)), strict=True))
    shown = (("FCD of samples", "curve", "fcd"), *others)
    figure, axes = panels(len(shown), width=3.1, height=3.1)
    for row in rows:
        own = row.row.name == "glf"
        look = {"color": COLOURS[1] if own else colours[row.row.name], "zorder": 2.5 + own}
        look |= {"linestyle": "--" if own else "-", "marker": ".", "label": row.row.title}
        record = row.records[0]
        for axis, (_, where, name) in zip(axes, shown, strict=True):
            found = record.curve if where == "curve" else record.history
            points = [(point["epoch"], point[name]) for point in found if name in point]
            axis.plot(*zip(*points, strict=True) if points else ([], []), **look)
    for axis, (title, where, _) in zip(axes, shown, strict=True):
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        if where == "curve":
            axis.set_yscale("log")
            plain_numbers(axis.yaxis)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def figure_block(results: str | Path, name: str, caption: str, label: str, alt: str) -> Text:
    """A figure as MyST Markdown for a page of the book, or the sentence that it has not been run.

    Args:
        results: the folder of the records.
        name: the figure, one of ``FIGURES``; the page lies beside the folder ``generated``.
        caption: the text below it.
        label: the name that references use.
        alt: what a reader without the picture is told.
    """
    import matplotlib.pyplot as plt

    drawn = draw(name, results)
    if isinstance(drawn, Text):
        return drawn
    plt.close(drawn)
    lines = [
        f"```{{figure}} generated/{name}.png",
        f":name: {label}",
        f":alt: {alt}",
        "",
        caption,
        "```",
    ]
    return Text("\n".join(lines) + "\n")


FIGURES: dict[str, Callable] = {
    "slide-deck-curves": slide_deck_curves,
    "slide-deck-samples": lambda results: samples(results, plan.SLIDE_DECK, "mnist"),
    "flowae-report-curves": flowae_report_curves,
    "flowae-report-samples": lambda results: samples(results, plan.FLOWAE_REPORT, "mnist"),
    "flowae-report-tsne": flowae_report_tsne,
    **{
        f"table-1-samples-{data}": lambda results, data=data: samples(results, plan.TABLE_1, data)
        for data in plan.TABLE_1.rows
    },
    **{
        f"convergence-{data}": lambda results, data=data: convergence(results, data)
        for data in plan.CONVERGENCE.rows
    },
    **{
        f"table-1-small-samples-{data}": lambda results, data=data: samples(
            results, TABLE_1_SMALL, data
        )
        for data in TABLE_1_SMALL.rows
    },
    **CHARTS,
    "figure-2": lambda results: over_data_sets(results, plan.FIGURE_2, ("glf",)),
    "figure-2-interpolation": lambda results: pictures_of_glf(
        results, "interpolation.png", plan.FIGURE_2
    ),
    "figure-3": lambda results: over_beta(results, plan.FIGURE_3, ENTROPY, LIKELIHOOD),
    "figure-4": lambda results: over_beta(results, plan.FIGURE_4, TEST_ERROR, LIKELIHOOD),
    "same-noise": lambda results: pictures_of_glf(
        results, "same-noise.png", plan.TABLE_1, share=2 / 3
    ),
    "noise-scale": over_scales,
    "noise-scale-samples": scaled_samples,
    "samples-of-glf": front.samples_of_glf,
    "neighbours": lambda results: pictures_of_glf(
        results, "neighbours.png", plan.TABLE_1, share=2 / 3
    ),
    "memorization": memorization,
    "figure-5": lambda results: over_data_sets(
        results, plan.FIGURE_5, ("glf", "glf-perceptual"), ("glf", "glf-squeezenet")
    ),
}


def draw(name: str, results: str | Path = "data/results"):
    """Draw one of ``FIGURES`` from the records, in the book's style.

    Returns the figure or, where nothing has been run, a ``Text`` that says so.
    """
    use_style()
    return FIGURES[name](results)


@dataclass(frozen=True, repr=False)
class Picture:
    """A figure as a PNG file. A notebook shows it."""

    png: bytes

    def __repr__(self) -> str:
        return f"<Picture of {len(self.png)} bytes>"

    def _repr_png_(self) -> bytes:
        return self.png


def show(name: str, results: str | Path = "data/results") -> Picture | Text:
    """One of ``FIGURES`` for a notebook, as a small file; or that nothing of it has been run."""
    import matplotlib.pyplot as plt

    drawn = draw(name, results)
    if isinstance(drawn, Text):
        return drawn
    plt.close(drawn)
    return Picture(encode_png(drawn))
