"""glf reproduce as one types it: what it lists, what it says, and its exit code."""

from pathlib import Path

import pytest

from glf_minimal.reproduction import EXPERIMENTS, make_cells, workers
from glf_minimal.reproduction.cells import Experiment, Row

pytestmark = pytest.mark.filterwarnings("ignore::glf_minimal.evaluation.frechet.TooFewSamples")
TRIAL = Experiment(
    "trial",
    "a trial",
    {"digits": (Row("glf", "GLF", "glf-digits", {}, {"samples": 40, "batch_size": 20}),)},
    seeds=2,
)


def test_the_command_line(glf, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "trial", TRIAL)
    code, out, _ = glf("reproduce")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(EXPERIMENTS)
    code, out, _ = glf(
        "reproduce", "trial", "--dry-run", "--seeds", 1, "--rows", "glf", "--results", tmp_path
    )
    assert code == 0
    assert out.splitlines() == ["missing: trial digits glf seed 0", "0 of 1 cells are recorded"]
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/glf-digits-epochs-1").write_text("in the way", encoding="utf-8")
    damaged = make_cells(TRIAL, rows=["glf"], seeds=1)[0].record(Path("data/results"))
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    code, out, _ = glf("reproduce", "trial", "--seeds", 1, "--rows", "glf", "--device", "cpu")
    assert code == 1
    assert "[1/1] trial digits glf seed 0: failed:" in out  # and any others would have their turn
    damaged.unlink()
    code, out, err = glf(
        "reproduce",
        "trial",
        "--set",
        "train.epochs=1",
        "--seeds",
        1,
        "--rows",
        "glf",
        "--device",
        "cpu",
    )
    assert code == 1
    assert "1 of 1 cells failed" in err


def test_inceptions_weights_from_a_file(glf, tmp_path, monkeypatch):
    """Asks for FID, so that what is recorded without it counts as missing; and reads no other
    weights.
    """
    monkeypatch.setitem(EXPERIMENTS, "trial", TRIAL)
    monkeypatch.chdir(tmp_path)
    code, _, err = glf("reproduce", "trial", "--rows", "glf", "--inception", "none.pth")
    assert code == 1
    assert "none.pth" in err
    assert not Path("runs").exists()


@pytest.mark.parametrize("given", [["--workers", "2"], ["--workers=2"]])
def test_the_command_line_checks_what_workers_have_done(glf, given, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "trial", TRIAL)
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr(workers, "run_workers", lambda c, n, _: started.append((c, n)) or n * [0])
    code, out, err = glf("reproduce", "trial", "--rows", "glf", "--seeds", 1, *given)
    kept = ["reproduce", "trial", "--rows", "glf", "--seeds", "1", "--worker"]
    assert [(command[3:], n) for command, n in started] == [(kept, 2), (kept, 1)]
    assert code == 1
    assert out.splitlines() == [
        "0 of 1 cells are recorded",
        "missing: trial digits glf seed 0",
    ]
    assert "1 of 1 cells have no record" in err
