"""The second judge: SqueezeNet's features, and the distances that rest on them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from glf_minimal import Protocol, RunError, evaluate
from glf_minimal.errors import MetricError
from glf_minimal.evaluation import SqueezeNetFeatures, extract, frechet_from_features, fsd
from glf_minimal.evaluation import features as module
from glf_minimal.files import read_json
from glf_minimal.perceptual import MEAN, STD


def test_features_are_those_of_the_last_fire_module_averaged_over_positions(squeezenet_weights):
    judge = SqueezeNetFeatures(squeezenet_weights)
    images = torch.rand(3, 3, judge.side, judge.side, generator=torch.Generator().manual_seed(0))
    normalized = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    expected = judge.network(normalized).mean((2, 3))
    assert expected.shape == (3, 512)
    torch.testing.assert_close(judge(images), expected, rtol=1e-4, atol=1e-5)
    assert len(judge.network) == 13
    assert type(judge.network[-1]).__name__ == "Fire"


def test_grey_images_are_judged_as_their_coloured_copies(squeezenet_weights):
    judge = SqueezeNetFeatures(squeezenet_weights)
    grey = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(judge(grey), judge(grey.expand(-1, 3, -1, -1)))


@pytest.mark.filterwarnings("ignore::glf_minimal.evaluation.frechet.TooFewSamples")
def test_the_distance_of_two_sets(squeezenet_weights, some_digits):
    images = some_digits.batch(slice(None))
    halves = images[:160], images[160:]
    judge = SqueezeNetFeatures(squeezenet_weights)
    expected = frechet_from_features(*(extract(judge, [half]) for half in halves))
    assert fsd(*halves, squeezenet_weights) == pytest.approx(expected, rel=1e-3)


@pytest.mark.filterwarnings("ignore::glf_minimal.evaluation.frechet.TooFewSamples")
def test_an_evaluation_has_its_distance_and_that_of_reconstructions(
    squeezenet_weights, make_glf, some_digits
):
    judge = SqueezeNetFeatures(squeezenet_weights)
    protocol = Protocol(samples=40, batch_size=20)
    measures = evaluate(make_glf(), some_digits, protocol, squeezenet=judge)
    assert measures["squeezenet"]["fsd"] > 0
    assert measures["squeezenet"]["fsd_se"] > 0
    real = evaluate(make_glf(), some_digits, protocol, real=some_digits, squeezenet=judge)
    assert real["squeezenet"]["fsd"] < measures["reconstruction"]["fsd"]


def test_a_reference_set_is_seen_once(squeezenet_weights, monkeypatch):
    judge = SqueezeNetFeatures(squeezenet_weights)
    images = torch.rand(4, 1, 8, 8)
    first = judge.of_reference("digest", [images], "cpu")
    monkeypatch.setattr(module, "extract", None)
    assert judge.of_reference("digest", [images], "cpu") is first


def test_missing_and_foreign_weights_are_named(squeezenet_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MetricError, match=r"put squeezenet1_1-b8a52dc0\.pth into"):
        SqueezeNetFeatures()
    foreign = tmp_path / "other.safetensors"
    save_file({"features.0.weight": torch.zeros(3)}, foreign)
    with pytest.raises(RunError, match="other"):
        SqueezeNetFeatures(foreign)


def test_the_protocol_names_the_weights(squeezenet_weights, tmp_path):
    first = SqueezeNetFeatures(squeezenet_weights).protocol
    assert (first["layer"], first["side"]) == ("features.12", 128)
    assert len(first["weights_sha256"]) == 64


def test_the_commands_of_the_book_name_every_judge():
    """So that they make the records of data/results again, with all their numbers."""
    told = 0
    for path in Path("data/results").rglob("seed-*.json"):
        record = read_json(path)
        evaluated = [line for line in record["commands"] if line.startswith("glf evaluate")]
        for line in evaluated:
            assert ("--fsd" in line) == bool(record.get("squeezenet")), path
            told += "--fsd" in line
    assert told > 200
