"""Diagrams of the book, drawn with matplotlib: models, the density gap, a coupling layer.

Solid arrows carry values, dashed arrows gradients, so the pictures can be read without colours.
"""

from collections.abc import Sequence

import numpy as np

from glf_minimal.plotting import COLOURS

AUTO_ENCODER, FLOW, NOISE, STOP = COLOURS[0], COLOURS[1], COLOURS[2], COLOURS[6]
UNIT = 0.62  # inches
TOP, BOTTOM = 3.4, 1.0  # heights of the auto-encoder and of the prior in draw_gradients
LOSS = {"boxstyle": "square,pad=0.45", "fc": "0.93", "ec": "none"}
KINDS = {
    "GLF": {"gradient": "stopped"},
    "regularized GLF": {"gradient": "passes"},
    "VAE": {"noise": True, "flow": False, "gradient": "passes"},
    "VAE + flow prior": {"noise": True, "gradient": "passes"},
}


def _axis(axis, size: tuple[float, float]):
    """Prepare an axis for a drawing of this size in units: equal units, without ticks."""
    axis.set(xlim=(0, size[0]), ylim=(0, size[1]), aspect="equal")
    axis.set_axis_off()
    return axis


def _write(axis, x: float, y: float, text: str, **settings) -> None:
    settings = {"ha": "center", "va": "center", "fontsize": 12} | settings
    axis.text(x, y, text, **settings)


def _network(axis, x: float, y: float, symbol: str, name: str, colour: str) -> None:
    """A box with the symbol of a network in it and its name underneath."""
    box = {"boxstyle": "round,pad=0.5", "fc": "white", "ec": colour, "lw": 1.8}
    _write(axis, x, y, symbol, fontsize=14, bbox=box, zorder=3)
    _write(axis, x, y - 0.68, name, fontsize=10, color="0.25")


def _arrow(axis, start, end, colour: str = "black", **settings) -> None:
    """An arrow between two points; solid unless the settings say otherwise."""
    look = {"arrowstyle": "-|>", "lw": 1.4, "color": colour, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", end, start, arrowprops=look | settings)


def _gradient(axis, start, end, colour: str) -> None:
    _arrow(axis, start, end, colour, linestyle=(0, (4, 2.5)), lw=1.6)


def _path(axis, points, colour: str) -> None:
    """A dashed line through these points; the last stretch of it is an arrow."""
    xs, ys = zip(*points[:-1], strict=True)
    axis.plot(xs, ys, color=colour, linestyle=(0, (4, 2.5)), lw=1.6)
    _gradient(axis, points[-2], points[-1], colour)


def draw_model():
    """Draw GLF; returns the figure.

    It shows what is computed in training (solid arrows), where the gradients of the two losses go
    (dashed arrows), where one of them is stopped, and how the model generates.
    """
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(12 * UNIT, 6.4 * UNIT), layout="constrained")
    _axis(axis, (12, 6.4))
    top, middle, bottom = 5.5, 3.1, 1.0
    _write(axis, 0.7, top, "$x$", fontsize=15)
    _write(axis, 0.7, top - 0.68, "image", fontsize=10, color="0.25")
    _network(axis, 2.8, top, "$E$", "encoder", AUTO_ENCODER)
    _write(axis, 4.9, top, "$z$", fontsize=15)
    _network(axis, 7.0, top, "$G$", "decoder", AUTO_ENCODER)
    _write(axis, 8.9, top, r"$\hat x$", fontsize=15)
    _write(axis, 8.9, top - 0.68, "reconstruction", fontsize=10, color="0.25")
    _write(axis, 10.9, top, r"$\beta\,\Vert x - \hat x\Vert^2$", bbox=LOSS)
    for start, end in ((1.0, 2.3), (3.3, 4.6), (5.2, 6.5), (7.5, 8.6), (9.2, 9.95)):
        _arrow(axis, (start, top), (end, top))
    for start, end in ((9.95, 7.5), (6.5, 3.3)):
        _gradient(axis, (start, top + 0.4), (end, top + 0.4), AUTO_ENCODER)

    wall = 4.2
    _arrow(axis, (4.9, top - 0.35), (4.9, middle + 0.35))
    axis.plot((4.35, 6.05), (wall, wall), color=STOP, lw=5, solid_capstyle="butt")
    _write(axis, 4.25, wall, "stop-gradient", fontsize=10, ha="right", weight="bold")
    _write(axis, 4.9, middle, r"$\mathrm{sg}[z]$", fontsize=14)
    _network(axis, 7.0, middle, "$f$", "flow", FLOW)
    _write(axis, 8.9, middle, r"$\varepsilon$", fontsize=15)
    _write(axis, 8.9, middle - 0.68, "noise", fontsize=10, color="0.25")
    _write(axis, 10.9, middle, "NLL", bbox=LOSS)
    for start, end in ((5.55, 6.5), (7.5, 8.6), (9.2, 10.35)):
        _arrow(axis, (start, middle), (end, middle))
    _gradient(axis, (10.35, middle + 0.4), (7.5, middle + 0.4), FLOW)
    up = [(6.5, middle + 0.4), (5.75, middle + 0.4), (5.75, wall - 0.08)]  # and no further
    _path(axis, up, FLOW)

    axis.plot((0.2, 11.8), (1.85, 1.85), color="0.75", lw=1, linestyle="-")
    _write(axis, 0.2, bottom, "to generate:", fontsize=10, ha="left")
    _write(axis, 3.1, bottom, r"$\varepsilon \sim \mathcal{N}(0, I)$", fontsize=14)
    _network(axis, 5.4, bottom, "$f^{-1}$", "flow, backwards", FLOW)
    _write(axis, 7.0, bottom, "$z$", fontsize=15)
    _network(axis, 8.6, bottom, "$G$", "decoder", AUTO_ENCODER)
    _write(axis, 10.7, bottom, "a new image")
    for start, end in ((4.15, 4.75), (6.05, 6.7), (7.3, 8.05), (9.15, 9.75)):
        _arrow(axis, (start, bottom), (end, bottom))

    _arrow(axis, (0.3, 3.5), (1.2, 3.5))
    _write(axis, 1.4, 3.5, "values", fontsize=10, ha="left")
    _gradient(axis, (1.2, 2.9), (0.3, 2.9), "0.25")
    _write(axis, 1.4, 2.9, "gradients", fontsize=10, ha="left")
    return figure


