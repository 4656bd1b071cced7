"""Several processes that fill one table: they share the work, and none is left behind."""

import os
import re
import sys
from pathlib import Path

import pytest
from training_helpers import REPRODUCE

from glf_minimal.reproduction.workers import (
    THREADS,
    fill_with_workers,
    run_workers,
    share_of_threads,
)


def workers_of(script, tmp_path, *arguments):
    command = [sys.executable, "-W", "ignore", "-c", script, "reproduce", "trial", *arguments]
    return [*map(str, command), "--device", "cpu", "--worker"]


def test_workers_share_a_table(tmp_path, data_root, monkeypatch):
    """Each cell is trained by one of them; the lines say by which."""
    monkeypatch.chdir(tmp_path)
    command = workers_of(REPRODUCE, tmp_path, "--root", data_root, "--set", "train.epochs=2")
    lines = []
    assert run_workers(command, 2, lines.append) == [0, 0]
    records = sorted(Path("data/results").rglob("*.json"))
    assert [path.parent.name for path in records] == ["a", "b"]
    trained = [line for line in lines if "runs/glf-digits" in line]
    assert len(trained) == 2
    assert all(re.match(r"worker [12]: \[[12]/2\] trial digits [ab] seed 0: ", x) for x in lines)
    assert run_workers(command, 2, lines.append) == [0, 0]
    assert len(lines) == 4  # two for each cell, and nothing new


def test_a_worker_that_fails_is_told_of(tmp_path, data_root, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/glf-digits-epochs-2").write_text("in the way", encoding="utf-8")
    command = workers_of(REPRODUCE, tmp_path, "--root", data_root, "--set", "train.epochs=2")
    lines = []
    assert not fill_with_workers(command, 2, lambda: ["a"], lines.append)
    assert any("trial digits a seed 0: failed: " in line for line in lines)
    assert len(list(Path("data/results").rglob("*.json"))) == 1


def test_every_line_of_a_worker_is_said(tmp_path):
    """Also one that looks like the summary of a table."""
    script = "import sys; print('CUDA initialization failed', file=sys.stderr); sys.exit(1)"
    lines = []
    assert run_workers([sys.executable, "-c", script], 1, lines.append) == [1]
    assert lines == ["worker 1: CUDA initialization failed"]


def test_stopped_workers_leave_no_process(tmp_path, monkeypatch):
    """Ctrl-C comes to the parent while both are at work."""
    monkeypatch.chdir(tmp_path)
    script = "import os, time; print('[1/1]', os.getpid(), flush=True); time.sleep(60)"
    pids = []

    def stop(line):
        pids.append(int(line.split()[-1]))
        if len(pids) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_workers([sys.executable, "-c", script], 2, stop)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_cores_are_shared(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    assert set(share_of_threads(3).values()) == {"2"}
    assert set(share_of_threads(20).values()) == {"1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")  # the user's own
    assert share_of_threads(3)["OMP_NUM_THREADS"] == "5"
