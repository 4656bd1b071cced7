"""The folder of a run: exact resume, and nothing foreign taken for its own."""

import itertools
import json
import os
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from training_helpers import (
    Interrupted,
    Noisy,
    TwoStages,
    assert_equal_weights,
    conv_glf,
    quick,
    stop_training,
    weights,
    without_seconds,
)

from glf_minimal import DivergenceError, RunError, fit
from glf_minimal.files import read_json, read_tensors, write_json, write_tensors
from glf_minimal.training import loop as training
from glf_minimal.training.folder import (
    CHECKPOINT,
    CONFIG,
    HISTORY,
    SAMPLES,
    WEIGHTS,
    checkpoint_epoch,
    claim_folder,
)

SCHEDULES, STOPS = ("constant", "cosine", "halve"), (2, 8, 19, 28)
# All of a plain model; of the others every schedule and every stop once.
CASES = [(Interrupted, *pair) for pair in itertools.product(SCHEDULES, STOPS)]
CASES += [
    (kind, SCHEDULES[(i + j) % 3], stop)
    for i, kind in enumerate((Noisy, TwoStages, "conv"))
    for j, stop in enumerate(STOPS)
]


@pytest.mark.parametrize(("kind", "schedule", "stop_at"), CASES)
def test_a_stopped_training_resumes_exactly(
    make_glf, some_digits, tmp_path, kind, schedule, stop_at
):
    def make():
        return conv_glf(0, Interrupted) if kind == "conv" else make_glf(model=kind)

    config = quick(6, schedule=schedule, halve_every=2)  # 5 steps an epoch
    unbroken, stopped, resumed = make(), make(), make()
    expected = fit(unbroken, some_digits, config)
    stop_training(stopped, some_digits, config, tmp_path, stop_at)
    assert not (tmp_path / WEIGHTS).exists()
    if kind != TwoStages:  # there the steps are counted otherwise
        assert checkpoint_epoch(tmp_path) == (stop_at - 1) // 5
    history = fit(resumed, some_digits, config, tmp_path)
    assert_equal_weights(weights(resumed), weights(unbroken))
    assert without_seconds(history) == without_seconds(expected)
    assert_equal_weights(read_tensors(tmp_path / WEIGHTS)[0], weights(unbroken))


@pytest.mark.parametrize("name", [HISTORY, SAMPLES, WEIGHTS])
def test_a_stop_after_the_last_epoch_loses_none(make_glf, some_digits, tmp_path, monkeypatch, name):
    """Stopped before one of the last files is in place, it only writes what is missing."""
    unbroken, stopped, resumed = make_glf(), make_glf(), make_glf()
    expected, move, epoch = fit(unbroken, some_digits, quick()), Path.replace, training._Loop._epoch
    done = []

    def stop(path, target):
        if target.name == name and len(done) == 3:
            raise KeyboardInterrupt
        return move(path, target)

    monkeypatch.setattr(
        training._Loop, "_epoch", lambda loop, *a: done.append(1) or epoch(loop, *a)
    )
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(stopped, some_digits, quick(), tmp_path)
    assert checkpoint_epoch(tmp_path) == 3
    assert not (tmp_path / WEIGHTS).exists()
    history = fit(resumed, some_digits, quick(), tmp_path)
    assert len(done) == 3  # nothing was trained again
    assert without_seconds(history) == without_seconds(expected)
    assert_equal_weights(read_tensors(tmp_path / WEIGHTS)[0], weights(unbroken))
    assert {f.name for f in tmp_path.iterdir()} - {".lock"} == {CONFIG, HISTORY, SAMPLES, WEIGHTS}


def test_the_files_of_a_run(make_glf, some_digits, tmp_path):
    config = quick()
    history = fit(
        make_glf(), some_digits, config, tmp_path / "a" / "run", settings={"note": "mine"}
    )
    folder = tmp_path / "a" / "run"
    assert {f.name for f in folder.iterdir()} - {".lock"} == {CONFIG, HISTORY, SAMPLES, WEIGHTS}
    content = json.loads((folder / CONFIG).read_text())
    assert content["note"] == "mine"
    assert content["train"]["epochs"] == 3
    assert content["data_sha256"] == some_digits.digest
    assert (
        (folder / HISTORY)
        .read_text()
        .startswith("stage,epoch,step,lr,seconds,cpu_seconds,loss,recon,nll")
    )
    assert len((folder / HISTORY).read_text().splitlines()) == 4
    loaded = make_glf(seed=1)
    assert (
        fit(loaded, some_digits, config, folder, settings={"note": "mine"}) == history
    )  # nothing left to do
    assert_equal_weights(weights(loaded), read_tensors(folder / WEIGHTS)[0])


