"""The classifiers behind FCD: they learn and come back from their files; the committed ones are as
good as they say.
"""

import shlex
import tomllib
from hashlib import sha256

import pytest
import torch

from glf_minimal import TrainConfig, fit, load_dataset
from glf_minimal.cli.options import parse_settings
from glf_minimal.data import SHAPES, ImageDataset
from glf_minimal.errors import DataError, MetricError, RunError
from glf_minimal.evaluation.classifier import (
    WEIGHTS_FOLDER,
    Classifier,
    ResidualBlock,
    classifier_path,
    load_classifier,
    save_classifier,
)
from glf_minimal.evaluation.features import extract
from glf_minimal.evaluation.frechet import frechet_from_features
from glf_minimal.files import read_tensors
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.recipes.judge import evaluate_classifier
from glf_minimal.recipes.run import load_run

COMMITTED = sorted(WEIGHTS_FOLDER.glob("classifier-*.safetensors"))
FLOORS = {"mnist": 0.992, "fashion-mnist": 0.92, "cifar10": 0.90, "celeba": 0.75}


def make(seed=0, **arguments):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Classifier((1, 8, 8), width=8, **arguments)


def accuracy(classifier, data):
    places = torch.arange(len(data)).split(100)
    return classifier.accuracy((data.batch(place), data.labels[place]) for place in places)


def test_it_learns_digits(classifier_run, data_root):
    classifier, config = load_run(classifier_run)
    test = load_dataset("digits", "test", data_root)
    assert accuracy(make(), test) < 0.4
    assert accuracy(classifier, test) > 0.85
    assert config["recipe"] == "classifier-mnist"
    assert config["built"]["class"] == "Classifier"
    assert not (classifier_run / "samples.png").exists()


def test_features_are_what_the_last_layer_sees(digits):
    classifier, x, labels = make().eval(), digits.batch(slice(6)), digits.labels[:6]
    features = classifier(x)
    assert features.shape == (6, 32)
    losses = classifier.losses(x, labels)
    logits = classifier.head(features)
    assert losses["loss"].item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, labels).item()
    )
    assert losses["accuracy"] == (logits.argmax(1) == labels).float().mean()


def test_strides_halve_the_sides():
    shapes = []
    classifier = Classifier((3, 32, 32), width=8, stride=2)
    for block in classifier.body[3:6]:
        block.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
    assert classifier(torch.rand(2, 3, 32, 32)).shape == (2, 32)
    assert shapes == [(2, 8, 16, 16), (2, 16, 8, 8), (2, 32, 4, 4)]


def test_binary_attributes(digits):
    """Any number of attributes an image: is it an even digit, is it above 4?"""
    labels = torch.stack([digits.labels % 2 == 0, digits.labels > 4], dim=1).long()
    data = ImageDataset(digits.pixels, labels, "two attributes")
    classifier = make(classes=2, attributes=True)
    x = data.batch(slice(6))
    losses, logits = classifier.eval().losses(x, labels[:6]), classifier.head(classifier(x))
    expected = -torch.where(labels[:6] > 0, logits.sigmoid(), 1 - logits.sigmoid()).log().sum() / 6
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses["accuracy"] == ((logits > 0) == (labels[:6] > 0)).float().mean()
    assert accuracy(classifier, data) < 0.7
    fit(
        classifier,
        data,
        TrainConfig(epochs=3, batch_size=32, lr=5e-3, progress=False, device="cpu"),
    )
    assert accuracy(classifier, data) > 0.85


def test_accuracy_counts_images_not_batches(digits):
    classifier, x, labels = make().eval(), digits.batch(slice(7)), digits.labels[:7]
    expected = (classifier.head(classifier(x)).argmax(1) == labels).double().mean().item()
    batches = zip(x.split([5, 1, 1]), labels.split([5, 1, 1]), strict=True)
    assert classifier.train().accuracy(batches) == expected
    assert not classifier.training


def test_augmentation(digits):
    x = digits.batch(slice(64))
    assert make().augment(x) is x
    for change in ({"zoom": 1.5}, {"shift": 0.2}, {"flip": True}):
        moved = make(**change).augment(x)
        assert moved.shape == x.shape
        assert moved.dtype == x.dtype
        assert 0 <= moved.min() <= moved.max() <= 1
        assert not torch.allclose(moved, x, atol=0.01)
    same = x[:1].expand(64, -1, -1, -1)
    assert (
        len(make(zoom=1.5, shift=0.2).augment(same).flatten(1).unique(dim=0)) == 64
    )  # random for each image
    flipped = make(flip=True).augment(x)
    is_mirrored = (flipped - x.flip(3)).abs().amax((1, 2, 3)) < 1e-5
    is_same = (flipped - x).abs().amax((1, 2, 3)) < 1e-5
    assert (is_mirrored | is_same).all()
    assert 10 < is_mirrored.sum() < 54


