"""Figures of the records. A figure without records says "not run" and the command that runs it."""

from collections.abc import Callable
from pathlib import Path
from textwrap import fill

import torch

from glf_minimal.plotting import COLOURS, latent_map, panels, training_curves, use_style
from glf_minimal.reproduction import front, plan
from glf_minimal.reproduction.cells import Experiment
from glf_minimal.reproduction.diagrams import model_diagram
from glf_minimal.reproduction.extras import read_latent_maps
from glf_minimal.reproduction.recorded import nearest_distances, read_rows
from glf_minimal.reproduction.small_tables import SMALL_FIGURES


def samples(results: str | Path, experiment: Experiment, sets: tuple[str, ...]):
    """Draw samples of every row on these data sets.

    They are the first of the 64 that lie beside a record, of the first seed that has some.
    """
    from matplotlib.image import imread

    pictures = {}
    for data in sets:
        for name, row in read_rows(results, experiment, data).items():
            seeds = [record.seed for record in row.records]
            paths = [experiment.path(results, data, name, seed).png for seed in seeds]
            drawn = [path for path in paths if path.exists()]
            if drawn:  # real images and diverged runs have none
                pictures[f"{row.title}, {data}" if len(sets) > 1 else row.title] = imread(drawn[0])
    if not pictures:
        return _empty(experiment)
    few = len(pictures) <= 6
    side, width = (6, 2.1) if few else (4, 1.8)  # samples per side, of 8; inches
    figure, axes = panels(len(pictures), width=width, height=width + 0.2)
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(picture[: picture.shape[0] * side // 8, : picture.shape[1] * side // 8])
        axis.set_title(fill(title, 34 if few else 27), fontsize="small")
        axis.set_axis_off()
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
        training_curves(histories, ["recon", "kl", "nll"]) if histories else _empty(plan.SLIDE_DECK)
    )


def flowae_report_curves(results: str | Path):
    """Draw the second stage of the report's two-stage models over epochs.

    The panels show the flow's NLL and the losses of the two GANs, with one line per seed.
    """
    rows = read_rows(results, plan.FLOWAE_REPORT, "mnist")
    if not any(rows.values()):
        return _empty(plan.FLOWAE_REPORT)
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
        return _empty(plan.FLOWAE_REPORT)
    positions, labels = {}, {}
    for row, title in (("vae", "VAE"), ("flowae", "auto-encoder")):
        if row in maps:
            positions[title] = torch.tensor([[point["x"], point["y"]] for point in maps[row]])
            labels[title] = torch.tensor([point["label"] for point in maps[row]])
    return latent_map(positions, labels)


def convergence(results: str | Path, data: str):
    """Draw FCD over epochs and, if all rows ran on one machine, over seconds of training.

    There is one line per seed. Lines of two-stage models begin with their second stage.
    """
    rows = read_rows(results, plan.CONVERGENCE, data).values()
    if not any(row.curves for row in rows):
        return _empty(plan.CONVERGENCE)
    # Seconds of two machines do not compare.
    machines = {frozenset(row.machines) for row in rows if row.clock}
    figure, axes = panels(2 if len(machines) == 1 else 1, width=4.6, height=3.4)
    for axis, x in zip(axes, ("epochs", "seconds of training"), strict=False):
        for colour, row in zip(COLOURS, rows, strict=False):
            key = "epoch" if x == "epochs" else row.clock
            for index, curve in enumerate(row.curves if key else []):
                points = [(point[key], point["fcd"]) for point in curve]
                axis.plot(
                    *zip(*points, strict=True),
                    ".-",
                    color=colour,
                    label=row.title if index == 0 else None,
                )
        axis.set(xlabel=x, ylabel="FCD")
        axis.xaxis.get_major_locator().set_params(integer=True)
        _logarithmic(axis)
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
        return _empty(experiment)
    found = {data: picture[:, : int(share * picture.shape[1])] for data, picture in found.items()}
    tallest = max(picture.shape[0] / picture.shape[1] for picture in found.values())
    figure, axes = panels(len(found), width=3.0, height=3.0 * tallest + 0.3)
    for axis, (data, picture) in zip(axes, found.items(), strict=True):
        axis.imshow(picture)
        axis.set_title(data, fontsize="small")
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
        return _empty(plan.TABLE_1)
    figure, axes = panels(len(found))
    for axis, (data, kinds) in zip(axes, found.items(), strict=True):
        for kind, distances in kinds.items():
            axis.ecdf(distances, label=kind)
        axis.set(
            title=data, xlabel="distance to the nearest training image", ylabel="share of images"
        )
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def over_beta(results: str | Path, experiment: Experiment, terms: dict[str, str]):
    """Draw FCD and some loss terms over epochs, for the first seed of every row on CIFAR-10.

    Lines of trainings that diverged end early.

    Args:
        results: the folder of the records.
        experiment: whose rows are drawn.
        terms: titles of the loss terms, by their names in the history.
    """
    rows = [row for row in read_rows(results, experiment, "cifar10").values() if row]
    if not rows:
        return _empty(experiment)
    figure, axes = panels(1 + len(terms), height=3.2)
    for row, colour in zip(rows, COLOURS, strict=False):
        record = row.records[0]
        lines = [[(point["epoch"], point["fcd"]) for point in record.curve]]
        lines += [
            [(epoch["epoch"], epoch[term]) for epoch in record.history if term in epoch]
            for term in terms
        ]
        for axis, points in zip(axes, lines, strict=True):
            axis.plot(
                *zip(*points, strict=True) if points else ([], []),
                ".-",
                color=colour,
                label=row.title,
            )
    for axis, title in zip(axes, ("FCD", *terms.values()), strict=True):
        axis.set(title=title, xlabel="epoch", ylabel="nats per image" if title != "FCD" else None)
        axis.xaxis.get_major_locator().set_params(integer=True)
    _logarithmic(axes[0])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def ablations(results: str | Path):
    """Draw FCD for every row of the ablations, one panel per question and one point per seed."""
    recorded = read_rows(results, plan.ABLATIONS, "mnist")
    run = {
        title: [row for row in rows if recorded[row.name]]
        for title, rows in plan.ABLATION_GROUPS.values()
    }
    # One row alone, the base, has nothing to compare it with.
    run = {title: rows for title, rows in run.items() if len(rows) > 1}
    if not run:
        return _empty(plan.ABLATIONS)
    figure, axes = panels(len(run), width=3.6, height=2.2)
    for axis, (title, rows) in zip(axes, run.items(), strict=True):
        values = [recorded[row.name].values("classifier", "fcd") for row in rows]
        for index, (row, distances) in enumerate(zip(rows, values, strict=True)):
            axis.plot(
                distances,
                [index] * len(distances),
                "o",
                color=COLOURS[row.name == "base"],
                alpha=0.7,
            )
        axis.set_yticks(range(len(rows)), [row.title for row in rows], fontsize="small")
        drawn = [distance for distances in values for distance in distances] or [1.0]
        axis.set(
            title=fill(title, 28),
            xlabel="FCD",
            xlim=(0, 1.1 * max(drawn)),
            ylim=(len(rows) - 0.5, -0.5),
        )
        if max(drawn) > 20 * min(drawn):  # the largest would press the others together
            axis.set(xscale="log", xlim=(min(drawn) / 1.2, 1.2 * max(drawn)))
            axis.xaxis.set_major_formatter("{x:g}")
    return figure


def _with_perceptual_loss(results: str | Path) -> tuple[str, ...]:
    """The data sets on which GLF with a perceptual loss has been run."""
    rows = {data: read_rows(results, plan.FIGURE_5, data) for data in plan.FIGURE_5.rows}
    return tuple(
        data
        for data, found in rows.items()
        if any(row for name, row in found.items() if name != "glf")
    )


def _logarithmic(axis) -> None:
    """Make the y axis logarithmic, with plain numbers at its ticks: 2, not 2 x 10^0."""
    from matplotlib.ticker import LogFormatter

    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(LogFormatter())
    axis.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))


