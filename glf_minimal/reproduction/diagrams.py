"""Figure 1 of the paper, drawn with matplotlib: the model, and one block of its flow."""

from itertools import pairwise

from glf_minimal.plotting import COLOURS

BOX = {"boxstyle": "round,pad=0.45", "linewidth": 1.4}


def model_diagram():
    """Draw training and sampling of GLF on the left, a block of its flow with a two-sided coupling
    on the right; returns the figure.
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.9), layout="constrained")
    _model(left)
    _block(right)
    for axis, title in ((left, "GLF"), (right, "a block of the flow")):
        axis.set(title=title, xlim=(0, 10), ylim=(0, 6))
        axis.set_axis_off()
    return figure


def _model(axis) -> None:
    _chain(axis, 4.8, {"x": 0.6, "E": 2.5, "z": 4.4, "G": 6.3, "$\\hat x$": 8.2}, boxes="EG")
    _chain(axis, 2.6, {"sg[z]": 4.4, "f": 6.3, "ε": 8.2}, boxes="f")
    axis.annotate(
        "", (4.4, 3.05), (4.4, 4.4), arrowprops={"arrowstyle": "->", "linestyle": ":", "lw": 1.4}
    )
    axis.text(4.25, 3.7, "no gradient back", ha="right", va="center", fontsize=9)
    axis.text(9.9, 4.8, "β · recon", va="center", ha="right", color=COLOURS[0])
    axis.text(9.9, 2.6, "NLL", va="center", ha="right", color=COLOURS[1])
    axis.text(0.3, 0.7, "to sample:", va="center", fontsize=9)
    _chain(
        axis,
        0.7,
        {"ε": 2.4, "$f^{-1}$": 4.2, "z": 6.0, "G": 7.4, "x": 8.8},
        boxes=("$f^{-1}$", "G"),
    )


def _block(axis) -> None:
    for y, name, out in ((4.8, "$z_1$", "$y_1$"), (2.2, "$z_2$", "$y_2$")):
        axis.text(0.4, y, name, ha="center", va="center", fontsize=12)
        axis.text(7.0, y, out, ha="center", va="center", fontsize=12)
        axis.annotate("", (6.6, y), (0.8, y), arrowprops={"arrowstyle": "->", "lw": 1.2})
    for x, (passive, active), name in (
        (2.3, (2.2, 4.8), "$s_1, t_1$"),
        (4.8, (4.8, 2.2), "$s_2, t_2$"),
    ):
        middle = (passive + active) / 2
        axis.annotate("", (x, middle), (x, passive), arrowprops={"arrowstyle": "-", "lw": 1.2})
        axis.annotate("", (x, active), (x, middle), arrowprops={"arrowstyle": "->", "lw": 1.2})
        axis.text(
            x, middle, name, ha="center", va="center", bbox=BOX | {"fc": "white", "ec": COLOURS[1]}
        )
        axis.text(
            x,
            active,
            "× +",
            ha="center",
            va="center",
            fontsize=9,
            bbox={"boxstyle": "circle", "fc": "white"},
        )
    axis.text(
        8.2,
        3.5,
        "permute",
        ha="center",
        va="center",
        rotation=90,
        bbox=BOX | {"fc": "white", "ec": COLOURS[2]},
    )
    for y in (4.8, 2.2):
        axis.annotate(
            "", (7.75, 3.5 + (y - 3.5) * 0.45), (7.3, y), arrowprops={"arrowstyle": "-", "lw": 1.2}
        )
    axis.annotate("", (9.6, 3.5), (8.6, 3.5), arrowprops={"arrowstyle": "->", "lw": 1.2})
    first = "$y_1 = z_1 \\cdot e^{s_1(z_2)} + t_1(z_2)$"
    second = "$y_2 = z_2 \\cdot e^{s_2(y_1)} + t_2(y_1)$"
    coupling = f"{first},  then  {second}"
    axis.text(5.0, 0.7, coupling, ha="center")


def _chain(axis, y: float, positions: dict[str, float], boxes) -> None:
    """Write names at these x positions at height y, and draw an arrow from each to the next; the
    names in ``boxes``, which are networks, get a box.
    """
    items = list(positions.items())
    for name, x in items:
        box = BOX | {"fc": "white", "ec": COLOURS[2]} if name in boxes else None
        axis.text(x, y, name, ha="center", va="center", fontsize=12, bbox=box)
    for (_, start), (_, end) in pairwise(items):
        axis.annotate(
            "", (end - 0.55, y), (start + 0.55, y), arrowprops={"arrowstyle": "->", "lw": 1.2}
        )
