"""Damaged runs, records and weights: one sentence that names the file, or what was in it before."""

import json
import subprocess
import sys
from hashlib import sha256

import pytest
import torch
from damage import damaged, load_or_sentence
from training_helpers import Interrupted, assert_equal_weights, quick, stop_training

from glf_minimal import RunError, fit
from glf_minimal.evaluation.classifier import WEIGHTS_FOLDER, load_classifier
from glf_minimal.files import (
    flatten,
    read_csv,
    read_pretrained,
    read_tensors,
    write_csv,
    write_json,
    write_tensors,
)
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.recipes.run import load_run, train_recipe
from glf_minimal.reproduction.records import read_records
from glf_minimal.training.folder import (
    CHECKPOINT,
    CONFIG,
    FREE_SETTINGS,
    HISTORY,
    WEIGHTS,
    Run,
    claim_folder,
)

SMALL = {
    "train.epochs": 2,
    "train.progress": False,
    "train.device": "cpu",
    "networks.hidden": [16],
    "flow.hidden": 8,
}
BLOCKS = [range(start, start + 20) for start in range(0, 80, 20)]


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_root):
    folder = tmp_path_factory.mktemp("damaged") / "run"
    train_recipe(get_recipe("glf-digits").with_settings(SMALL), folder, data_root)
    return folder


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the run, to be damaged."""
    folder = tmp_path / "run"
    folder.mkdir()
    for file in run.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize("seeds", BLOCKS)
@pytest.mark.parametrize("name", [WEIGHTS, CHECKPOINT])
def test_weights(make_glf, some_digits, tmp_path, name, seeds):
    """Not one bit of them, or of the history in their header, can differ and be taken for a
    training.
    """
    if name == WEIGHTS:
        fit(make_glf(), some_digits, quick(), tmp_path)
    else:
        stop_training(make_glf(model=Interrupted), some_digits, quick(), tmp_path)
    path = tmp_path / name
    whole, (tensors, metadata) = path.read_bytes(), read_tensors(path)
    for seed in seeds:
        path.write_bytes(damaged(whole, seed))
        read = load_or_sentence(lambda: read_tensors(path), str(path), "delete it and train again")
        if read is not None:
            assert_equal_weights(read[0], tensors)
            assert read[1] == metadata
        untouched = make_glf(seed=3)
        load_or_sentence(Run(untouched, 3, tmp_path).resume, str(path))


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_of_a_weight_is_seen(tmp_path, bit):
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"a": torch.arange(5.0)}, {"history": []})
    content = bytearray(path.read_bytes())
    content[-3] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(RunError, match="its content is not what its digest says"):
        read_tensors(path)


KEEP_WRITING = """
import sys
from pathlib import Path
import torch
from glf_minimal.files import write_tensors
while True:
    for epoch in range(2):
        weight = torch.full((1000 + 500 * epoch,), 1.0)
        write_tensors(Path(sys.argv[1]), {"weight": weight}, {"epoch": epoch})