def _empty(experiment: Experiment):
    """Draw no more than the command that runs the experiment."""
    figure, axes = panels(1)
    axes[0].text(0.5, 0.5, f"not run:\nglf reproduce {experiment.name}", ha="center", va="center")
    axes[0].set_axis_off()
    return figure


FIGURES: dict[str, Callable] = {
    "slide-deck-curves": slide_deck_curves,
    "slide-deck-samples": lambda results: samples(results, plan.SLIDE_DECK, ("mnist",)),
    "flowae-report-curves": flowae_report_curves,
    "flowae-report-samples": lambda results: samples(results, plan.FLOWAE_REPORT, ("mnist",)),
    "flowae-report-tsne": flowae_report_tsne,
    **{
        f"table-1-samples-{data}": lambda results, data=data: samples(
            results, plan.TABLE_1, (data,)
        )
        for data in plan.TABLE_1.rows
    },
    **{
        f"convergence-{data}": lambda results, data=data: convergence(results, data)
        for data in plan.CONVERGENCE.rows
    },
    **SMALL_FIGURES,
    "ablations": ablations,
    "figure-1": lambda results: model_diagram(),
    "figure-2": lambda results: samples(results, plan.FIGURE_2, tuple(plan.FIGURE_2.rows)),
    "figure-2-interpolation": lambda results: pictures_of_glf(
        results, "interpolation.png", plan.FIGURE_2
    ),
    "figure-3": lambda results: over_beta(
        results, plan.FIGURE_3, {"entropy": "entropy", "nll": "NLL"}
    ),
    "figure-4": lambda results: over_beta(
        results, plan.FIGURE_4, {"recon": "reconstruction", "nll": "NLL"}
    ),
    "same-noise": lambda results: pictures_of_glf(
        results, "same-noise.png", plan.TABLE_1, share=2 / 3
    ),
    "samples-of-glf": front.samples_of_glf,
    "neighbours": lambda results: pictures_of_glf(
        results, "neighbours.png", plan.TABLE_1, share=2 / 3
    ),
    "memorization": memorization,
    "figure-5": lambda results: samples(results, plan.FIGURE_5, _with_perceptual_loss(results)),
}


def draw(name: str, results: str | Path = "data/results"):
    """Draw one of ``FIGURES`` from the records, in the book's style; returns the figure."""
    use_style()
    return FIGURES[name](results)
