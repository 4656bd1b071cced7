"""Records: they hold what makes a number, their commands make it again, and they are written whole
or not at all.
"""

import csv
import dataclasses
import json
import shlex
from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image
from training_helpers import quick

from glf_minimal import files, fit, load_dataset
from glf_minimal.errors import RunError
from glf_minimal.evaluation.classifier import Classifier, classifier_path
from glf_minimal.evaluation.features import InceptionFeatures
from glf_minimal.evaluation.protocol import Protocol
from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures
from glf_minimal.files import read_json, read_tensors, write_json, write_tensors
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.recipes.judge import evaluate_classifier
from glf_minimal.recipes.run import load_run, read_run, train_recipe
from glf_minimal.reproduction.measuring import GROUPS_OF_METRICS, evaluate_run, table
from glf_minimal.reproduction.records import (
    Record,
    RecordPath,
    Status,
    find_records,
    read_records,
    write_record,
)

pytestmark = pytest.mark.filterwarnings("ignore::glf_minimal.evaluation.frechet.TooFewSamples")

QUIET = {"train.progress": False, "train.device": "cpu", "train.checkpoint_seconds": 0.0}
RECIPE = get_recipe("glf-digits").with_settings({"train.epochs": 2, "model.beta": 2, **QUIET})
PROTOCOL = Protocol(samples=40, batch_size=20)


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_root):
    folder = tmp_path_factory.mktemp("records") / "run"
    train_recipe(RECIPE, folder, data_root)
    return folder


@pytest.fixture
def digits_have_a_classifier(classifier_run, data_root, tmp_path, monkeypatch):
    monkeypatch.setattr("glf_minimal.evaluation.classifier.WEIGHTS_FOLDER", tmp_path / "weights")
    evaluate_classifier(classifier_run, data_root, install=True)


@pytest.fixture
def copy_of(run, tmp_path):
    """A copy of the run whose config.json is changed: copy_of(group=content or None to leave it
    out).
    """

    def make(**groups):
        folder = tmp_path / "copy"
        folder.mkdir()
        for file in run.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        config = read_json(run / "config.json") | groups
        write_json(
            folder / "config.json",
            {name: value for name, value in config.items() if value is not None},
        )
        return folder

    return make


@pytest.mark.usefixtures("digits_have_a_classifier")
def test_a_record_holds_what_makes_the_numbers(run, data_root, tmp_path):
    record = evaluate_run(run, PROTOCOL, data_root)
    path = write_record(record, run, tmp_path / "results", "trial", "glf")
    assert path == tmp_path / "results" / "trial" / "digits" / "glf" / "seed-0.json"
    content = json.loads(path.read_text())
    assert content == {"experiment": "trial", "row": "glf", **json.loads(json.dumps(record))}
    assert content["recipe"] == "glf-digits"
    assert content["seed"] == 0
    assert set(content["metrics"]) == set(GROUPS_OF_METRICS)
    assert content["protocol"] == dataclasses.asdict(PROTOCOL) | {"samples_are": "generated"}
    assert content["classifier"]["data"] == "digits"
    assert content["classifier"]["accuracy"] > 0.85
    assert (
        content["classifier"]["sha256"]
        == sha256(classifier_path("digits").read_bytes()).hexdigest()
    )
    assert content["settings"] == RECIPE.settings()
    assert content["built"]["class"] == "GLF"
    assert content["parameters"] == sum(p.numel() for p in load_run(run)[0].parameters())
    train, test = (load_dataset("digits", split, data_root) for split in ("train", "test"))
    training, evaluation = content["training"], content["evaluation"]
    assert training["epochs"] == 2
    assert training["seconds"] > 0
    assert training["cpu_seconds"] > 0
    assert set(training["last"]) == {
        "stage",
        "epoch",
        "step",
        "loss",
        "recon",
        "nll",
        "inverse_error",
    }
    assert training["data_sha256"] == train.digest
    assert evaluation["reference_sha256"] == test.digest
    assert evaluation["reference_images"] == len(test)
    assert evaluation["seconds"] > 0
    for side in (training, evaluation):
        assert side["versions"]["torch"].startswith(torch.__version__.partition("+")[0])
        assert side["hardware"]
        assert "commit" in side
    assert Image.open(path.with_suffix(".png")).size == Image.open(run / "samples.png").size
    with open(path.with_suffix(".csv"), encoding="utf-8") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    assert len(list(path.parent.iterdir())) == 3


