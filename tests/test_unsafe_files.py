"""Safe: no file runs code when it is read, no name leads out of its folder, no text becomes a
command.
"""

import ast
import functools
import io
import json
import os
import pickle
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import load_or_sentence
from PIL import EpsImagePlugin

from glf_minimal import DataError, RunError, load_dataset
from glf_minimal.errors import MetricError, RecipeError
from glf_minimal.evaluation.classifier import load_classifier
from glf_minimal.evaluation.features import InceptionFeatures, folder_batches
from glf_minimal.files import read_csv, read_pretrained, read_tensors
from glf_minimal.perceptual import load_features
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.recipes.run import load_run
from glf_minimal.reproduction.cells import Cell, Experiment, Row
from glf_minimal.reproduction.records import read_record, read_records, write_record
from glf_minimal.reproduction.workers import worker_command
from glf_minimal.training.folder import CHECKPOINT, CONFIG, WEIGHTS, checkpoint_epoch

SOURCES = sorted((Path(__file__).parent.parent / "glf_minimal").rglob("*.py"))
HUB = "hub/checkpoints"
INCEPTION, SQUEEZENET = (
    f"{HUB}/pt_inception-2015-12-05-6726825d.pth",
    f"{HUB}/squeezenet1_1-b8a52dc0.pth",
)


class Malicious:
    """Unpickled, it makes a folder."""

    def __init__(self, owned):
        self.owned = owned

    def __reduce__(self):
        return os.mkdir, (str(self.owned),)


