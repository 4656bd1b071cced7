"""The diagrams say what they should: every symbol, and which gradients there are."""

import pytest
from matplotlib import pyplot as plt

from glf_minimal.diagrams import (
    KINDS,
    draw_coupling,
    draw_density_gap,
    draw_gradients,
    draw_model,
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def texts(figure):
    return {text.get_text() for axis in figure.axes for text in axis.texts}


def test_the_model_has_its_parts_its_losses_and_its_barrier():
    drawn = texts(draw_model())
    assert {"encoder", "decoder", "flow", "NLL", "stop-gradient", r"$\mathrm{sg}[z]$"} <= drawn


def test_the_gradient_of_the_likelihood_ends_below_the_barrier():
    """Of the dashed arrows, none of the flow's colour reaches the encoder's row."""
    (axis,) = draw_model().axes
    arrows = [text for text in axis.texts if hasattr(text, "arrow_patch") and text.arrow_patch]
    dashed = [arrow for arrow in arrows if arrow.arrowprops.get("linestyle")]
    (wall,) = [line for line in axis.lines if line.get_linewidth() == 5]
    flow = [arrow for arrow in dashed if arrow.arrowprops["color"] == "#D55E00"]
    assert len(flow) == 2
    assert all(arrow.xy[1] < wall.get_ydata()[0] for arrow in flow)


def test_the_gap_names_both_distributions():
    drawn = texts(draw_density_gap())
    assert {"prior $p(z)$", "aggregated posterior $q(z)$"} <= drawn


def test_the_coupling_is_undone_in_the_opposite_order():
    forward, inverse = draw_coupling().axes
    steps = [r"$\times s$", "$+\\,t$", "$-\\,t$", r"$\div\, s$"]
    for axis, expected in ((forward, steps[:2]), (inverse, steps[2:])):
        places = {t.get_text(): t.get_position()[0] for t in axis.texts if t.get_text() in steps}
        assert sorted(places, key=places.get) == expected


@pytest.mark.parametrize("draw", [draw_model, draw_density_gap, draw_coupling])
def test_letters_are_large_for_the_width_of_the_picture(draw):
    """Of ten points and more, in pictures that a column of the book shows at nearly full size."""
    figure = draw()
    assert figure.get_figwidth() <= 7.7
    assert min(text.get_fontsize() for axis in figure.axes for text in axis.texts) >= 10


def words(axis):
    return [text.get_text() for text in axis.texts]


def test_each_model_has_its_own_parts():
    figure = draw_gradients(list(KINDS))
    panels = dict(zip(KINDS, figure.axes, strict=True))
    for kind, axis in panels.items():
        assert axis.get_title(loc="left") == kind
        assert ("stop-gradient" in words(axis)) == (kind == "GLF")
        assert (r"$\xi$" in words(axis)) == kind.startswith("VAE")
        assert ("$f$" in words(axis)) == (kind != "VAE")
        assert ("NLL" in words(axis)) == (not kind.startswith("VAE"))
    assert figure.get_figwidth() <= 7.7  # or its letters are too small on a phone
    assert min(text.get_fontsize() for axis in figure.axes for text in axis.texts) >= 10


@pytest.mark.parametrize("kinds", [[], ["GLF", "GAN"]])
def test_other_models_are_refused(kinds):
    with pytest.raises(ValueError, match=r"expected some of GLF, regularized GLF, VAE, .*; got \["):
        draw_gradients(kinds)
