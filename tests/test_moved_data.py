"""A folder of pictures is known by what is in it: wherever it lies, the same pictures are the same
training, and others are one clear error, never numbers.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from glf_minimal import DataError, ImageDataset, RunError, load_dataset
from glf_minimal.evaluation.protocol import Protocol
from glf_minimal.files import read_json
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.recipes.export import export_run
from glf_minimal.recipes.run import train_recipe
from glf_minimal.reproduction.measuring import evaluate_run
from glf_minimal.training.folder import CONFIG, HISTORY

SMALL = {
    "train.epochs": 1,
    "train.progress": False,
    "train.device": "cpu",
    "networks.hidden": [16],
    "flow.hidden": 8,
}


def make_pictures(folder, seed=0, count=150):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{i}.png")


def train(folder, out):
    settings = SMALL | {"data.name": f"folder:{folder}"}
    return train_recipe(get_recipe("glf-digits").with_settings(settings), out)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder "home" with "pics" and a "run" that was trained on them from there."""
    home = tmp_path_factory.mktemp("moved") / "home"
    make_pictures(home / "pics")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        train("pics", home / "run")
    return home


@pytest.fixture
def home(trained, tmp_path, monkeypatch):
    """A copy of it, as the current folder."""
    shutil.copytree(trained, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "home"


@pytest.fixture
def evaluate(glf):
    return lambda *arguments: glf("evaluate", *arguments, "--samples", 10, "--device", "cpu")


@pytest.mark.filterwarnings("ignore::glf_minimal.evaluation.frechet.TooFewSamples")
@pytest.mark.parametrize("place", ["pics/", "./pics", "../home/pics", "~/home/pics", "absolute"])
def test_other_names_of_a_folder_are_the_same_training(home, place, evaluate):
    history = (home / "run" / HISTORY).read_bytes()
    place = str(home / "pics") if place == "absolute" else place
    train(place, home / "run")
    assert (home / "run" / HISTORY).read_bytes() == history
    assert read_json(home / "run" / CONFIG)["data"]["name"] == f"folder:{place}"
    code, out, _ = evaluate("run")
    assert code == 0
    assert "compared with the test split of the pictures in" in out


@pytest.mark.filterwarnings("ignore::glf_minimal.evaluation.frechet.TooFewSamples")
def test_a_renamed_folder_is_named_with_data(home, evaluate, glf):
    measured = evaluate("run")
    assert measured[0] == 0
    (home / "pics").rename(home / "renamed")
    for command in (evaluate, lambda *arguments: glf("export", *arguments)):
        code, out, err = command("run")
        assert (code, out) == (1, "")
        assert "pics is not a folder" in err
        assert "say where they lie now: --data folder:PATH" in err
        assert err.count("\n") == 1
    code, out, err = evaluate("run", "--data", "folder:renamed")
    assert (code, err) == (0, "")
    assert out.replace("renamed", "pics") == measured[1]
    assert glf("export", "run", "--data", "folder:renamed")[0] == 0
    train("renamed", home / "run")  # loads the finished run, which knows the new place from now on
    assert evaluate("run")[0] == 0


@pytest.mark.filterwarnings("ignore::glf_minimal.evaluation.frechet.TooFewSamples")
def test_another_folder_of_this_name_is_not_measured(home, evaluate, glf, tmp_path, monkeypatch):
    make_pictures(tmp_path / "elsewhere" / "pics", seed=1)
    monkeypatch.chdir(tmp_path / "elsewhere")
    for command in (evaluate, lambda *arguments: glf("export", *arguments)):
        code, out, err = command(home / "run")
        assert (code, out) == (1, "")
        assert "was trained on other images than" in err
        assert err.count("\n") == 1
    assert evaluate(home / "run", "--data", f"folder:{home / 'pics'}")[0] == 0
    with pytest.raises(RunError, match=r"holds a training with other settings .*data_sha256 was"):
        train("pics", home / "run")
    assert read_json(home / "run" / CONFIG)["data"]["name"] == "folder:pics"


def test_data_of_another_kind_is_not_measured(home, data_root):
    with pytest.raises(RunError, match="was trained on other images than digits has now"):
        evaluate_run(home / "run", Protocol(samples=10), data_root, data="digits")


@pytest.mark.filterwarnings("ignore::glf_minimal.evaluation.frechet.TooFewSamples")
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_picture_less(home, split):
    """Without one to train on it is another training. One less to test with is measured as such."""
    images = load_dataset("folder:pics", split)
    for file in sorted((home / "pics").iterdir()):
        if (np.asarray(Image.open(file)) == images.pixels[0, 0].numpy()).all():
            file.unlink()
    protocol = Protocol(samples=10)
    if split == "train":
        with pytest.raises(RunError, match="was trained on other images"):
            evaluate_run(home / "run", protocol)
        with pytest.raises(RunError, match="was trained on other images"):
            export_run(home / "run", home / "model.js")
        assert not (home / "model.js").exists()
    else:
        record = evaluate_run(home / "run", protocol)
        assert record["evaluation"]["reference_images"] == len(images) - 1


def test_a_run_of_another_split_is_not_measured(home):
    """As those were that kept every tenth picture for testing."""
    config = json.loads((home / "run" / CONFIG).read_text())
    every_tenth = [i for i in range(150) if i % 10 != 9]
    pixels = [np.asarray(Image.open(home / "pics" / f"{i}.png")) for i in every_tenth]
    config["data_sha256"] = digest_of(np.stack(pixels))
    (home / "run" / CONFIG).write_text(json.dumps(config))
    with pytest.raises(RunError, match="was trained on other images"):
        evaluate_run(home / "run", Protocol(samples=10))


def digest_of(pixels):
    return ImageDataset(torch.from_numpy(pixels)[:, None]).digest


def test_test_pictures_of_another_size(home):
    """A folder with its own split, whose parts do not fit each other."""
    make_pictures(home / "split" / "train")
    (home / "split" / "test").mkdir()
    Image.new("L", (9, 9)).save(home / "split" / "test" / "a.png")
    train("split", home / "other")
    words = r"these images are \(1, 9, 9\) .* was trained on \(1, 8, 8\); make them alike"
    with pytest.raises(DataError, match=words):
        evaluate_run(home / "other", Protocol(samples=10))


def test_a_cache_of_another_data_set(home, data_root, tmp_path):
    """What holds of folders holds of the cache: the name alone says nothing."""
    recipe = get_recipe("glf-digits").with_settings(SMALL)
    train_recipe(recipe, home / "digits", data_root)
    for split in ("train", "test"):
        load_dataset("digits", split, data_root)
        with np.load(data_root / f"digits-{split}.npz") as arrays:
            images, labels = arrays["images"], arrays["labels"]
        np.savez(tmp_path / f"digits-{split}.npz", images=images[1:], labels=labels[1:])
    with pytest.raises(
        RunError, match=r"was trained on other images than digits has now; .*--root"
    ):
        evaluate_run(home / "digits", Protocol(samples=10), tmp_path)


def test_a_lender_whose_folder_was_moved(home, capsys):
    """What a run on a borrowed auto-encoder says of the lender's data names no place either."""
    changes = {"data.validation": 20, "train.epochs": 2}
    settings = SMALL | changes | {"data.name": "folder:pics"}
    train_recipe(get_recipe("glf-slides-mnist").with_settings(settings), home / "lender")
    for place in ("pics", "renamed"):
        if place == "renamed":
            (home / "pics").rename(home / "renamed")
            settings["data.name"] = "folder:renamed"
            train_recipe(get_recipe("glf-slides-mnist").with_settings(settings), home / "lender")
        borrower = get_recipe("flowae-slides-mnist").with_settings(settings)
        capsys.readouterr()
        train_recipe(borrower, home / "borrower", lender=home / "lender")
        assert f"120 of the train split of the pictures in {place}:" in capsys.readouterr().err
