"""Time to quality: what is read off the points, what is made again, and what the scorer says of
real images.
"""

import json
from dataclasses import asdict

import pytest
import torch

from benchmarks import quality, quality_ours, quality_points, quality_table
from benchmarks.quality_points import BudgetSpent, Protocol, Stopwatch, write_point
from glf_minimal import ImageDataset, load_dataset
from glf_minimal.files import write_json
from glf_minimal.models import GaussianMixture

# Few images make it fast.
pytestmark = pytest.mark.filterwarnings("ignore::glf_minimal.models.priors.TooFewLatents")


def points(*pairs):
    """Points of (CPU seconds, FCD), an epoch each."""
    return [
        {"epoch": i, "cpu_seconds": seconds, "train_cpu_seconds": seconds, "seconds": 2 * seconds}
        | {"fcd": fcd, "fcd_se": 0.01, "parameters": 1234}
        for i, (seconds, fcd) in enumerate(pairs, 1)
    ]


@pytest.fixture
def results():
    contenders = {
        "glf": {"points": points((10.0, 6.0), (20.0, 2.5), (30.0, 2.75))},
        "pythae-ae-maf": {"points": points((40.0, 20.0), (50.0, 12.0))},
    }
    return {
        "contenders": contenders,
        "real": {"fcd": 0.1},
    }


@pytest.fixture
def digits_5k(data_root, monkeypatch):
    """64 of the 5,000 digits in the place of MNIST."""
    data = load_dataset("mnist-5k", "train", data_root)
    data = ImageDataset(data.pixels[:64], name="mnist-5k")
    monkeypatch.setattr(Protocol, "data", lambda self: data)
    return data


def test_the_first_point_that_is_good_enough_counts(results):
    glf = results["contenders"]["glf"]["points"]
    assert quality_table.first_reaching(glf, 5.0)["cpu_seconds"] == 20.0
    assert quality_table.first_reaching(glf, 2.5)["epoch"] == 2
    assert quality_table.first_reaching(glf, 2.0) is None
    assert quality_table.first_reaching(list(reversed(glf)), 3.0)["cpu_seconds"] == 20.0


def test_the_table_says_what_was_not_reached(results):
    lines = quality_table.table(results).partition("\n\n")[0].splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert (
        lines[2] == "| GLF | 20 s | not reached | not reached | 2.50 ± 0.01 (20 s) | not run "
        "| 10 | 1,234 |"
    )
    assert lines[3].count("not reached") == len(quality_table.THRESHOLDS)


def test_seeds_make_one_table(results):
    """Three seeds are below 3 after 20, 24 and 22 seconds, two of them below 2."""
    seeds = [results]
    for pairs in (((24.0, 1.9), (48.0, 2.4)), ((22.0, 1.6),)):
        contender = {"points": points(*pairs), "stopped": quality_points.OUT_OF_TIME}
        seeds.append({"contenders": {"glf": contender}})
    lines = quality_table.table(*seeds).splitlines()
    assert lines[2].startswith("| GLF | 22 s (20 to 24) |")
    assert "| 23 s (22 to 24), 2 of 3 seeds | not reached | 2.00 ± 0.46 (22 s) |" in lines[2]
    assert lines[3].startswith("| pythae: AE, then MAF | not reached |")
    assert lines[5].startswith("3 seeds: ")
    for epochs in (2, 1):
        assert f"GLF: one seed ran out of time after {epochs} epochs." in lines[5]


def test_figure(results, tmp_path):
    quality_table.figure(results, tmp_path / "quality.png")
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")


def test_the_scorer_tells_real_images_from_others(data_root):
    train, test = (load_dataset("mnist-5k", split, data_root) for split in ("train", "test"))
    scorer = quality.Scorer("mnist-5k", test=test)
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: len(test)]
    real, inverted = scorer(train.pixels[chosen]), scorer(255 - train.pixels[chosen])
    assert 0 < real["fcd"] < 5  # 500 images on either side: nearly all of it is the estimate's bias
    assert inverted["fcd"] > 50 * real["fcd"]