def test_a_folder_of_another_training_is_refused(make_glf, some_digits, digits, tmp_path):
    fit(make_glf(), some_digits, quick(), tmp_path, {"note": (1, 2)})
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    for model, data, config, settings, words in [
        (make_glf(), some_digits, quick(epochs=4), {"note": (1, 2)}, r"train\.epochs was 3, now 4"),
        (make_glf(), some_digits, quick(), {"note": (1, 3)}, r"note was \[1, 2\], now \[1, 3\]"),
        (make_glf(), digits, quick(), {"note": (1, 2)}, "data_sha256 was"),
        (
            make_glf(beta=9.0),
            some_digits,
            quick(),
            {"note": (1, 2)},
            r"built\.beta was 1\.0, now 9\.0",
        ),
        (
            make_glf(stop_gradient=False),
            some_digits,
            quick(),
            {"note": (1, 2)},
            "stop_gradient was True, now False",
        ),
    ]:
        with pytest.raises(RunError, match=words):
            fit(model, data, config, tmp_path, settings)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before
    fit(
        make_glf(), some_digits, quick(progress=True), tmp_path, {"note": (1, 2)}
    )  # this setting may change


def test_weights_of_another_model_are_refused(make_glf, some_digits, tmp_path):
    fit(make_glf(), some_digits, quick(), tmp_path)
    config = read_json(tmp_path / CONFIG)
    del config["fingerprint"]  # as in folders of older versions
    write_json(tmp_path / CONFIG, config)
    other = conv_glf(0)
    before = weights(other)
    with pytest.raises(RunError, match="holds the weights of another model"):
        fit(other, some_digits, quick(), tmp_path)
    assert_equal_weights(weights(other), before)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\xff" * 64], ids=["empty", "text", "huge header"]
)
def test_a_damaged_checkpoint_is_refused(make_glf, some_digits, tmp_path, content):
    stop_training(make_glf(model=Interrupted), some_digits, quick(), tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(RunError, match="not an undamaged safetensors file"):
        fit(make_glf(model=Interrupted), some_digits, quick(), tmp_path)


def test_pickled_code_is_refused_and_not_run(make_glf, some_digits, tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    stop_training(make_glf(model=Interrupted), some_digits, quick(), tmp_path)
    torch.save(Malicious(), tmp_path / CHECKPOINT)
    with pytest.raises(RunError, match=r"pickled \.pt or \.ckpt files are refused"):
        fit(make_glf(model=Interrupted), some_digits, quick(), tmp_path)
    assert not (tmp_path / "owned").exists()


def test_foreign_tensors_are_refused(make_glf, some_digits, tmp_path):
    fit(make_glf(), some_digits, quick(), tmp_path)
    write_tensors(
        tmp_path / WEIGHTS, make_glf(seed=2).state_dict()
    )  # weights that fit, but no history
    model = make_glf()
    before = weights(model)
    with pytest.raises(RunError, match="no training history"):
        fit(model, some_digits, quick(), tmp_path)
    assert_equal_weights(weights(model), before)


def test_out_must_be_a_folder_of_ones_own(make_glf, some_digits, tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(RunError, match="is a file"):
        fit(make_glf(), some_digits, quick(), tmp_path / "file")
    with pytest.raises(RunError, match=r"cannot make the folder .*Not a directory"):
        fit(make_glf(), some_digits, quick(), tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "precious"
    (tmp_path / "busy").mkdir()
    with (
        FileLock(tmp_path / "busy" / ".lock"),
        pytest.raises(RunError, match="another run is writing"),
    ):
        fit(make_glf(), some_digits, quick(), tmp_path / "busy")


def test_a_stopped_start_does_not_claim_the_folder(make_glf, some_digits, tmp_path):
    with pytest.raises(DivergenceError):
        fit(make_glf(), some_digits, quick(lr=1e30), tmp_path)
    fit(make_glf(), some_digits, quick(), tmp_path)
    assert json.loads((tmp_path / CONFIG).read_text())["train"]["lr"] == 2e-3


def test_snapshots_of_a_stopped_start_are_not_another_trainings(make_glf, some_digits, tmp_path):
    """Before the first checkpoint a folder belongs to nobody, so what lies there is nobody's
    learning curve.
    """
    (tmp_path / "snapshots").mkdir()
    for epoch in (1, 9):
        (tmp_path / "snapshots" / f"epoch-{epoch:04d}.safetensors").write_bytes(
            b"of another training"
        )
    fit(make_glf(), some_digits, quick(1, snapshots=True), tmp_path)
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["epoch-0001.safetensors"]
    read_tensors(tmp_path / "snapshots" / "epoch-0001.safetensors")


def test_a_training_that_goes_on_elsewhere_says_so(tmp_path):
    """Its config keeps where it began, and lists where it went on, unless it is finished."""
    here, there = (
        {"seed": 1, "made_with": {"hardware": name, "precision": "float32"}}
        for name in ("a CPU", "a GPU")
    )
    claim_folder(tmp_path, here)
    claim_folder(tmp_path, there)  # nothing was done yet: begun there
    assert read_json(tmp_path / CONFIG) == there
    (tmp_path / CHECKPOINT).touch()
    claim_folder(tmp_path, there)
    assert read_json(tmp_path / CONFIG) == there
    claim_folder(tmp_path, here)
    made_with = there["made_with"] | {"resumed_with": [{"hardware": "a CPU"}]}
    assert read_json(tmp_path / CONFIG) == there | {"made_with": made_with}
    (tmp_path / WEIGHTS).touch()
    claim_folder(tmp_path, {"seed": 1, "made_with": {"hardware": "another"}})
    assert read_json(tmp_path / CONFIG) == there | {"made_with": made_with}