def test_zoom_and_shift_go_as_far_as_they_say():
    """A bright block in the middle, seen again enlarged by at most 1.5, and moved by at most a
    quarter of the side.
    """
    block = torch.zeros(200, 1, 32, 32)
    block[:, :, 12:20, 12:20] = 1
    torch.manual_seed(0)
    areas = make(zoom=1.5).augment(block).sum((1, 2, 3)) / 64
    assert areas.min() == pytest.approx(1, abs=0.06)
    assert areas.max() == pytest.approx(1.5**2, abs=0.12)
    weights = make(shift=0.25).augment(block)[:, 0] / 64
    places = torch.arange(32) - 15.5
    for moved in ((weights.sum(1) * places).sum(1), (weights.sum(2) * places).sum(1)):
        assert moved.abs().max() == pytest.approx(8, abs=0.3)
        assert moved.abs().min() < 0.5


def test_only_training_augments(digits):
    classifier, x, labels = (
        make(zoom=1.5, shift=0.2, flip=True),
        digits.batch(slice(32)),
        digits.labels[:32],
    )
    classifier.eval()
    first, second = (classifier.losses(x, labels)["loss"] for _ in range(2))
    assert torch.equal(first, second)
    classifier.train()
    first, second = (classifier.losses(x, labels)["loss"] for _ in range(2))
    assert not torch.equal(first, second)


def test_round_trip_in_half_precision(classifier_run, digits, tmp_path, monkeypatch):
    monkeypatch.setattr("glf_minimal.evaluation.classifier.WEIGHTS_FOLDER", tmp_path)
    classifier, config = load_run(classifier_run)
    facts = {
        "accuracy": 0.5,
        "settings": {"model": config["model"], "image_shape": config["image_shape"]},
    }
    save_classifier(classifier, classifier_path("digits"), facts)
    assert {t.dtype for t in read_tensors(classifier_path("digits"))[0].values()} == {
        torch.float16,
        torch.int64,
    }
    again, read = load_classifier("digits")
    assert read == facts | {"sha256": sha256(classifier_path("digits").read_bytes()).hexdigest()}
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    features, expected = (
        again(digits.batch(slice(100))),
        classifier(digits.batch(slice(100))).detach(),
    )
    assert (features - expected).abs().max() < 1e-2 * expected.abs().max()
    assert not torch.equal(features, expected)


def test_a_data_set_without_one_is_named(tmp_path, monkeypatch):
    with pytest.raises(
        MetricError, match=r"no classifier for digits, and so no FCD, only for .*mnist"
    ):
        load_classifier("digits")
    monkeypatch.setattr("glf_minimal.evaluation.classifier.WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(
        MetricError,
        match=r"no classifier for mnist, and so no FCD, only for no data set; .*--install",
    ):
        load_classifier("mnist")


def test_installing(classifier_run, data_root, tmp_path, monkeypatch):
    """What is installed is the run's classifier, with its accuracy, its settings and the command
    that trains it.
    """
    monkeypatch.setattr("glf_minimal.evaluation.classifier.WEIGHTS_FOLDER", tmp_path / "weights")
    facts = evaluate_classifier(classifier_run, data_root)
    assert not (tmp_path / "weights").exists()
    assert evaluate_classifier(classifier_run, data_root, install=True) == facts
    installed, read = load_classifier("digits")
    assert facts.items() <= read.items()
    test = load_dataset("digits", "test", data_root)
    assert facts["accuracy"] == accuracy(installed, test) > 0.85
    assert facts["test_images"] == len(test)
    assert facts["test_sha256"] == test.digest
    assert_command_gives_settings(facts)