def draw_gradients(kinds: Sequence[str]):
    """Draw models below one another; returns the figure.

    Each is drawn with its losses, its random parts and the way of every gradient.

    Args:
        kinds: from "GLF", "regularized GLF", "VAE" and "VAE + flow prior".
    """
    import matplotlib.pyplot as plt

    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ValueError(f"kinds: expected some of {', '.join(KINDS)}; got {list(kinds)}")
    figure, axes = plt.subplots(
        len(kinds),
        1,
        figsize=(12 * UNIT, 4.9 * UNIT * len(kinds)),
        squeeze=False,
        layout="constrained",
    )
    for axis, kind in zip(axes[:, 0], kinds, strict=True):
        _draw_kind(_axis(axis, (12, 4.2)), **KINDS[kind])
        axis.set_title(kind, fontsize=13, weight="bold", loc="left")
    return figure


def _draw_kind(axis, gradient: str, noise: bool = False, flow: bool = True) -> None:
    _write(axis, 0.5, TOP, "$x$", fontsize=15)
    _network(axis, 2.0, TOP, "$E$", "encoder", AUTO_ENCODER)
    _network(axis, 7.4, TOP, "$G$", "decoder", AUTO_ENCODER)
    _write(axis, 9.0, TOP, r"$\hat x$", fontsize=15)
    _write(axis, 10.9, TOP, r"$\beta\,\Vert x - \hat x\Vert^2$", bbox=LOSS)
    for start, end in ((0.8, 1.5), (5.5, 6.9), (7.9, 8.7), (9.3, 9.95)):
        _arrow(axis, (start, TOP), (end, TOP))
    if noise:
        _draw_noise(axis)
    else:
        _write(axis, 5.2, TOP, "$z$", fontsize=15)
        _arrow(axis, (2.5, TOP), (4.9, TOP))
    for start, end in ((9.95, 7.9), (6.9, 2.5)):
        _gradient(axis, (start, TOP + 0.42), (end, TOP + 0.42), AUTO_ENCODER)
    _draw_prior(axis, flow, "NLL $-\\ H$" if noise else "NLL")
    _draw_way_back(axis, gradient, start=6.9 if flow else 10.2)


