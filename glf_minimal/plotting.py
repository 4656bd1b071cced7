"""Pictures: image grids, training curves, maps of latents and densities.

This file knows tensors and histories, no models.
"""

import io
import sys
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
    """Give every matplotlib figure drawn from here on the look of the book.

    In a notebook its pictures are also stored in small files, with a palette of colours.
    """
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
    _store_small_pictures()


def _store_small_pictures() -> None:
    """In a notebook, let ``encode_png`` write the pictures of figures."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    # Once imported, the backend of notebooks registers nothing more that would replace ours.
    import matplotlib_inline.backend_inline  # noqa: F401
    from matplotlib.figure import Figure

    def picture(figure) -> bytes | None:
        return encode_png(figure, greys=32, bbox_inches="tight") if figure.axes else None

    shell.display_formatter.formatters["image/png"].for_type(Figure, picture)


PHOTOGRAPH = 20_000  # colours; a chart has fewer
LARGE = 150_000  # bytes


def encode_png(figure, greys: int = 256, **options) -> bytes:
    """A figure as a PNG file with a palette of 256 colours, some three times smaller than without.

    Coloured pictures keep all their colours as long as the file does not become large.

    Args:
        figure: a matplotlib figure.
        greys: how many levels a figure without colours keeps, from black to white.
        options: handed to ``figure.savefig``.
    """
    from PIL import Image, PngImagePlugin

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", **options)
    with Image.open(buffer) as drawn:
        known = PngImagePlugin.PngInfo()
        known.add_text("Software", drawn.info["Software"])  # the version of matplotlib
        full = drawn.convert("RGB")
    colours = full.getcolors(PHOTOGRAPH)
    if colours is None:
        encoded = _encode(full, known)
        if len(encoded) < LARGE:
            return encoded
    elif greys < 256 and all(red == green == blue for _, (red, green, blue) in colours):
        step = 255 / (greys - 1)
        levels = [round(round(value / step) * step) for value in range(256)]
        return _encode(full.convert("L").point(levels), known)
    return _encode(full.quantize(256, dither=Image.Dither.NONE), known)


def _encode(image, known) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, pnginfo=known)
    return buffer.getvalue()


def shades(count: int) -> list[tuple]:
    """Colours for values in order, such as those of β: the larger the value, the darker."""
    import matplotlib.pyplot as plt

    shade = plt.get_cmap("viridis_r")
    return [shade(0.1 + 0.9 * i / count) for i in range(count)]


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
    """A figure with ``count`` axes of this size in inches, at most three in a row.

    Returns the figure and the list of axes.
    """
    import matplotlib.pyplot as plt

    rows = -(-count // 3)
    columns = -(-count // rows)
    size = (width * columns, height * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for spare in axes.flat[count:]:
        spare.set_axis_off()
    return figure, list(axes.flat[:count])


# What the terms of a loss are called above a panel; others have their own names.
TERMS = {"recon": "reconstruction", "nll": "NLL", "kl": "KL", "mmd": "MMD"}


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
        axis.set(title=TERMS.get(term, term), xlabel="epoch", ylabel="nats per image")
        axis.xaxis.get_major_locator().set_params(integer=True)
    if len(named) > 1:
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(named)
        )
    return figure


def spread_labels(places: Tensor, distance: float, bounds: tuple[float, float]) -> Tensor:
    """Places of labels (N, 2), moved apart until no two are nearer to each other than ``distance``.

    The pair that is nearest moves first, each of the two by half of what is missing, so that labels
    stay close to what they name. They stay between the ``bounds``.
    """
    places = places.double().clone()
    for _ in range(100 * len(places)):
        gaps = places[:, None] - places[None]
        lengths = gaps.norm(dim=2).fill_diagonal_(torch.inf)
        first, second = divmod(int(lengths.argmin()), len(places))
        length = lengths[first, second]
        if len(places) < 2 or length >= distance * 0.999:
            break
        # Two labels at one place part sideways.
        away = gaps[first, second] / length if length > 0 else torch.tensor([1.0, 0.0]).double()
        step = 0.5 * (distance - length) * away
        places[first] += step
        places[second] -= step
        places.clamp_(*bounds)
    return places


def latent_map(
    vectors: dict[str, Tensor],
    labels: dict[str, Tensor] | None = None,
    axes_names: tuple[str, str] = ("first coordinate", "second coordinate"),
):
    """Scatter sets of vectors (N, 2) side by side on the same axes; returns the figure.

    Each set stands under its title.

    Args:
        vectors: by title, the points (N, 2) of a panel.
        labels: by title, classes (N,) to colour the points of that panel. Each class is written at
            its median, or as near to it as there is room.
        axes_names: what the two axes show.
    """
    import matplotlib.pyplot as plt
    import seaborn
    from matplotlib.colors import ListedColormap
    from matplotlib.patheffects import withStroke

    for title, points in vectors.items():
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"{title}: expected points of shape (N, 2), got {tuple(points.shape)}")
    palette = ListedColormap(seaborn.color_palette("colorblind"))
    outline = [withStroke(linewidth=3, foreground="white")]
    every = torch.cat([points.detach().cpu() for points in vectors.values()])
    lowest, highest = every.min().item(), every.max().item()
    size = (3.6 * len(vectors), 3.9)
    figure, axes = plt.subplots(
        1, len(vectors), figsize=size, squeeze=False, layout="tight", sharex=True, sharey=True
    )
    for axis, (title, points) in zip(axes[0], vectors.items(), strict=True):
        points = points.detach().cpu()
        classes = labels[title].cpu() if labels and title in labels else None
        colours = {"c": "0.3"} if classes is None else {"c": classes, "cmap": palette}
        axis.scatter(*points.T, s=3 if len(points) > 1500 else 9, linewidths=0, **colours)
        if classes is not None:
            values = classes.unique()
            medians = torch.stack([points[classes == v].median(0).values for v in values])
            room = 0.075 * (highest - lowest)  # of a digit in bold, on a panel of this size
            for value, place in zip(
                values, spread_labels(medians, room, (lowest, highest)), strict=True
            ):
                axis.text(
                    *place.tolist(),
                    str(value.item()),
                    ha="center",
                    va="center",
                    weight="bold",
                    path_effects=outline,
                )
        axis.set(title=title, aspect="equal", xlabel=axes_names[0])
    axes[0, 0].set_ylabel(axes_names[1])
    return figure


def density_map(
    log_densities: dict[str, Callable[[Tensor], Tensor]],
    limit: float = 3.0,
    points: dict[str, Tensor] | None = None,
    floors: dict[str, float] | None = None,
):
    """Draw densities on the plane side by side; returns the figure.

    Each stands under its title and has its own scale.

    Args:
        log_densities: functions (N, 2) -> (N,), log-densities in nats.
        limit: each panel shows the square from -limit to limit.
        points: by title, vectors (N, 2) to draw on top.
        floors: by title, panels that show the log-density itself, down to this many nats. With
            ``floors`` every panel has a colour bar.
    """
    import matplotlib.pyplot as plt

    bars = floors is not None
    floors = floors or {}
    ticks = torch.linspace(-limit, limit, 200)
    plane = torch.cartesian_prod(ticks, ticks)
    size = ((4.1 if bars else 3.4) * len(log_densities), 3.6)
    figure, axes = plt.subplots(1, len(log_densities), figsize=size, squeeze=False, layout="tight")
    for axis, (title, log_density) in zip(axes[0], log_densities.items(), strict=True):
        with torch.no_grad():
            values = log_density(plane).reshape(200, 200).T.cpu()
        values = values.clamp(min=floors[title]) if title in floors else values.exp()
        image = axis.imshow(
            values.numpy(),
            origin="lower",
            extent=2 * (-limit, limit),
            cmap="viridis",
            interpolation="bilinear",
        )
        if bars:
            name = "log-density (nats)" if title in floors else "density"
            figure.colorbar(image, ax=axis, label=name, shrink=0.8)
        if points and title in points:
            axis.scatter(
                *points[title].detach().cpu().T, s=2, linewidths=0, color="white", alpha=0.7
            )
        axis.set(title=title, xlabel="first coordinate", xlim=(-limit, limit), ylim=(-limit, limit))
        axis.grid(visible=False)
    axes[0, 0].set_ylabel("second coordinate")
    return figure
