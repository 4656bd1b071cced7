"""Pictures: image grids, training curves, maps of latents and densities. Knows tensors and
histories, no models.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from glf_minimal.history import loss_terms
from glf_minimal.pictures import image_grid

# Okabe and Ito's colours, which colour-blind readers can tell apart (jfly.uni-koeln.de/color); the
# dashes tell lines apart in print without colours.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (9, 3)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (2, 3)),
)


def use_style() -> None:
    """Give every matplotlib figure drawn from here on the look of the book."""
    import matplotlib.pyplot as plt
    from cycler import cycler

    style = {
        "axes.prop_cycle": cycler(color=COLOURS, linestyle=DASHES),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "0.9",
        "axes.axisbelow": True,
        "axes.titlesize": "medium",
        "legend.frameon": False,
        "legend.handlelength": 2.8,  # room for a whole dash pattern
        "image.cmap": "gray",
        "figure.dpi": 100,
    }
    plt.rcParams.update(style)


def show_grids(grids: dict[str, Tensor], columns: int | None = None, size: float = 4.0):
    """Draw several batches of images side by side, each under its title; returns the figure."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(grids), figsize=(size * len(grids), size + 0.4), squeeze=False, layout="tight"
    )
    for axis, (title, images) in zip(axes[0], grids.items(), strict=True):
        axis.imshow(image_grid(images, columns).permute(1, 2, 0).numpy())
        axis.set_title(title)
        axis.set_axis_off()
    return figure


def panels(count: int, width: float = 3.6, height: float = 2.8):
    """A figure with ``count`` axes of this size in inches, at most three in a row; returns it and
    the list of axes.
    """
    import matplotlib.pyplot as plt

    rows = -(-count // 3)
    columns = -(-count // rows)
    size = (width * columns, height * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for spare in axes.flat[count:]:
        spare.set_axis_off()
    return figure, list(axes.flat[:count])


def training_curves(histories: list[dict] | dict[str, list[dict]], terms: list[str] | None = None):
    """Plot loss terms (nats per image) over epochs, one panel each; returns the figure.

    Args:
        histories: one history, or several by name, each a line in every panel.
        terms: which terms; None for every one in the histories.
    """
    named = histories if isinstance(histories, dict) else {"": histories}
    if not named or not all(named.values()):
        raise ValueError("history: expected at least one epoch, got none")
    terms = terms or loss_terms([row for history in named.values() for row in history])
    figure, axes = panels(len(terms))
    for axis, term in zip(axes, terms, strict=True):
        for name, history in named.items():
            rows = [row for row in history if row.get(term) is not None]
            axis.plot([row["epoch"] for row in rows], [row[term] for row in rows], label=name)
        axis.set(title=term, xlabel="epoch", ylabel="nats per image")
    if len(named) > 1:
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(named)
        )
    return figure


def latent_map(vectors: dict[str, Tensor], labels: dict[str, Tensor] | None = None):
    """Scatter sets of vectors (N, 2) side by side on the same axes, each under its title; returns
    the figure.

    ``labels`` gives classes (N,) by title, to colour the points of that panel and to write each
    class at its median.
    """
    import matplotlib.pyplot as plt
    import seaborn
    from matplotlib.colors import ListedColormap
    from matplotlib.patheffects import withStroke

    palette, outline = (
        ListedColormap(seaborn.color_palette("colorblind")),
        [withStroke(linewidth=3, foreground="white")],
    )
    size = (3.6 * len(vectors), 3.9)
    figure, axes = plt.subplots(
        1, len(vectors), figsize=size, squeeze=False, layout="tight", sharex=True, sharey=True
    )
    for axis, (title, points) in zip(axes[0], vectors.items(), strict=True):
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"{title}: expected points of shape (N, 2), got {tuple(points.shape)}")
        points, classes = (
            points.detach().cpu(),
            labels[title].cpu() if labels and title in labels else None,
        )
        colours = {"c": "0.3"} if classes is None else {"c": classes, "cmap": palette}
        axis.scatter(*points.T, s=3, linewidths=0, **colours)
        for value in [] if classes is None else classes.unique():
            place = points[classes == value].median(0).values
            axis.annotate(
                str(value.item()),
                place,
                ha="center",
                va="center",
                weight="bold",
                path_effects=outline,
            )
        axis.set(title=title, aspect="equal")
    return figure


def density_map(
    log_densities: dict[str, Callable[[Tensor], Tensor]],
    limit: float = 3.0,
    points: dict[str, Tensor] | None = None,
):
    """Draw densities on the plane side by side, each under its title and in its own scale; returns
    the figure.

    Args:
        log_densities: functions (N, 2) -> (N,), log-densities in nats.
        limit: each panel shows the square from -limit to limit.
        points: by title, vectors (N, 2) to draw on top.
    """
    import matplotlib.pyplot as plt

    ticks = torch.linspace(-limit, limit, 200)
    plane = torch.cartesian_prod(ticks, ticks)
    size = (3.4 * len(log_densities), 3.6)
    figure, axes = plt.subplots(1, len(log_densities), figsize=size, squeeze=False, layout="tight")
    for axis, (title, log_density) in zip(axes[0], log_densities.items(), strict=True):
        with torch.no_grad():
            density = log_density(plane).exp().reshape(200, 200).T.cpu().numpy()
        axis.imshow(
            density,
            origin="lower",
            extent=2 * (-limit, limit),
            cmap="viridis",
            interpolation="bilinear",
        )
        if points and title in points:
            axis.scatter(
                *points[title].detach().cpu().T, s=2, linewidths=0, color="white", alpha=0.7
            )
        axis.set(title=title, xlabel="first coordinate", xlim=(-limit, limit), ylim=(-limit, limit))
        axis.grid(visible=False)
    axes[0, 0].set_ylabel("second coordinate")
    return figure