@pytest.mark.usefixtures("digits_have_a_classifier")
@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, []),
        (
            {
                "model.beta": 2.5,
                "networks.latent_dim": 5,
                "train.seed": 3,
                "flow.hidden": 16,
                "train.lr": 1e-3,
            },
            [
                "--stretch",
                "--train-mode",
                "--no-uint8",
                "--temperature",
                "0.8",
                "--seed",
                "5",
                "--batch-size",
                "15",
            ],
        ),
        (
            {
                "data.binarize": True,
                "model.flow_adam": {"betas": [0.8, 0.9]},
                "train.schedule": "cosine",
            },
            ["--reference", "train"],
        ),
        ({"train.precision": "float32"}, ["--real", "--seed", "1"]),
    ],
)
def test_its_commands_make_it_again(changes, options, glf, data_root, tmp_path, monkeypatch):
    """In an empty folder: the same settings, the same weights, the same numbers."""
    monkeypatch.setenv("GLF_DATA", str(data_root))
    records, runs = [], []
    out = "runs/some of my/run"
    sets = [
        part for name, value in changes.items() for part in ("--set", f"{name}={json.dumps(value)}")
    ]
    arguments = [
        ["train", "--recipe", "glf-digits", "--epochs", 1, "--out", out, "--no-progress", *sets],
        ["evaluate", out, "--samples", 30, *options],
    ]
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert glf(*arguments[0])[0] == 0
        code, text, _ = glf(*arguments[1], "--record", "trial/row")
        assert code == 0
        path = text.splitlines()[-1].removeprefix("record: ")
        assert path == f"data/results/trial/digits/row/seed-{changes.get('train.seed', 0)}.json"
        records.append(read_json(tmp_path / name / path))
        runs.append(read_tensors(tmp_path / name / out / "model.safetensors")[0])
        arguments = [shlex.split(command)[1:] for command in records[-1]["commands"]]
    first, again = records
    assert [command[0] for command in arguments] == ["train", "evaluate"]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    for record in records:
        record["settings"]["train"].pop("progress")
        assert record["metrics"]["classifier"]["fcd"] > 0
    for part in (
        "commands",
        "settings",
        "built",
        "metrics",
        "protocol",
        "classifier",
        "parameters",
    ):
        assert first[part] == again[part], part
    assert first["settings"]["train"]["epochs"] == 1
    assert first["protocol"]["samples"] == 30
    assert first["protocol"]["binarize"] == changes.get("data.binarize", False)


def test_the_table_has_each_number_once(run, data_root):
    record = evaluate_run(run, PROTOCOL, data_root)
    *lines, last = table(record)
    words = ("classifier", "inception", "squeezenet")
    assert lines[:3] == [f"{group:15}{record['metrics'][group]}" for group in words]
    numbers = [line.split() for line in lines[3:]]
    expected = [
        (group, name)
        for group in ("reconstruction", "latents")
        for name in record["metrics"][group]
    ]
    assert [(group, name) for group, name, _ in numbers] == expected
    for group, name, value in numbers:
        assert float(value) == pytest.approx(record["metrics"][group][name], abs=1e-4)
    for name, value in record["protocol"].items():
        assert f"{name} {value}" in last


def test_real_images_have_no_samples_and_no_history(run, data_root, tmp_path):
    record = evaluate_run(run, PROTOCOL, data_root, real=True)
    assert record["protocol"]["samples_are"] == "real training images"
    assert record["commands"][1].endswith("--real")
    path = write_record(record, run, tmp_path, "trial", "real")
    assert list(path.parent.iterdir()) == [path]


def test_with_fid(run, data_root, inception_weights, tmp_path):
    few = {name: array[::18] for name, array in np.load(data_root / "digits-test.npz").items()}
    np.savez(tmp_path / "digits-test.npz", **few)
    record = evaluate_run(
        run, Protocol(samples=10), tmp_path, inception=InceptionFeatures(64, inception_weights)
    )
    assert record["metrics"]["inception"]["fid"] > 0
    assert record["commands"][1] == "glf evaluate runs/run --samples 10 --fid"


