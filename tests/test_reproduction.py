"""glf reproduce: fills in what is missing, and nothing else, however often it is killed."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest
import torch
from filelock import FileLock
from training_helpers import REPRODUCE, assert_equal_weights

from glf_minimal.files import read_csv, read_json, read_tensors, write_json
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.recipes.judge import evaluate_classifier
from glf_minimal.recipes.run import train_recipe
from glf_minimal.reproduction import is_recorded, make_cells, reproduce
from glf_minimal.reproduction.cells import Experiment, Row
from glf_minimal.reproduction.measuring import GROUPS_OF_METRICS
from glf_minimal.training import loop as training
from glf_minimal.training import stepper
from glf_minimal.training.folder import checkpoint_epoch

pytestmark = pytest.mark.filterwarnings("ignore::glf_minimal.evaluation.frechet.TooFewSamples")
FEW = {"samples": 40, "batch_size": 20}
TRIAL = Experiment(
    "trial",
    "a trial",
    {
        "digits": (
            Row("glf", "GLF", "glf-digits", {"train.snapshots": True}, FEW),
            Row("beta", "GLF, β = 2", "glf-digits", {"model.beta": 2.0}, FEW),
            Row("stretched", "GLF, stretched", "glf-digits", {}, FEW | {"stretch": True}),
            Row("real", "training images", "glf-digits", {}, FEW, real=True),
        )
    },
    seeds=2,
)


@pytest.fixture
def fill(tmp_path, data_root, monkeypatch):
    """fill(cells) -> (failed, lines said, epochs trained); works in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    epochs = []
    real_epoch = training._Loop._epoch
    monkeypatch.setattr(
        training._Loop, "_epoch", lambda loop, *a: epochs.append(1) or real_epoch(loop, *a)
    )

    def run(chosen, **settings):
        lines = []
        epochs.clear()
        failed = reproduce(
            chosen, root=data_root, device="cpu", progress=False, say=lines.append, **settings
        )
        return failed, lines, len(epochs)

    run.root = data_root
    return run


def trial(rows=("glf",), seeds=1, epochs=2):
    return make_cells(TRIAL, rows=list(rows), seeds=seeds, reduced={"train.epochs": epochs})


def test_missing_cells_are_filled_once(fill):
    """Rows that differ in their measurement share a training; the second time there is nothing to
    do.
    """
    chosen = trial(["glf", "beta", "stretched", "real"], seeds=2)
    failed, _, epochs = fill(chosen)
    assert not failed
    assert epochs == 2 * 2 * 2  # two trainings, two seeds, two epochs
    records = {(c.row.name, c.seed): read_json(c.record(Path("data/results"))) for c in chosen}
    assert len(records) == 7  # real images know no seed
    assert records["beta", 1]["settings"]["model"]["beta"] == 2.0
    assert records["stretched", 0]["protocol"]["stretch"]
    assert records["real", 0]["protocol"]["samples_are"] == "real training images"
    assert records["beta", 1]["commands"][0] == (
        "glf train --recipe glf-digits --set model.beta=2.0 --set train.epochs=2 --set "
        "train.seed=1 "
        "--out runs/glf-digits-beta-2-epochs-2-seed-1"
    )
    before = {path: path.read_bytes() for path in Path("data").rglob("*.*")}
    failed, lines, epochs = fill(chosen)
    assert (failed, epochs) == ([], 0)
    assert all(line.endswith(": recorded") for line in lines[:-1])
    assert lines[-1] == "7 recorded before"
    assert {path: path.read_bytes() for path in Path("data").rglob("*.*")} == before