def test_a_part_of_the_data_is_not_installed_for_all_of_it(
    classifier_run, data_root, tmp_path, monkeypatch
):
    """mnist-5k and mnist share a classifier, which only all of MNIST may replace."""
    config = (classifier_run / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"digits"', '"mnist-5k"'))
    (tmp_path / "model.safetensors").write_bytes(
        (classifier_run / "model.safetensors").read_bytes()
    )
    monkeypatch.setattr("glf_minimal.evaluation.classifier.WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(
        RunError, match=r"classifier-mnist\.safetensors serves more data than mnist-5k"
    ):
        evaluate_classifier(tmp_path, data_root, install=True)
    assert not list(tmp_path.glob("classifier-*"))


def assert_command_gives_settings(facts):
    program, command, option, name, *changes = shlex.split(facts["command"])
    assert (program, command, option) == ("glf", "train", "--recipe")
    assert set(changes[::2]) <= {"--set"}
    settings = get_recipe(name).with_settings(parse_settings(changes[1::2])).settings()
    for group in ("data", "model"):
        assert facts["settings"][group].items() <= settings[group].items()
    for key in ("epochs", "batch_size", "lr", "schedule", "seed"):
        assert facts["settings"]["train"][key] == settings["train"][key]


def test_weights_are_part_of_the_package(pytestconfig):
    project = tomllib.loads((pytestconfig.rootpath / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["glf_minimal.evaluation"]
    packaged = {path for pattern in patterns for path in WEIGHTS_FOLDER.parent.glob(pattern)}
    assert COMMITTED
    assert set(WEIGHTS_FOLDER.iterdir()) == set(COMMITTED) <= packaged


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_classifier(path):
    data = path.stem.removeprefix("classifier-")
    assert path.stat().st_size < 1_000_000
    classifier, facts = load_classifier(data)
    height, width, channels = SHAPES[data]
    assert facts["settings"]["data"]["name"] == data
    assert facts["settings"]["image_shape"] == [channels, height, width]
    assert facts["accuracy"] >= FLOORS[data]
    assert facts["test_images"] >= 2_000
    assert_command_gives_settings(facts)
    features = classifier(
        torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0))
    )
    assert features.shape == (2, 4 * facts["settings"]["model"]["width"])
    assert features.isfinite().all()


@pytest.fixture(scope="module")
def mnist_features(data_root):
    """Features of the 500 test and the 4,500 training digits of mnist-5k."""
    classifier, _ = load_classifier("mnist-5k")
    sets = (load_dataset("mnist-5k", split, data_root) for split in ("test", "train"))
    return [
        extract(classifier, (data.batch(i) for i in torch.arange(len(data)).split(250)))
        for data in sets
    ]


def test_the_mnist_classifier_is_as_good_as_it_says(data_root, mnist_features):
    classifier, _ = load_classifier("mnist-5k")
    labels = load_dataset("mnist-5k", "test", data_root).labels
    assert classifier.correct(classifier.head(mnist_features[0]), labels).double().mean() >= 0.99


def test_everyone_gets_the_same_fcd(mnist_features):
    """With these numbers, an FCD on MNIST is comparable with those in the book."""
    test, train = mnist_features
    digits = test[::63]  # 8 of them
    assert digits.mean().item() == pytest.approx(1.059, abs=1e-3)
    assert digits.std().item() == pytest.approx(0.895, abs=1e-3)
    assert frechet_from_features(train[::2], train[1::2]) == pytest.approx(0.0687, rel=1e-3)
    assert frechet_from_features(train, test) == pytest.approx(0.2963, rel=1e-3)


def test_labels_that_do_not_fit_are_named(digits):
    with pytest.raises(
        DataError, match=r"labels: expected shape \(6, 3\), got \(6,\); set model\.classes"
    ):
        make(classes=3, attributes=True).losses(digits.batch(slice(6)), digits.labels[:6])
    with pytest.raises(
        DataError, match="Classifier trains on labels, which this data does not have"
    ):
        fit(
            make(),
            ImageDataset(digits.pixels[:64]),
            TrainConfig(epochs=1, progress=False, device="cpu"),
        )


def test_crops_move_images_by_whole_pixels_and_let_black_in():
    image = torch.arange(1.0, 26.0).view(1, 1, 5, 5)
    moved = Classifier((1, 5, 5), width=2, crop=2).augment(image.repeat(200, 1, 1, 1))
    padded = torch.nn.functional.pad(image, (2, 2, 2, 2))
    possible = [padded[..., i : i + 5, j : j + 5] for i in range(5) for j in range(5)]
    found = {
        next(k for k, crop in enumerate(possible) if torch.equal(m[None], crop)) for m in moved
    }
    assert len(found) > 20  # of 25


def test_each_stage_has_as_many_blocks_as_asked_for():
    deeper, shallow = (
        sum(isinstance(m, ResidualBlock) for m in Classifier((1, 8, 8), blocks=b).body)
        for b in (2, 1)
    )
    assert (deeper, shallow) == (6, 3)
    with pytest.raises(ValueError, match="blocks >= 1"):
        Classifier((1, 8, 8), blocks=0)