def _draw_noise(axis) -> None:
    """The encoder gives a mean and a width, and z is drawn at random."""
    _write(axis, 3.5, TOP, r"$\mu,\ \sigma$", fontsize=14)
    circle = {"boxstyle": "circle,pad=0.3", "fc": "white", "ec": NOISE, "lw": 1.8}
    _write(axis, 5.2, TOP, "$z$", fontsize=15, bbox=circle)
    _write(axis, 4.3, TOP - 1.2, r"$\xi$", fontsize=14, color=NOISE)
    note = "noise: $z = \\mu + \\sigma\\,\\xi$,\nvanishes as $\\sigma \\to 0$"
    _write(axis, 4.05, TOP - 1.4, note, fontsize=10, ha="right")
    _arrow(axis, (2.5, TOP), (3.0, TOP))
    _arrow(axis, (4.0, TOP), (4.75, TOP))
    _arrow(axis, (4.4, TOP - 1.0), (4.95, TOP - 0.4), NOISE)


def _draw_prior(axis, flow: bool, loss: str) -> None:
    axis.plot((5.2, 5.2), (TOP - 0.45, BOTTOM), color="black", lw=1.4, linestyle="-")
    _write(axis, 10.9, BOTTOM, loss, bbox=LOSS)
    if not flow:
        _arrow(axis, (5.2, BOTTOM), (10.2, BOTTOM))
        _write(
            axis, 7.9, BOTTOM - 0.35, r"prior $\mathcal{N}(0, I)$: nothing to learn", fontsize=10
        )
        return
    _network(axis, 7.4, BOTTOM, "$f$", "flow", FLOW)
    _write(axis, 9.0, BOTTOM, r"$\varepsilon$", fontsize=15)
    for start, end in ((5.2, 6.9), (7.9, 8.7), (9.3, 10.2)):
        _arrow(axis, (start, BOTTOM), (end, BOTTOM))
    _gradient(axis, (10.2, BOTTOM + 0.42), (7.9, BOTTOM + 0.42), FLOW)


def _draw_way_back(axis, gradient: str, start: float) -> None:
    """The way of the likelihood's gradient from the flow to the encoder, or to the wall."""
    y, x, wall = BOTTOM + 0.42, 5.75, 2.3
    if gradient == "stopped":
        axis.plot((4.65, 6.2), (wall, wall), color=STOP, lw=5, linestyle="-")
        _write(axis, 4.5, wall, "stop-gradient", fontsize=10, ha="right", weight="bold")
        _path(axis, [(start, y), (x, y), (x, wall - 0.08)], FLOW)
    else:
        below = TOP - 0.42
        _path(axis, [(start, y), (x, y), (x, below), (5.55, below)], FLOW)
        _gradient(axis, (4.8, below), (2.5, below), FLOW)


def draw_density_gap():
    """Draw the density gap; returns the figure.

    It shows where a decoder gets its latents from in training and in generation, and below it the
    two distributions on the plane.
    """
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(
        2, 1, figsize=(8 * UNIT, 11.4 * UNIT), height_ratios=(5, 6.4), layout="constrained"
    )
    _two_sources(_axis(above, (8, 5)))
    _two_clouds(below)
    return figure


def _two_sources(axis) -> None:
    """The decoder with its two sources of latents."""
    top, middle, bottom = 3.8, 2.35, 0.9
    _write(axis, 0.1, top + 0.9, "training", fontsize=11, weight="bold", ha="left")
    _write(axis, 0.4, top, "$x$", fontsize=15)
    _network(axis, 1.8, top, "$E$", "encoder", AUTO_ENCODER)
    _write(axis, 4.2, top, "$z \\sim q(z)$", fontsize=14)
    _write(axis, 4.1, top - 0.6, "aggregated posterior", fontsize=10, color="0.25")
    _write(axis, 0.1, bottom + 0.9, "generation", fontsize=11, weight="bold", ha="left")
    _write(axis, 0.1, bottom, "random numbers", fontsize=10, ha="left")
    _write(axis, 4.2, bottom, "$z \\sim p(z)$", fontsize=14)
    _write(axis, 4.2, bottom - 0.6, "prior", fontsize=10, color="0.25")
    _network(axis, 6.7, middle, "$G$", "decoder", AUTO_ENCODER)
    _arrow(axis, (0.7, top), (1.3, top))
    _arrow(axis, (2.3, top), (3.3, top))
    _arrow(axis, (2.6, bottom), (3.3, bottom))
    _arrow(axis, (5.2, top), (6.45, middle + 0.5))
    _arrow(axis, (5.1, bottom), (6.15, middle - 0.35))
    _arrow(axis, (7.15, middle), (7.6, middle))
    _write(axis, 7.85, middle, "$\\hat x$", fontsize=15)