def as_torch(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def as_array(content, save=np.savez):
    file = io.BytesIO()
    array = np.array([content] * 4, dtype=object)
    save(
        file,
        **(
            {"images": array, "labels": array}
            if save is np.savez
            else {"arr": array, "allow_pickle": True}
        ),
    )
    return file.getvalue()


def unpickle_array(file):
    loaded = np.load(file, allow_pickle=True)
    return loaded["images"] if hasattr(loaded, "files") else loaded


def unpickle_torch(file):
    return torch.load(file, weights_only=False)


WAYS = {  # to write an object, and to read it without care
    "pickle": (pickle.dumps, pickle.load),
    "protocol 0": (lambda content: pickle.dumps(content, 0), pickle.load),
    "torch": (as_torch, unpickle_torch),
    "state dict": (lambda content: as_torch({"features.0.weight": content}), unpickle_torch),
    "old torch": (
        lambda content: as_torch(content, _use_new_zipfile_serialization=False),
        unpickle_torch,
    ),
    "npz": (as_array, unpickle_array),
    "npy": (lambda content: as_array(content, np.save), unpickle_array),
}
READERS = {
    "mnist-train.npz": lambda folder: load_dataset("mnist", "train", folder),
    "a.png": lambda folder: load_dataset(f"folder:{folder}"),
    "b.tif": lambda folder: list(folder_batches(folder)),
    WEIGHTS: lambda folder: read_tensors(folder / WEIGHTS),
    CHECKPOINT: checkpoint_epoch,
    CONFIG: load_run,
    "history.csv": lambda folder: read_csv(folder / "history.csv"),
    "seed-0.json": lambda folder: read_record(folder / "seed-0.json"),
    "classifier-mnist.safetensors": lambda folder: load_classifier("mnist"),
    "vgg.pth": lambda folder: read_pretrained(folder / "vgg.pth"),
    "vgg.safetensors": lambda folder: load_features("vgg16", folder / "vgg.safetensors"),
    "inception.pth": lambda folder: InceptionFeatures(64, folder / "inception.pth"),
    INCEPTION: lambda folder: InceptionFeatures(64),
    SQUEEZENET: lambda folder: load_features("squeezenet"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_no_file_runs_code(tmp_path, monkeypatch, name, way):
    monkeypatch.setattr("glf_minimal.evaluation.classifier.WEIGHTS_FOLDER", tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    content, path = WAYS[way][0](Malicious(tmp_path / "owned")), tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    read = load_or_sentence(lambda: READERS[name](tmp_path), path.name)
    assert read is None or (name, way) == ("history.csv", "protocol 0")  # which is text
    assert not (tmp_path / "owned").exists()
    assert path.read_bytes() == content


@pytest.mark.parametrize("way", WAYS)
def test_the_malicious_files_are_malicious(tmp_path, way):
    make, load = WAYS[way]
    load(io.BytesIO(make(Malicious(tmp_path / "owned"))))
    assert (tmp_path / "owned").exists()


def test_no_picture_starts_another_program(tmp_path, monkeypatch):
    """Pillow would hand PostScript to Ghostscript, whatever the name of the file."""
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: started.append(1))
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: started.append(2))
    (tmp_path / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    )
    for load in (
        lambda: load_dataset(f"folder:{tmp_path}"),
        lambda: list(folder_batches(tmp_path)),
    ):
        with pytest.raises(DataError, match=r"cannot read the picture .*a\.png"):
            load()
    assert started == []


def tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


HEADERS = {
    "beyond the end": {"a": tensor(offsets=(0, 10**12))},
    "before the beginning": {"a": tensor(offsets=(-8, 0))},
    "backwards": {"a": tensor(offsets=(8, 0))},
    "overlapping": {"a": tensor(), "b": tensor()},
    "with a hole": {"a": tensor(offsets=(4, 12))},
    "shape too large": {"a": tensor(shape=(2**32, 2**32))},
    "negative shape": {"a": tensor(shape=(-2,))},
    "no such type": {"a": tensor("PICKLE")},
    "no tensor": {"a": "os.system"},
    "metadata of numbers": {"__metadata__": {"glf_minimal": 1}, "a": tensor()},
    "metadata not JSON": {"__metadata__": {"glf_minimal": "{"}, "a": tensor()},
    "metadata a list": {"__metadata__": {"glf_minimal": "[]"}, "a": tensor()},
    "metadata too deep": {"__metadata__": {"glf_minimal": "[" * 100_000}, "a": tensor()},
    "another digest": {"__metadata__": {"glf_minimal": '{"digest": "0"}'}, "a": tensor()},
}


@pytest.mark.parametrize("kind", HEADERS)
def test_malicious_headers(tmp_path, kind):
    text = json.dumps(HEADERS[kind]).encode()
    (tmp_path / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(
        RunError, match=r"model\.safetensors is not an undamaged safetensors file .*delete it"
    ):
        read_tensors(tmp_path / WEIGHTS)


@pytest.mark.parametrize("size", [0, 1, 7, 2**31, 2**62, 2**63, 2**64 - 1, 100_000_001])
def test_headers_of_any_size(tmp_path, size):
    (tmp_path / WEIGHTS).write_bytes(struct.pack("<Q", size) + b'{"a":1}' + bytes(8))
    with pytest.raises(RunError, match=r"model\.safetensors is not an undamaged safetensors file"):
        read_tensors(tmp_path / WEIGHTS)


BAD_NAMES = ["..", ".", "", "../out", "/out", "a/b", "../../out", "a\0b", "x/../../../out"]
RECORD = {
    "commands": ["glf"],
    "settings": {"data": {"name": "digits"}},
    "seed": 0,
    "protocol": {"samples_are": "real"},
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_stay_in_the_folder_of_records(tmp_path, name):
    results = tmp_path / "in" / "results"
    for experiment, row, record in [
        (name, "row", RECORD),
        ("trial", name, RECORD),
        ("trial", "row", RECORD | {"seed": f"/{name}/../../../../out"}),
    ]:
        with pytest.raises(
            RunError, match="expected the name of an experiment, a data set or a row"
        ):
            write_record(record, tmp_path, results, experiment, row)
    for experiment, data in [(name, "digits"), ("trial", name)]:
        with pytest.raises(
            RunError, match="expected the name of an experiment, a data set or a row"
        ):
            read_records(results, experiment, data)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["folder:../../out", "folder:/out", "folder:..", "folder:~", 'a\'; rm -rf "$HOME"']
)
def test_names_of_data_are_names_of_folders(tmp_path, name):
    record = RECORD | {"settings": {"data": {"name": name}}}
    path = write_record(record, tmp_path, tmp_path, "trial", "row")
    experiment, data, *rest = path.relative_to(tmp_path).parts
    assert [experiment, *rest] == ["trial", "row", "seed-0.json"]
    assert data not in ("", ".", "..")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


@pytest.mark.parametrize("name", [*BAD_NAMES, "quickstart/../../out", "quickstart\n", "QUICKSTART"])
def test_names_of_recipes_and_data_sets_are_known_ones(tmp_path, name):
    with pytest.raises(RecipeError, match="recipe"):
        get_recipe(name)
    with pytest.raises(DataError, match="unknown data set"):
        load_dataset(name, "train", tmp_path)
    with pytest.raises(DataError, match="split"):
        load_dataset("mnist", name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", ["../../out", "/out", "squeezenet:../../weights.pth", ".."])
def test_settings_stay_in_the_folder_of_runs(value):
    cell = Cell(
        Experiment("trial", "", {}),
        "mnist",
        Row("row", "", "glf-mnist"),
        0,
        {"model.reconstruction": value},
    )
    assert cell.run(Path("runs")).parent == Path("runs")


@functools.cache
def every_call():
    """All calls in the library: [(name of the function, text)]."""
    nodes = [
        node
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]
    return [(ast.unparse(node.func).split(".")[-1], ast.unparse(node)) for node in nodes]


def calls(name):
    """Every call of a function of this name in the library."""
    return [text for called, text in every_call() if called == name]


def test_no_input_becomes_code_or_a_command():
    for name in (
        "eval",
        "exec",
        "system",
        "popen",
        "call",
        "check_call",
        "check_output",
        "__import__",
        "load_module",
        "pickle",
        "loads",
        "Unpickler",
    ):
        found = [
            call
            for call in calls(name)
            if not call.endswith(".eval()") and not call.startswith("json.loads")
        ]
        assert found == [], name
    # Workers run the command that the user has given, as a list and without a shell.
    (workers,) = calls("Popen")
    assert workers.startswith("subprocess.Popen(command, env=environment,")
    assert "shell" not in workers
    assert worker_command(["reproduce", "a; b"])[3:] == ["reproduce", "a; b", "--worker"]
    assert all(
        "shell" not in call and call.startswith("subprocess.run([")
        for call in calls("run")
        if "subproc" in call
    )
    assert [call for call in calls("load") if call.startswith("torch.")]
    assert all("weights_only=True" in call for call in calls("load") if call.startswith("torch."))
    assert all("allow_pickle=False" in call for call in calls("load") if call.startswith("np."))
    downloads = [*calls("load_state_dict_from_url"), *calls("get_state_dict")]
    assert len(downloads) == 2
    assert all("check_hash=True" in call and "weights_only=True" in call for call in downloads)


@pytest.mark.parametrize(
    ("name", "load"), [(INCEPTION, READERS[INCEPTION]), (SQUEEZENET, READERS[SQUEEZENET])]
)
def test_a_download_with_another_digest_is_refused(tmp_path, monkeypatch, name, load):
    class Response(io.BytesIO):
        headers = {}  # noqa: RUF012

        def info(self):
            return self

        def getheaders(self, _):
            return []

        get_all = getheaders

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(
        torch.hub, "urlopen", lambda *_, **__: Response(as_torch({"a": torch.zeros(1)}))
    )
    with pytest.raises((MetricError, RecipeError), match="invalid hash value"):
        load(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