def test_what_counts_as_recorded(fill):
    """More epochs take the place of fewer, never the reverse; another protocol or setting is
    measured again, but for a run that is reduced further.
    """
    results, (reduced,), (full,) = Path("data/results"), trial(epochs=2), trial(epochs=3)
    fill([reduced])
    assert is_recorded(reduced, results)
    assert not is_recorded(reduced, results, fid=True)
    assert not is_recorded(full, results)
    fill([full])
    assert read_json(full.record(results))["training"]["epochs"] == 3
    assert is_recorded(reduced, results)
    (narrower,) = make_cells(
        TRIAL, rows=["glf"], seeds=1, reduced={"train.epochs": 3, "flow.hidden": 16}
    )
    assert is_recorded(narrower, results)
    assert not is_recorded(
        replace(narrower, reduced={"train.epochs": 4, "flow.hidden": 16}), results
    )
    fill(make_cells(TRIAL, rows=["glf"], seeds=1))  # in full
    assert is_recorded(narrower, results)
    said = fill([narrower])[1][0]
    assert said.endswith(
        ": recorded, with a larger run; --results gives this one a place of its own"
    )
    assert read_json(full.record(results))["training"]["epochs"] == 20
    full.record(results).unlink()
    fill([full])
    record = read_json(full.record(results))
    for group, name, value in (
        ("settings", "model", {"beta": 3.0}),
        ("settings", "model", {"flow_adam": {"eps": 1.0}}),
        ("protocol", "samples", 30),
        ("protocol", "stretch", True),
    ):
        old = record[group][name]
        changed = record | {
            group: record[group] | {name: old | value if isinstance(old, dict) else value}
        }
        write_json(full.record(results), changed)
        assert not is_recorded(full, results)
        _, _, epochs = fill([full])
        assert epochs == 0  # the training is there
        assert read_json(full.record(results))[group] == record[group]


def test_a_failure_leaves_the_others(fill):
    """Such as weights that cannot be had; the command line ends with exit code 1."""
    Path("runs").mkdir()
    Path("runs/glf-digits-beta-2-epochs-2").write_text("in the way", encoding="utf-8")
    failed, lines, _ = fill(trial(["beta", "glf"]))
    assert [cell.row.name for cell in failed] == ["beta"]
    assert any("failed: " in line and "is a file" in line for line in lines)
    assert lines[-1] == "1 recorded now; 1 failed"
    assert Path("data/results/trial/digits/glf/seed-0.json").exists()


def test_what_one_cell_meets_does_not_stop_the_others(fill, monkeypatch):
    """A device without memory, a damaged record, a finished run without the snapshots that its
    curve needs.
    """
    chosen, step = trial(["glf", "beta"], epochs=1), stepper.Stepper.step

    def without_memory(stepper, *arguments):
        if stepper.model.beta == 1:
            raise torch.OutOfMemoryError("out of memory")
        return step(stepper, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stepper.Stepper, "step", without_memory)
        failed, lines, _ = fill(chosen)
    assert [cell.row.name for cell in failed] == ["glf"]
    assert "[1/2] trial digits glf seed 0: failed: out of memory" in lines
    chosen[1].record(Path("data/results")).write_text("{")
    plain = get_recipe("glf-digits").with_settings(
        {"train.epochs": 1, "train.progress": False, "train.device": "cpu"}
    )
    train_recipe(plain, chosen[0].run(Path("runs")), fill.root)
    failed, lines, _ = fill(chosen)
    assert failed == chosen
    assert any(
        "is damaged" in line and "delete it and run 'glf reproduce' again" in line for line in lines
    )
    assert any(
        "was trained without snapshots, so it has no learning curve; delete it" in line
        for line in lines
    )


def test_a_reduced_run_never_takes_the_place_of_a_full_one(fill, monkeypatch):
    """Not even when something else is asked for, such as FID."""
    (full,), (reduced,) = make_cells(TRIAL, rows=["beta"], seeds=1), trial(["beta"])
    fill([full])
    before = full.record(Path("data/results")).read_bytes()
    assert is_recorded(reduced, Path("data/results"), fid=True)
    assert fill([reduced], inception=object())[2] == 0
    assert full.record(Path("data/results")).read_bytes() == before
    longer = make_cells(TRIAL, rows=["beta"], seeds=1, reduced={"train.epochs": 25})
    fill(longer)
    assert full.record(Path("data/results")).read_bytes() == before
    assert is_recorded(full, Path("data/results"))