def _two_clouds(axis) -> None:
    """The prior as a hatched disc, the aggregated posterior as some groups of points."""
    from matplotlib.patches import Ellipse

    disc = {"linestyle": "--", "lw": 1.6, "ec": "0.25", "hatch": "///"}
    axis.add_patch(Ellipse((0, 0), 4.4, 4.4, fc="none", **disc))
    random = np.random.default_rng(0)
    groups = (  # centre, width, height, angle in degrees
        ((-1.5, 0.9), 1.9, 0.9, 35),
        ((0.7, -0.9), 1.6, 0.8, -30),
        ((2.7, 1.2), 2.4, 0.9, 60),
        ((-0.4, -2.6), 2.2, 0.7, 8),
    )
    for centre, width, height, angle in groups:
        cloud = {"fc": "#D6E8F5", "ec": AUTO_ENCODER, "lw": 1.2}
        axis.add_patch(Ellipse(centre, width, height, angle=angle, **cloud))
        points = random.normal(size=(60, 2))
        points *= (random.uniform(size=(60, 1)) ** 0.5) / np.linalg.norm(
            points, axis=1, keepdims=True
        )
        points *= (0.45 * width, 0.45 * height)
        turn = np.deg2rad(angle)
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        axis.scatter(*(points @ rotation + centre).T, s=4, color=AUTO_ENCODER)
    notes = (
        ("drawn, but never trained on:\nthe decoder has to guess", (0.35, 1.45), (-4.8, 3.0)),
        ("trained on, but never drawn", (3.0, 1.7), (1.6, 3.2)),
    )
    for text, point, place in notes:
        paper = {"fc": "white", "ec": "none", "pad": 1}
        pointer = {"arrowstyle": "->", "color": "black", "lw": 1.2, "shrinkB": 0}
        axis.annotate(text, point, place, fontsize=10, arrowprops=pointer, bbox=paper)
    _write(axis, 1.75, -2.3, "prior $p(z)$", fontsize=11, ha="left")
    _write(axis, -1.75, -3.3, "aggregated posterior $q(z)$", fontsize=11, color=AUTO_ENCODER)
    axis.set(xlim=(-5, 5), ylim=(-3.7, 3.9), aspect="equal", xticks=[], yticks=[])
    axis.set(xlabel="first latent number", ylabel="second latent number")
    axis.grid(visible=False)


def draw_coupling():
    """Draw a one-sided coupling layer; returns the figure.

    Its forward direction is on the left, its inverse on the right.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(7.6, 2.7), layout="constrained")
    for axis, names, operations, title in (
        (axes[0], ("z", "y"), (r"$\times s$", "$+\\,t$"), "forward"),
        (axes[1], ("y", "z"), ("$-\\,t$", r"$\div\, s$"), "inverse"),
    ):
        _coupling(_axis(axis, (8, 5)), names, operations)
        axis.set_title(title)
    return figure


def _coupling(axis, names: tuple[str, str], operations: tuple[str, str]) -> None:
    """One half of a vector passes; a network looks at it and moves the other half."""
    source, result = names
    top, net, bottom = 4.3, 2.6, 0.7
    for y, half in ((top, 1), (bottom, 2)):
        _write(axis, 0.5, y, f"${source}_{half}$", fontsize=15)
        _write(axis, 7.5, y, f"${result}_{half}$", fontsize=15)
    _arrow(axis, (0.9, top), (7.1, top))
    _write(axis, 5.6, top + 0.35, "unchanged", fontsize=10, color="0.25")
    axis.plot(3.0, top, "o", color="black", markersize=5)
    box = {"boxstyle": "round,pad=0.5", "fc": "white", "ec": FLOW, "lw": 1.8}
    _write(axis, 3.0, net, "any network", fontsize=11, bbox=box, zorder=3)
    _arrow(axis, (3.0, top), (3.0, net + 0.42))
    circle = {"boxstyle": "circle,pad=0.25", "fc": "white", "ec": "black", "lw": 1.2}
    for x, operation in zip((3.0, 5.2), operations, strict=True):
        _write(axis, x, bottom, operation, bbox=circle, zorder=3)
    _arrow(axis, (0.9, bottom), (2.5, bottom))
    _arrow(axis, (3.5, bottom), (4.7, bottom))
    _arrow(axis, (5.7, bottom), (7.1, bottom))
    first, second = ("s", "t") if "s" in operations[0] else ("t", "s")
    _arrow(axis, (3.0, net - 0.42), (3.0, bottom + 0.5))
    _write(axis, 2.7, 1.72, f"${first}$", fontsize=13)
    axis.plot((4.15, 5.2), (net, net), color="black", lw=1.4)
    _arrow(axis, (5.2, net), (5.2, bottom + 0.5))
    _write(axis, 5.5, 1.72, f"${second}$", fontsize=13)
