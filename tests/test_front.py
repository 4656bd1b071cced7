"""The first picture: the best samples of GLF that are recorded, and the run they come from."""

import numpy as np
import pytest
from PIL import Image

from glf_minimal.reproduction.front import best_runs, origin_of_samples, samples_of_glf


@pytest.fixture
def drawn(records):
    """drawn(experiment, data, fcd, …) writes a record of GLF with a grid of samples."""

    def make(experiment, data, fcd, brightness=0, seed=0, **others):
        results = records(experiment, "glf", seed, data=data, fcd=fcd, **others)
        path = results / experiment / data / "glf" / f"seed-{seed}.png"
        Image.new("RGB", (80, 80), 3 * (brightness,)).save(path)
        return results

    return make


def test_the_run_with_the_least_distance_is_shown(drawn):
    """Whichever table it belongs to; a data set without samples has no strip."""
    drawn("table-1", "mnist", fcd=1.0, brightness=200, epochs=20)
    drawn("table-1-small", "mnist", fcd=2.0, brightness=100)
    drawn("table-1", "celeba", fcd=30.0, brightness=100, epochs=1)
    results = drawn("table-1-small", "celeba", fcd=20.0, brightness=50)
    found = {data: row.experiment.name for data, row in best_runs(results).items()}
    assert found == {"mnist": "table-1", "celeba": "table-1-small"}
    axes = samples_of_glf(results).axes
    assert [axis.get_title(loc="left") for axis in axes] == ["MNIST", "CelebA"]
    strips = [np.asarray(axis.images[0].get_array())[..., :3] for axis in axes]
    assert [strip.shape for strip in strips] == 2 * [(20, 80, 3)]
    assert [strip.max() for strip in strips] == pytest.approx([200 / 255, 50 / 255])
    assert origin_of_samples(results).markdown() == (
        "MNIST: the paper's networks, 20 of 100 epochs; "
        "CelebA: networks of half the width, 8 epochs.\n"
    )


def test_samples_are_those_of_the_first_seed_that_has_some(drawn, records):
    records("table-1", "glf", 0, fcd=9.0)
    results = drawn("table-1", "mnist", fcd=9.0, brightness=10, seed=1)
    drawn("table-1", "mnist", fcd=1.0, brightness=20, seed=2)
    (axis,) = samples_of_glf(results).axes
    assert np.asarray(axis.images[0].get_array())[..., 0].max() == pytest.approx(10 / 255)


def test_without_samples(records):
    results = records("table-1", "glf", fcd=1.0)
    assert best_runs(results) == {}
    assert origin_of_samples(results).markdown() == "not run.\n"
    assert "`glf reproduce table-1` makes the records" in samples_of_glf(results).markdown()