def test_with_fsd(run, data_root, squeezenet_weights, tmp_path):
    few = {name: array[::18] for name, array in np.load(data_root / "digits-test.npz").items()}
    np.savez(tmp_path / "digits-test.npz", **few)
    judge = SqueezeNetFeatures(squeezenet_weights)
    record = evaluate_run(run, Protocol(samples=10), tmp_path, squeezenet=judge)
    assert record["metrics"]["squeezenet"]["fsd"] > 0
    assert record["commands"][1] == "glf evaluate runs/run --samples 10 --fsd"


def test_a_run_of_a_recipe_of_ones_own(copy_of, data_root, tmp_path):
    """It is evaluated, but has no record, as no command makes it again."""
    folder = copy_of(recipe="mine")
    record = evaluate_run(folder, PROTOCOL, data_root)
    assert record["commands"] == []
    assert table(record)
    with pytest.raises(RunError, match=r"no recipe of the catalogue makes .*copy again"):
        write_record(record, folder, tmp_path / "results", "trial", "mine")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("settings", [None, {"model": "my own network"}])
def test_a_model_of_ones_own_cannot_be_built(settings, make_glf, some_digits, tmp_path):
    fit(make_glf(), some_digits, quick(epochs=1), tmp_path, settings)
    with pytest.raises(
        RunError, match=r"no settings for networks, flow, model, so .* into it with load_state_dict"
    ):
        evaluate_run(tmp_path, PROTOCOL)


def test_folders_that_are_no_finished_runs(run, tmp_path, data_root):
    with pytest.raises(RunError, match=r"is .*nowhere the folder of a run"):
        evaluate_run(tmp_path / "nowhere", PROTOCOL)
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    with pytest.raises(RunError, match="the folder of a finished run"):
        evaluate_run(tmp_path, PROTOCOL)
    write_tensors(tmp_path / "model.safetensors", read_tensors(run / "model.safetensors")[0])
    with pytest.raises(RunError, match="has no training history"):
        evaluate_run(tmp_path, PROTOCOL, data_root)


@pytest.fixture
def record(run, data_root):
    return evaluate_run(run, Protocol(samples=5), data_root)


