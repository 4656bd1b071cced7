"""Diagrams that set models side by side: what is random, and which loss moves which part.

Solid arrows carry values, dashed arrows gradients.
"""

from collections.abc import Sequence

from glf_minimal.diagrams import (
    AUTO_ENCODER,
    FLOW,
    STOP,
    UNIT,
    _arrow,
    _axis,
    _gradient,
    _network,
    _path,
    _write,
)
from glf_minimal.plotting import COLOURS

NOISE = COLOURS[2]
TOP, BOTTOM = 3.4, 1.0  # heights of the auto-encoder and of the prior
LOSS = {"boxstyle": "square,pad=0.45", "fc": "0.93", "ec": "none"}
KINDS = {
    "GLF": {"gradient": "stopped"},
    "regularized GLF": {"gradient": "passes"},
    "VAE": {"noise": True, "flow": False, "gradient": "passes"},
    "VAE + flow prior": {"noise": True, "gradient": "passes"},
}


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
        _draw_model(_axis(axis, (12, 4.2)), **KINDS[kind])
        axis.set_title(kind, fontsize=13, weight="bold", loc="left")
    return figure


def _draw_model(axis, gradient: str, noise: bool = False, flow: bool = True) -> None:
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
