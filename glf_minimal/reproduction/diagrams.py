"""Figure 1 of the paper, drawn with matplotlib: the model, and one block of its flow."""

from glf_minimal.diagrams import draw_model
from glf_minimal.plotting import COLOURS

BOX = {"boxstyle": "round,pad=0.45", "linewidth": 1.4}


def model_diagram():
    """Draw GLF and a flow block; returns the figure.

    Above: training and sampling of GLF. Below: a flow block with a two-sided coupling.
    """
    import matplotlib.pyplot as plt

    figure, (model, block) = plt.subplots(
        2, 1, figsize=(9.6, 8.6), height_ratios=(5.2, 3.4), layout="constrained"
    )
    draw_model(model)
    _block(block)
    block.set(xlim=(0, 10), ylim=(0, 6))
    block.set_axis_off()
    model.set_anchor("W")  # both begin at the same edge
    figure.get_layout_engine().set(hspace=0.08)
    for axis, title in ((model, "GLF"), (block, "A block of its flow")):
        axis.set_title(title, loc="left", fontweight="bold", fontsize=12)
    return figure


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