def test_a_quick_try_does_not_take_the_place_of_a_longer_run(fill):
    """Nor does one that is reduced in other ways, too; one reduced in fewer ways does."""
    fill(trial(epochs=2))
    for smaller in (
        {"train.epochs": 1},
        {"train.epochs": 1, "data.limit": 50},
        {"train.epochs": 2, "data.limit": 50},
    ):
        (quick,) = make_cells(TRIAL, rows=["glf"], seeds=1, reduced=smaller)
        assert is_recorded(quick, Path("data/results"))
    for larger in ({"train.epochs": 3}, {"train.epochs": 3, "data.limit": 50}, {"train.lr": 0.002}):
        (more,) = make_cells(TRIAL, rows=["glf"], seeds=1, reduced=larger)
        assert not is_recorded(more, Path("data/results"))


def test_several_share_the_work(fill):
    (cell,) = trial()
    Path("runs").mkdir()
    with FileLock("runs/.glf-digits-epochs-2.lock"):
        failed, lines, epochs = fill([cell])
    assert (failed, epochs) == ([], 0)
    assert lines[0] == "[1/1] trial digits glf seed 0: being worked on by another process"
    assert lines[1] == "1 worked on by another process"
    assert fill([cell])[2] == 2


def test_what_another_process_has_just_recorded_is_not_measured_again(fill, monkeypatch):
    """Between the first look and the lock, another process may have finished the cell."""
    (cell,) = trial()
    fill([cell])
    record, look, looks = cell.record(Path("data/results")), is_recorded, []
    before = record.stat().st_mtime_ns

    def not_at_first(*arguments):
        looks.append(1)
        return len(looks) > 1 and look(*arguments)

    monkeypatch.setattr(sys.modules[reproduce.__module__], "is_recorded", not_at_first)
    _, lines, epochs = fill([cell])
    assert (lines[-1], epochs, len(looks)) == ("1 recorded before", 0, 2)
    assert record.stat().st_mtime_ns == before


