"""Pictures: the right pixels in the right place, and files written whole."""

import io

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from glf_minimal.pictures import image_grid, save_grid
from glf_minimal.plotting import (
    COLOURS,
    density_map,
    encode_png,
    latent_map,
    panels,
    shades,
    show_grids,
    spread_labels,
    training_curves,
    use_style,
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_grid_tiles_row_by_row():
    images = torch.linspace(0, 1, 5).reshape(5, 1, 1, 1).expand(5, 1, 4, 4)
    grid = image_grid(images, columns=3)
    assert grid.shape == (3, 2 * 6 + 2, 3 * 6 + 2)
    for i, value in enumerate(torch.linspace(0, 1, 5)):
        row, column = divmod(i, 3)
        assert (grid[:, 2 + 6 * row : 6 + 6 * row, 2 + 6 * column : 6 + 6 * column] == value).all()


def test_grid_is_square_by_default_and_clips():
    assert image_grid(torch.full((16, 3, 4, 4), 2.0)).shape == (3, 26, 26)
    assert image_grid(torch.full((16, 3, 4, 4), 2.0)).max() == 1


def test_saved_grid_has_the_pixels(tmp_path):
    images = torch.rand(2, 3, 5, 7)
    save_grid(images, tmp_path / "grid.png", scale=1)
    saved = np.asarray(Image.open(tmp_path / "grid.png"))
    expected = (images[1] * 255).round().byte().permute(1, 2, 0).numpy()
    assert saved.shape == (9, 20, 3)
    assert np.array_equal(saved[2:7, 11:18], expected)
    assert [f.name for f in tmp_path.iterdir()] == ["grid.png"]


def test_a_grid_needs_images():
    with pytest.raises(ValueError, match=r"\(N, C, H, W\) with N > 0, got \(0, 1, 2, 2\)"):
        image_grid(torch.zeros(0, 1, 2, 2))


def test_show_grids_has_a_panel_a_title():
    figure = show_grids({"a": torch.rand(4, 1, 8, 8), "b": torch.rand(2, 3, 8, 8)})
    assert [axis.get_title() for axis in figure.axes] == ["a", "b"]


def test_training_curves_draw_every_term():
    bookkeeping = {"step": 1, "lr": 1e-3, "seconds": 1.0, "cpu_seconds": 1.0}
    history = [
        {"stage": "a", "epoch": 1, **bookkeeping, "loss": 3.0, "recon": 2.0},
        {"stage": "b", "epoch": 2, **bookkeeping, "loss": 1.0, "nll": 5.0},
    ]
    figure = training_curves(history)
    assert [axis.get_title() for axis in figure.axes] == ["loss", "reconstruction", "NLL"]
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[1, 3], [2, 1]]
    assert figure.axes[2].lines[0].get_xydata().tolist() == [[2, 5]]
    with pytest.raises(ValueError, match="at least one epoch"):
        training_curves([])


def test_training_curves_count_whole_epochs():
    figure = training_curves([{"epoch": epoch, "loss": 1.0} for epoch in range(1, 4)])
    assert all(tick == round(tick) for tick in figure.axes[0].get_xticks())


def test_training_curves_compare_histories():
    histories = {
        name: [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}] for name in ("GLF", "VAE")
    }
    figure = training_curves(histories)
    assert [line.get_label() for line in figure.axes[0].lines] == ["GLF", "VAE"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["GLF", "VAE"]
    with pytest.raises(ValueError, match="at least one epoch"):
        training_curves({"GLF": []})


@pytest.mark.parametrize(
    ("count", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)), (7, (3, 3))]
)
def test_panels_stand_in_rows_of_three_at_most(count, shape):
    figure, axes = panels(count, width=2, height=1)
    assert len(axes) == count
    assert figure.get_size_inches().tolist() == [2 * shape[1], shape[0]]
    assert [axis.axison for axis in figure.axes] == [True] * count + [False] * (
        shape[0] * shape[1] - count
    )


def test_the_style_gives_every_line_a_colour_and_dashes_of_its_own():
    with plt.rc_context():
        use_style()
        _, axis = plt.subplots()
        lines = [axis.plot([0, 1])[0] for _ in COLOURS]
    assert [line.get_color() for line in lines] == list(COLOURS)
    assert len({str(line._unscaled_dash_pattern) for line in lines}) == len(COLOURS)