def test_our_points_are_made_once(digits_5k, tmp_path):
    protocol = Protocol(epochs=(1, 2), samples=8)
    for system in ("glf", "glf-mixture", "two-stage-vae"):
        folder = tmp_path / system
        quality_ours.make_points(system, folder, protocol)
        first, second = (quality_points.point_path(folder, epoch) for epoch in (1, 2))
        written, kept = first.stat().st_mtime_ns, second.with_suffix(".npz").read_bytes()
        second.unlink()
        quality_ours.make_points(
            system, folder, protocol
        )  # stopped before the second one, it makes that alone
        assert first.stat().st_mtime_ns == written
        assert second.with_suffix(".npz").read_bytes() == kept
        point = json.loads(second.read_text())
        assert point["train_cpu_seconds"] > json.loads(first.read_text())["train_cpu_seconds"] > 0
        assert (point["sampler_cpu_seconds"] > 0) == (system != "glf")


def test_the_mixture_is_fitted_for_each_point_and_not_beside_the_training(
    digits_5k, tmp_path, monkeypatch
):
    fitted = []
    fit = GaussianMixture.fit
    monkeypatch.setattr(GaussianMixture, "fit", lambda own, z: fitted.append(z) or fit(own, z))
    quality_ours.make_points("glf-mixture", tmp_path, Protocol(epochs=(1, 2), samples=8))
    assert len(fitted) == 2


def test_a_spent_budget_stops_a_contender(digits_5k, tmp_path):
    with pytest.raises(BudgetSpent):
        quality_ours.make_points("glf", tmp_path, Protocol(epochs=(1, 2), samples=8, budget=0.0))
    assert not list(tmp_path.glob("epoch-*"))


def test_contenders_that_have_results_are_not_run_again(digits_5k, tmp_path, monkeypatch):
    made = []

    def make(name, folder, protocol, python):
        made.append(name)
        folder.mkdir(parents=True)
        images = torch.zeros(4, 1, 28, 28)
        write_point(folder, 1, Stopwatch(2.0, 1.0), Stopwatch(4.0, 3.0), Stopwatch(), images, 5)
        write_json(folder / quality.DONE, {"stopped": "after the last epoch"})

    class Scorer:
        def __init__(self, data, judge):
            assert data == "mnist"
            self.facts = {"reference": "test, all images"}

        def __call__(self, pixels):
            return {"fcd": 4.0, "fcd_se": 0.1}

    monkeypatch.setattr(quality, "make", make)
    monkeypatch.setattr(quality, "Scorer", Scorer)
    monkeypatch.setattr(quality, "squeezenet", lambda: None)
    monkeypatch.setattr(quality, "load_dataset", lambda *_: digits_5k)
    protocol, out = Protocol(samples=4), tmp_path / "results" / "quality.json"
    arguments = protocol, tmp_path / "work", tmp_path / "environment", out
    threads = torch.get_num_threads()
    try:
        quality.run(["two-stage-vae"], *arguments)
        results = quality.run(["glf", "two-stage-vae"], *arguments)
        assert quality.run(["glf"], *arguments) == json.loads(out.read_text()) == results
        assert made == ["two-stage-vae", "glf"]
        assert list(results["contenders"]) == ["glf", "two-stage-vae"]
        (point,) = results["contenders"]["glf"]["points"]
        assert (point["seconds"], point["cpu_seconds"], point["samples"]) == (6.0, 4.0, 4)
        assert results["protocol"] == json.loads(json.dumps(asdict(protocol)))
        with pytest.raises(SystemExit, match="another protocol"):
            quality.run(["glf"], Protocol(samples=5), *arguments[1:])
    finally:
        torch.set_num_threads(threads)


def test_a_contender_that_fails_shows_its_log(tmp_path, monkeypatch):
    broken = quality_points.Entry("GLF", "no_such_module")
    monkeypatch.setitem(quality.CONTENDERS, "glf", broken)
    with pytest.raises(SystemExit, match=r"(?s)glf failed.*No module named"):
        quality.make("glf", tmp_path / "glf", Protocol(), quality.sys.executable)