def test_results_that_cannot_be_written(record, run, tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(
        RunError, match=r"cannot make the folder .*file/results.* \(Not a directory\)"
    ):
        write_record(record, run, tmp_path / "file" / "results", "trial", "glf")
    assert (tmp_path / "file").read_text() == "precious"
    (tmp_path / "trial" / "digits" / "glf" / "seed-0.json").mkdir(parents=True)
    with pytest.raises(RunError, match=r"cannot write .*seed-0\.json"):
        write_record(record, run, tmp_path, "trial", "glf")
    assert not list(tmp_path.rglob(".*"))


def test_records_are_read_back_with_their_histories(record, run, tmp_path):
    """By row, seeds in the order of their numbers; with each training's history."""
    for seed in (10, 2):
        write_record(record | {"seed": seed}, run, tmp_path, "trial", "glf")
    write_record(
        record | {"protocol": record["protocol"] | {"samples_are": "real"}},
        run,
        tmp_path,
        "trial",
        "real",
    )
    rows = read_records(tmp_path, "trial", "digits")
    assert {row: [r["seed"] for r in records] for row, records in rows.items()} == {
        "glf": [2, 10],
        "real": [0],
    }
    assert rows["glf"][0]["history"] == read_tensors(run / "model.safetensors")[1]["history"]
    assert rows["real"][0]["history"] == []
    assert rows["real"][0]["metrics"] == json.loads(json.dumps(record["metrics"]))


def test_no_records(tmp_path):
    with pytest.raises(
        RunError, match=r"no records in .*trial/mnist; 'glf evaluate RUN --record trial/ROW'"
    ):
        read_records(tmp_path, "trial", "mnist")


def test_a_run_without_samples_leaves_nothing(record, copy_of, tmp_path):
    folder = copy_of()
    (folder / "samples.png").unlink()
    with pytest.raises(RunError, match=r"cannot read .*samples\.png"):
        write_record(record, folder, tmp_path / "results", "trial", "glf")
    assert not (tmp_path / "results").exists()


def test_a_full_disk_leaves_the_old_record(record, run, tmp_path, monkeypatch):
    path = write_record(record, run, tmp_path, "trial", "glf")
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        write_record(record | {"seed": 0, "metrics": {}}, run, tmp_path, "trial", "glf")
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_data_folders_give_file_names(record, run, tmp_path):
    record = record | {"settings": {"data": {"name": "folder:/my/pictures"}}}
    path = write_record(record, run, tmp_path, "trial", "glf")
    assert path.relative_to(tmp_path).parts == (
        "trial",
        "folder--my-pictures",
        "glf",
        "seed-0.json",
    )


def test_a_classifiers_accuracy(classifier_run, data_root):
    facts = evaluate_classifier(classifier_run, data_root)
    assert 0.85 < facts["accuracy"] <= 1
    command = shlex.split(facts["command"])
    assert command[:4] == ["glf", "train", "--recipe", "classifier-mnist"]
    assert 'data.name="digits"' in command
    assert facts["training"]["data_sha256"] == load_dataset("digits", "train", data_root).digest
    assert facts["training"]["versions"]


def test_what_came_of_a_training_is_a_value():
    metrics = {"classifier": {"fcd": 1.0}, "inception": "not run: needs the Inception weights"}
    measured = Record({"metrics": metrics})
    assert measured.status is Status.MEASURED
    groups = ("classifier", "inception", "squeezenet")
    found = [Status.MEASURED, Status.NOT_RUN, Status.NOT_RUN]  # the last is not in older records
    assert [measured.status_of(group) for group in groups] == found
    assert measured.measures("classifier") == {"fcd": 1.0}
    assert measured.measures("inception") == measured.measures("squeezenet") == {}
    assert measured.said("classifier") == ""
    assert measured.said("inception") == metrics["inception"]
    reason = Status.DIVERGED.because("nll is nan at step 3 (epoch 1)")
    diverged = Record({"metrics": {"classifier": reason}})
    assert diverged.status is diverged.status_of("classifier") is Status.DIVERGED
    assert diverged.said("classifier") == "diverged: nll is nan at step 3 (epoch 1)"


def test_a_record_reads_as_its_file_does():
    record = Record({"seed": 3, "curve": [1]}, [{"epoch": 1}])
    assert dict(record) == {"seed": 3, "curve": [1], "history": [{"epoch": 1}]}
    assert len(record) == 3
    assert record.get("classifier") is None


def test_paths_of_records(tmp_path):
    path = RecordPath(tmp_path, "trial", "folder:my/cats", "glf", 12)
    assert path.json == tmp_path / "trial" / "folder-my-cats" / "glf" / "seed-12.json"
    assert path.extra("map.csv") == path.json.with_name("seed-12-map.csv")
    assert (path.png.name, path.csv.name) == ("seed-12.png", "seed-12.csv")
    path.json.parent.mkdir(parents=True)
    assert not path.exists()
    for name in ("seed-12.json", "seed-2.json", "seed-x.json", "seed-02.json", "seed-2-map.csv"):
        path.json.with_name(name).write_text("{}")
    assert [found.seed for found in find_records(tmp_path, "trial", "folder-my-cats")] == [2, 12]


@pytest.mark.usefixtures("digits_have_a_classifier")
def test_nothing_is_read_or_looked_at_twice(data_root, tmp_path, monkeypatch):
    """One evaluation reads each file once; the classifier sees the reference images once, and the
    last snapshot is the finished model, which stays as it is.
    """
    train_recipe(
        RECIPE.with_settings({"train.epochs": 3, "train.snapshots": True}), tmp_path, data_root
    )
    opened, seen = [], []
    read, forward = read_tensors, Classifier.forward
    for module in ("recipes.run", "reproduction.measuring", "evaluation.classifier"):
        monkeypatch.setattr(
            f"glf_minimal.{module}.read_tensors",
            lambda path: opened.append(path.name) or read(path),
        )
    monkeypatch.setattr(
        Classifier, "forward", lambda self, x: seen.append(len(x)) or forward(self, x)
    )
    run = read_run(tmp_path)
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    record = evaluate_run(run, PROTOCOL, data_root)
    assert [point["epoch"] for point in record["curve"]] == [1, 2, 3]
    assert record["curve"][-1]["fcd"] == record["metrics"]["classifier"]["fcd"]
    assert sorted(opened) == [
        "classifier-digits.safetensors",
        "epoch-0001.safetensors",
        "epoch-0002.safetensors",
        "model.safetensors",
    ]
    reference = len(load_dataset("digits", "test", data_root))
    # Reference images, their reconstructions, and samples of the model and of two snapshots.
    assert sum(seen) == 2 * reference + 3 * PROTOCOL.samples
    assert all(torch.equal(run.model.state_dict()[name], before[name]) for name in before)