def test_density_map_shows_density_where_it_is():
    """A peak at (2, -1) is bright there; x runs to the right and y upwards."""
    peak = torch.tensor([2.0, -1.0])
    figure = density_map(
        {"peak": lambda z: -(z - peak).square().sum(1)}, limit=3, points={"peak": peak[None]}
    )
    (image,) = figure.axes[0].images
    row, column = divmod(int(image.get_array().argmax()), 200)
    assert abs(-3 + 6 * column / 199 - 2) < 0.05
    assert abs(-3 + 6 * row / 199 + 1) < 0.05
    assert image.origin == "lower"
    assert figure.axes[0].collections[0].get_offsets().tolist() == [[2, -1]]


def test_density_map_shows_a_log_density_down_to_its_floor():
    log_density = {"plain": lambda z: -z.square().sum(1), "log": lambda z: -z.square().sum(1)}
    figure = density_map(log_density, limit=2, floors={"log": -3.0})
    plain, log, *bars = figure.axes
    assert plain.images[0].get_array().min() == pytest.approx(np.exp(-8))
    assert log.images[0].get_array().min() == -3
    assert [bar.get_ylabel() for bar in bars] == ["density", "log-density (nats)"]
    assert len(density_map(log_density).axes) == 2


def test_spread_labels_parts_what_collides_and_leaves_the_rest():
    places = torch.tensor([[0.0, 0.0], [0.2, 0.0], [5.0, 5.0], [3.0, 3.0], [3.0, 3.0]])
    spread = spread_labels(places, 1.0, (-9, 9))
    gaps = torch.cdist(spread, spread).fill_diagonal_(torch.inf)
    assert gaps.min() >= 0.99
    assert spread[2].tolist() == [5, 5]
    assert spread[0].tolist() == pytest.approx([-0.4, 0])
    assert spread_labels(torch.tensor([[1.0, 2.0]]), 1.0, (-9, 9)).tolist() == [[1, 2]]


def test_latent_map_shares_its_axes_and_colours_by_label():
    points = torch.randn(10, 2)
    figure = latent_map({"a": points, "b": 3 * points}, labels={"a": torch.arange(10)})
    first, second = figure.axes
    assert first.get_xlim() == second.get_xlim()
    assert (first.get_xlabel(), first.get_ylabel()) == ("first coordinate", "second coordinate")
    assert torch.allclose(torch.tensor(first.collections[0].get_offsets().data).float(), points)
    assert len(first.collections[0].get_array()) == 10
    assert [text.get_text() for text in first.texts] == [str(i) for i in range(10)]
    with pytest.raises(ValueError, match=r"b: expected points of shape \(N, 2\), got \(10, 3\)"):
        latent_map({"b": torch.randn(10, 3)})


def pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def drawn(figure):
    figure.canvas.draw()  # the layout moves a little at the first drawing
    figure.set_layout_engine("none")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def test_a_grey_picture_keeps_its_levels_to_half_a_step():
    figure = show_grids({"digits": torch.rand(16, 1, 8, 8)}, size=2.0)
    full, small = drawn(figure), encode_png(figure, greys=32)
    assert abs(pixels(small) - pixels(full)).max() <= 5
    assert len(np.unique(pixels(small))) == 32
    assert len(small) < 0.75 * len(full)


def test_a_coloured_picture_keeps_its_colours():
    figure = latent_map({"a": torch.randn(500, 2)}, {"a": torch.arange(500) % 10})
    full, small = drawn(figure), encode_png(figure, greys=32)
    assert abs(pixels(small) - pixels(full)).mean() < 1
    assert len(small) < 0.6 * len(full)


def test_a_notebook_stores_small_pictures():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        with plt.rc_context():
            use_style()
            figure = show_grids({"digits": torch.rand(4, 1, 8, 8)}, size=2.0)
            data, _ = shell.display_formatter.format(figure)
            nothing, _ = shell.display_formatter.format(plt.figure())
    finally:
        InteractiveShell.clear_instance()
    assert len(np.unique(pixels(data["image/png"]))) == 32
    assert "image/png" not in nothing


def test_shades_grow_darker():
    brightness = [sum(colour[:3]) for colour in shades(4)]
    assert brightness == sorted(brightness, reverse=True)
    assert len(set(brightness)) == 4
