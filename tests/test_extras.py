"""What figures need beyond records: maps, pictures of chosen noises, nearest training images."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glf_minimal import load_dataset
from glf_minimal.evaluation.classifier import load_classifier
from glf_minimal.evaluation.features import extract
from glf_minimal.evaluation.measure import generate
from glf_minimal.evaluation.protocol import Protocol
from glf_minimal.files import read_csv, write_csv
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.recipes.judge import evaluate_classifier
from glf_minimal.recipes.run import load_run, train_recipe
from glf_minimal.reproduction import extras, is_recorded, make_cells, plan, reproduce
from glf_minimal.reproduction.cells import Experiment, Row


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_root):
    """The folder of a GLF trained on 8x8 digits."""
    settings = {"train.epochs": 20, "train.device": "cpu", "train.progress": False}
    folder = tmp_path_factory.mktemp("extras") / "run"
    train_recipe(get_recipe("glf-digits").with_settings(settings), folder, data_root)
    return folder


@pytest.fixture
def classifier(classifier_run, data_root, tmp_path, monkeypatch):
    monkeypatch.setattr("glf_minimal.evaluation.classifier.WEIGHTS_FOLDER", tmp_path / "weights")
    evaluate_classifier(classifier_run, data_root, install=True)
    return load_classifier("digits")[0]


def tiles(path, rows, columns):
    """The grey images of a grid of 8 x 8 ones, each pixel drawn as 2 x 2: (rows, columns, 8, 8), 0
    to 255.
    """
    picture = torch.from_numpy(np.asarray(Image.open(path).convert("L")).copy()).float()
    assert picture.shape == (4 + 20 * rows, 4 + 20 * columns)
    return picture[4:, 4:].reshape(rows, 20, columns, 20)[:, :16:2, :, :16:2].transpose(1, 2)


def test_maps_of_latents(run, data_root, tmp_path):
    """Digits of one class lie together."""
    extras.write_latent_map(run, tmp_path / "map.csv", data_root, "cpu", images=150)
    points = read_csv(tmp_path / "map.csv")
    assert len(points) == 150
    place = torch.tensor([[point["x"], point["y"]] for point in points])
    labels = torch.tensor([point["label"] for point in points])
    nearest = torch.cdist(place, place).fill_diagonal_(torch.inf).argmin(1)
    assert (labels[nearest] == labels).float().mean() > 0.5  # by chance 0.1


def test_only_the_first_seed_has_extras():
    with_map = make_cells(plan.FLOWAE_REPORT, rows=["vae", "aae"], seeds=2)
    names = {(c.row.name, c.seed): c.extras(Path("r")) for c in with_map}
    assert [key for key, paths in names.items() if paths] == [("vae", 0)]
    assert names["vae", 0] == {"map.csv": Path("r/flowae-report/mnist/vae/seed-0-map.csv")}


def test_a_record_without_its_extras_is_not_whole(data_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = Row(
        "glf",
        "GLF",
        "glf-digits",
        {},
        {"samples": 40},
        extras=("interpolation.png", "same-noise.png"),
    )
    (cell,) = make_cells(
        Experiment("trial", "a trial", {"digits": (row,)}, seeds=1), reduced={"train.epochs": 1}
    )
    results = Path("data/results")
    assert not reproduce(
        [cell], root=data_root, device="cpu", progress=False, say=lambda line: None
    )
    assert is_recorded(cell, results)
    cell.extras(results)["same-noise.png"].unlink()
    assert not is_recorded(cell, results)


def test_interpolation(run, tmp_path):
    """Begins and ends at what the two noises give, and moves all the way."""
    extras.write_interpolation(run, tmp_path / "way.png", None, "cpu", rows=2, steps=5)
    ways, (model, _) = tiles(tmp_path / "way.png", 2, 5), load_run(run)
    ends = torch.randn(2, 2, model.latent_dim, generator=torch.Generator().manual_seed(0))
    for row, way in enumerate(ways):
        for place, noise in ((0, ends[0, row]), (4, ends[1, row])):
            expected = model.decode(model.prior.inverse(noise[None])[0])[0, 0].detach() * 255
            assert (way[place] - expected).abs().max() < 1
        assert all((a - b).abs().max() > 1 for a, b in itertools.pairwise(way))


def test_the_same_noise(run, tmp_path):
    """A row for each temperature, and one that passes the flow by."""
    extras.write_same_noise(run, tmp_path / "noise.png", None, "cpu", columns=3)
    rows, (model, _) = tiles(tmp_path / "noise.png", 6, 3), load_run(run)
    noise = torch.randn(3, model.latent_dim, generator=torch.Generator().manual_seed(0))
    latents = [model.prior.inverse(t * noise)[0] for t in extras.TEMPERATURES] + [noise]
    for row, z in zip(rows, latents, strict=True):
        assert (row - model.decode(z)[:, 0].detach() * 255).abs().max() < 1


def test_the_same_noise_at_every_scale(run, tmp_path):
    extras.write_noise_scales(run, tmp_path / "scales.png", None, "cpu", columns=3)
    scales, (model, _) = extras.NOISE_SCALES, load_run(run)
    noise = torch.randn(3, model.latent_dim, generator=torch.Generator().manual_seed(0))
    for row, scale in zip(tiles(tmp_path / "scales.png", len(scales), 3), scales, strict=True):
        expected = model.decode(model.prior.inverse(scale * noise)[0])[:, 0].detach() * 255
        assert (row - expected).abs().max() < 1


def test_the_spread_of_features(run, classifier, data_root, tmp_path):
    """The share of the variance, summed over features, of test images."""
    extras.write_feature_spread(run, tmp_path / "spread.csv", data_root, "cpu", images=60)
    found = {row["images"]: row["variance"] for row in read_csv(tmp_path / "spread.csv")}
    assert len(found) == 1 + len(extras.NOISE_SCALES)
    data, (model, _) = load_dataset("digits", "test", data_root), load_run(run)
    x = data.batch(slice(60))
    drawn = next(generate(model, Protocol(samples=60, temperature=2.0)))
    expected = {"reconstructions": model.reconstruct(x), "samples, noise times 2": drawn}
    of_test = extract(classifier, [x]).var(0).sum()
    for kind, images in expected.items():
        share = extract(classifier, [images]).var(0).sum() / of_test
        assert found[kind] == pytest.approx(share.item(), abs=1e-3)


def test_nearest_training_images(run, classifier, data_root, tmp_path):
    """Distances and places are what a search over all pairs finds; the last rows show the nearest
    of all.
    """
    extras.write_neighbours(run, tmp_path / "near.png", data_root, "cpu", images=60, columns=4)
    rows = read_csv(tmp_path / "near.csv")
    train, test = (load_dataset("digits", split, data_root) for split in ("train", "test"))
    known, looked_at = (extract(classifier, [data.batch(slice(None))]) for data in (train, test))
    distances = (looked_at[:60, None] - known).square().sum(2).sqrt().min(1).values
    of_test = torch.tensor([row["distance"] for row in rows if row["image"] == "test"])
    assert torch.allclose(of_test, distances, atol=2e-3)
    assert [row["image"] for row in rows] == ["sample"] * 60 + ["test"] * 60 + [
        "reconstruction"
    ] * 60
    of_samples = torch.tensor([row["distance"] for row in rows[:60]])
    shown = tiles(tmp_path / "near.png", 4, 4)
    for first, expected in ((0, of_samples[:4]), (2, of_samples.sort().values[:4])):
        samples, neighbours = (
            extract(classifier, [(shown[row] / 255)[:, None]]) for row in (first, first + 1)
        )
        assert torch.allclose((samples - neighbours).square().sum(1).sqrt(), expected, atol=0.05)


def test_copies_are_found(run, classifier, data_root, tmp_path, monkeypatch):
    """A model that returns training images comes to a distance of 0 and is nearer than any new
    image.
    """
    train = load_dataset("digits", "train", data_root)
    monkeypatch.setattr(
        extras, "generate", lambda model, protocol: [train.batch(slice(0, protocol.samples))]
    )
    extras.write_neighbours(run, tmp_path / "near.png", data_root, "cpu", images=60)
    rows = read_csv(tmp_path / "near.csv")
    assert max(row["distance"] for row in rows if row["image"] == "sample") < 0.01
    assert min(row["distance"] for row in rows if row["image"] == "test") > 0.01


def test_silhouettes_of_latent_maps(records):
    """Maps lie beside the first seeds; a model without one is left out.

    Both inner points have 1 to their own class and 8.5 to the other, both outer ones 1 and 9.5.
    """
    results = records("flowae-report", "flowae", fcd=1.0)
    assert extras.read_latent_maps(results) == {}
    points = [{"x": x, "y": 2, "label": x // 9} for x in (0, 1, 9, 10)]
    write_csv(results / "flowae-report" / "mnist" / "flowae" / "seed-0-map.csv", points)
    assert extras.read_latent_maps(results) == {"flowae": points}
    expected = (7.5 / 8.5 + 8.5 / 9.5) / 2
    assert extras.silhouette(points) == pytest.approx(expected)