"""


def test_a_file_that_is_replaced_while_it_is_read_is_read_whole(tmp_path):
    """As beside a running training: the old file or the new one, never the header of one with the
    rest of the other.
    """
    path = tmp_path / "checkpoint.safetensors"
    writer = subprocess.Popen([sys.executable, "-c", KEEP_WRITING, path])
    try:
        while not path.exists():
            assert writer.poll() is None
        seen = set()
        for _ in range(4000):
            tensors, metadata = read_tensors(path)
            seen.add(metadata["epoch"])
            assert len(tensors["weight"]) == 1000 + 500 * metadata["epoch"]
        assert seen == {0, 1}
    finally:
        writer.kill()
        writer.wait()


def test_files_of_older_versions_have_no_digest():
    assert all(
        "digest" not in read_tensors(path)[1] for path in WEIGHTS_FOLDER.glob("*.safetensors")
    )
    assert load_classifier("mnist")[1]["accuracy"] > 0.99


@pytest.mark.parametrize("seeds", BLOCKS)
def test_settings(copy, run, seeds):
    """What still is JSON and builds a model is of the run's weights; going on with it needs the
    same settings.
    """
    model, config = load_run(run)
    whole = (copy / CONFIG).read_bytes()
    for seed in seeds:
        (copy / CONFIG).write_bytes(damaged(whole, seed))
        loaded = load_or_sentence(lambda: load_run(copy), str(copy))
        if loaded is not None:
            assert_equal_weights(loaded[0].state_dict(), model.state_dict())
        before = (copy / CONFIG).read_bytes()
        if load_or_sentence(lambda: claim_folder(copy, config) or True, str(copy)):
            same = flatten(json.loads(before))
            wanted = flatten(config)
            assert not [
                n for n in wanted if not n.startswith(FREE_SETTINGS) and same.get(n) != wanted[n]
            ]


VALUES = [None, True, -1, 0, 1.5, float("nan"), 10**30, "x", "../../x", [], [1, 2], {"a": 1}]


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize(
    "name", ["image_shape", "data", "networks", "flow", "model", "train", "built", "data_sha256"]
)
def test_settings_of_another_kind(copy, name):
    config = json.loads((copy / CONFIG).read_text())
    keys = [*config[name]] if isinstance(config[name], dict) else []
    changes = [{name: value} for value in VALUES]
    changes += [
        {name: config[name] | {key: value}} for key in keys if key != "blocks" for value in VALUES
    ]
    for change in changes:
        (copy / CONFIG).write_text(json.dumps(config | change))
        load_or_sentence(lambda: load_run(copy), str(copy))
    (copy / CONFIG).write_text(
        json.dumps({key: value for key, value in config.items() if key != name})
    )
    with pytest.raises(
        ValueError if name == "image_shape" else RunError, match=f"config.json .*{name}"
    ):
        load_run(copy)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "[" * 100_000, '{"a": ' + "1" * 5000 + "}", '{"a": 1', "\ufeff{}"]
)
def test_what_is_no_settings(copy, text):
    (copy / CONFIG).write_text(text)
    with pytest.raises(RunError, match=r"config\.json .*; train the run again"):
        load_run(copy)


@pytest.mark.parametrize("seeds", BLOCKS)
def test_histories(copy, seeds):
    """A text without a digest: one digit can become another, but no row is short and no number a
    word.
    """
    whole = (copy / HISTORY).read_bytes()
    for seed in seeds:
        (copy / HISTORY).write_bytes(damaged(whole, seed))
        rows = (
            load_or_sentence(lambda: read_csv(copy / HISTORY), str(copy / HISTORY), "delete it")
            or []
        )
        for column in {name for row in rows for name in row}:
            assert len({isinstance(row[column], str) for row in rows if column in row}) == 1


@pytest.mark.parametrize("text", ["a,b\n1\n", "a,b\n1,2,3\n", "a,b\n1,2\n1,x\n", "a\n\xff\n"])
def test_histories_that_are_none(tmp_path, text):
    (tmp_path / HISTORY).write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match=r"history\.csv is damaged \(.*delete it and make it again"):
        read_csv(tmp_path / HISTORY)


@pytest.mark.parametrize("ending", ["json", "csv"])
@pytest.mark.parametrize("seeds", BLOCKS)
def test_records(records, seeds, ending):
    """A record that is read has all of its parts."""
    results = records("first-ranking", "glf", fcd=3.25, nll=1.5)
    (path,) = results.rglob(f"seed-0.{ending}")
    write_csv(
        path.with_suffix(".csv"), [{"stage": "joint", "epoch": n, "recon": 0.5} for n in (1, 2)]
    )
    whole = path.read_bytes()
    for seed in seeds:
        path.write_bytes(damaged(whole, seed))
        rows = load_or_sentence(
            lambda: read_records(results, "first-ranking", "mnist"), str(path), "delete it and"
        )
        for record in (rows or {}).get("glf", ()):
            assert isinstance(record["seed"], int)
            assert all(
                isinstance(record[part], dict)
                for part in ("settings", "metrics", "protocol", "training")
            )


@pytest.mark.parametrize("part", ["settings", "metrics", "protocol", "training", "seed"])
@pytest.mark.parametrize("value", [None, [], "x"])
def test_records_of_another_kind(records, part, value):
    results = records("first-ranking", "glf", fcd=3.25)
    (path,) = results.rglob("seed-0.json")
    write_json(path, json.loads(path.read_text()) | {part: value})
    with pytest.raises(RunError, match=rf"seed-0\.json is damaged \(no {part}\); delete it"):
        read_records(results, "first-ranking", "mnist")


@pytest.mark.parametrize("seeds", BLOCKS[:2])
def test_classifiers(tmp_path, monkeypatch, seeds):
    """As committed, without a digest: the record says which file it was, by its SHA-256."""
    monkeypatch.setattr("glf_minimal.evaluation.classifier.WEIGHTS_FOLDER", tmp_path)
    path = tmp_path / "classifier-mnist.safetensors"
    whole = (WEIGHTS_FOLDER / path.name).read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for seed in seeds:
        path.write_bytes(damaged(whole[:header], seed) + whole[header:])
        loaded = load_or_sentence(lambda: load_classifier("mnist"), str(path))
        if loaded is not None:
            assert loaded[1]["sha256"] == sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("ending", ["pth", "old.pth", "safetensors"])
@pytest.mark.parametrize("seeds", BLOCKS)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_pretrained_weights(tmp_path, ending, seeds):
    path, tensors = (
        tmp_path / f"weights.{ending}",
        {"a.weight": torch.rand(3, 3), "b": torch.arange(4)},
    )
    if ending == "safetensors":
        write_tensors(path, tensors)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=ending == "pth")
    whole = path.read_bytes()
    for seed in seeds:
        path.write_bytes(damaged(whole, seed))
        load_or_sentence(
            lambda: read_pretrained(path),
            f"cannot read weights from {path}",
            "give a .safetensors or",
        )