def test_a_stop_loses_the_epoch_under_way(fill, monkeypatch):
    """Stopped in its fourth epoch, a training goes on with the fourth and ends with the weights of
    an unbroken one.
    """
    (cell,) = trial(epochs=6)
    steps, step = iter(range(3 * (1621 // 64) + 5)), stepper.Stepper.step

    def stopped(*arguments):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stepper.Stepper, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            fill([cell])
    assert checkpoint_epoch(cell.run(Path("runs"))) == 3
    assert not cell.record(Path("data/results")).exists()
    assert fill([cell])[2] == 3
    assert fill([cell], runs=Path("unbroken"), results=Path("other"))[2] == 6
    assert_equal_weights(
        *(read_tensors(cell.run(Path(f)) / "model.safetensors")[0] for f in ("runs", "unbroken"))
    )


def test_killed_at_any_moment_it_goes_on(tmp_path, data_root):
    """SIGKILL, some time after the first sign of work: the next start loses no finished epoch and
    ends well.
    """
    seconds = random.uniform(0, 0.7)  # most of the work is still to be done then
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        REPRODUCE,
        "reproduce",
        "trial",
        "--root",
        data_root,
    ]
    command += ["--device", "cpu", "--no-progress", "--set", "train.epochs=12"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    while not (tmp_path / "runs" / "glf-digits-epochs-12" / "history.csv").exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(seconds)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = {
        path: read_csv(path)[: checkpoint_epoch(path.parent)]
        for path in (tmp_path / "runs").glob("*/history.csv")
    }
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split()[0] in "12"
    assert "recorded now" in done.stdout.splitlines()[-1]
    for path, rows in finished.items():
        assert (
            read_csv(path)[: len(rows)] == rows
        )  # seconds and all: these epochs were not trained again
    for row in "ab":
        assert (
            read_json(tmp_path / "data/results/trial/digits" / row / "seed-0.json")["training"][
                "epochs"
            ]
            == 12
        )
    assert not list(tmp_path.rglob(".*.tmp"))
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = [
        f"[{place}/2] trial digits {row} seed 0: recorded" for place, row in ((1, "a"), (2, "b"))
    ]
    assert again.stdout.splitlines() == [*lines, "2 recorded before"]


def test_learning_curves(fill, classifier_run, data_root, tmp_path, monkeypatch):
    """A point for every snapshot, the last of them what the record says of the finished run."""
    monkeypatch.setattr("glf_minimal.evaluation.classifier.WEIGHTS_FOLDER", tmp_path / "weights")
    evaluate_classifier(classifier_run, data_root, install=True)
    (cell,) = trial(epochs=6)
    fill([cell])
    record = read_json(cell.record(Path("data/results")))
    assert [point["epoch"] for point in record["curve"]] == [1, 2, 3, 5, 6]
    assert record["curve"][-1]["fcd"] == pytest.approx(
        record["metrics"]["classifier"]["fcd"], rel=1e-9
    )
    error = record["metrics"]["reconstruction"]["mse_per_image"]
    assert record["curve"][-1]["mse_per_image"] == pytest.approx(error, rel=1e-9)
    assert record["curve"][0]["mse_per_image"] > 1.2 * error
    assert is_recorded(cell, Path("data/results"))
    path = cell.record(Path("data/results"))
    write_json(path, record | {"classifier": record["classifier"] | {"sha256": "of another"}})
    assert not is_recorded(
        cell, Path("data/results")
    )  # its numbers are not those of the classifier at hand
    seconds = [point["seconds"] for point in record["curve"]]
    assert seconds == sorted(seconds)
    assert seconds[-1] == record["training"]["seconds"]


def test_a_divergence_is_a_result(fill):
    """Recorded with the step, the term and the settings; not tried again."""
    (cell,) = make_cells(
        TRIAL, rows=["glf"], seeds=1, reduced={"train.epochs": 3, "train.lr": 1e12}
    )
    assert fill([cell])[0] == []
    record = read_json(cell.record(Path("data/results")))
    assert set(record["metrics"]) == set(GROUPS_OF_METRICS)
    for what in record["metrics"].values():
        assert what.startswith("diverged: ")
        assert " at step " in what
        assert ";" not in what
    assert record["settings"]["train"]["lr"] == 1e12
    assert record["commands"][0].startswith(
        "glf train --recipe glf-digits --set train.epochs=3 --set train.lr="
    )
    assert record["training"]["epochs"] < 3
    _, lines, epochs = fill([cell])
    assert epochs == 0
    assert lines[0].endswith(": recorded")


LENT = Experiment(
    "lent",
    "two rows on one auto-encoder",
    {
        "digits": (
            Row("flow", "a flow", "flowae-slides-mnist", {"data.name": "digits"}, FEW, lender="ae"),
            Row("ae", "GLF", "glf-slides-mnist", {"data.name": "digits"}, FEW),
        )
    },
    seeds=1,
)


def test_an_auto_encoder_that_another_trains_is_waited_for(fill):
    """The cell that needs it comes after all others, and then waits."""
    chosen = make_cells(LENT, reduced={"train.epochs": 2})
    lender = chosen[1].run(Path("runs"))
    Path("runs").mkdir()
    held = Event()

    def hold():
        with FileLock(f"runs/.{lender.name}.lock"):
            held.set()
            time.sleep(1.5)

    Thread(target=hold).start()
    held.wait()
    failed, lines, _ = fill(chosen)
    assert not failed
    assert lines[-1] == "2 recorded now"
    assert all(cell.path(Path("data/results")).exists() for cell in chosen)
    assert (
        read_json(chosen[0].record(Path("data/results")))["lender"]["recipe"] == "glf-slides-mnist"
    )
