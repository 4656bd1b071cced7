"""Paths as users give them: "~" is their own folder wherever one is asked for."""

import os
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from training_helpers import quick

from glf_minimal import GLF, fit, load_dataset, mlp_decoder, mlp_encoder, one_sided_flow
from glf_minimal.errors import GLFError
from glf_minimal.evaluation.features import InceptionFeatures, folder_batches
from glf_minimal.files import _sweep, atomic, user_path
from glf_minimal.perceptual import load_features
from glf_minimal.pictures import save_grid
from glf_minimal.reproduction import report
from glf_minimal.reproduction.records import read_records
from glf_minimal.reproduction.tables import Text


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's own folder; the current one is another, in which a folder "~" must not appear."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "home"
    assert not list((tmp_path / "here").iterdir())


def test_user_path(home):
    assert user_path("~/runs") == home / "runs"
    assert user_path("~") == home
    assert user_path("a/~/b").parts == ("a", "~", "b")
    assert str(user_path("~nobody-of-this-name/a")) == str(Path("~nobody-of-this-name/a"))


def test_folders_of_pictures(home):
    (home / "pics").mkdir()
    Image.new("L", (8, 8), 9).save(home / "pics" / "a.png")
    data = load_dataset("folder:~/pics")
    assert (len(data), data.name) == (1, f"folder:{home / 'pics'}")
    assert len(list(folder_batches("~/pics"))) == 1


def test_the_cache_of_the_data_sets(home, monkeypatch):
    load_dataset("digits", "test", "~/given")
    monkeypatch.setenv("GLF_DATA", "~/set")
    load_dataset("digits", "test")
    for name in ("given", "set"):
        assert (home / name / "digits-test.npz").exists()


def test_what_is_written(home):
    shape = (1, 8, 8)
    model = GLF(mlp_encoder(shape, 4, (8,)), mlp_decoder(shape, 4, (8,)), one_sided_flow(4, 8))
    fit(model, torch.rand(4, *shape), quick(epochs=1), "~/run")
    assert (home / "run" / "model.safetensors").exists()
    fit(model, torch.rand(4, *shape), quick(epochs=1), start="~/run")
    save_grid(torch.rand(4, *shape), "~/grid.png")
    assert (home / "grid.png").exists()


def test_weights_and_records(home):
    """Here the path in the error says where was looked."""
    for use in (
        lambda: InceptionFeatures(weights="~/none.pth"),
        lambda: load_features("squeezenet", "~/none.pth"),
        lambda: read_records("~/none", "table-1", "mnist"),
    ):
        with pytest.raises(GLFError, match=str(home / "none")):
            use()


def test_the_report(home, monkeypatch):
    monkeypatch.setattr(report, "TABLES", {"name": lambda _: Text("words")})
    monkeypatch.setattr(report, "FIGURES", {})
    (home / "records").mkdir()
    assert report.write_report("~/records", "~/out") == [home / "out" / "name.md"]


def test_the_command_line(home, glf):
    """As the shell hands them over in --out=~/run."""
    (home / "pics").mkdir()
    rng = np.random.default_rng(0)
    for i in range(150):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(home / "pics" / f"{i}.png")
    quickly = ["--recipe", "glf-digits", "--epochs", 1, "--no-progress", "--device=cpu"]
    assert glf("train", *quickly, "--data=folder:~/pics", "--out=~/run")[0] == 0
    again = ["--data=folder:~/pics", "--out=~/again", "--start=~/run"]
    assert glf("train", *quickly, *again)[0] == 0
    assert glf("sample", "~/run", "--out=~/grid.png", "-n", 4)[0] == 0
    assert glf("export", "~/run", "--out=~/model.js", "--data=folder:~/pics")[0] == 0
    code, out, _ = glf(
        "evaluate", "~/run", "--samples=10", "--record=trial/row", "--results=~/results"
    )
    assert code == 0
    assert str(home / "results" / "trial") in out
    assert glf("train", *quickly, "--data=digits", "--root=~/cache", "--out=~/digits")[0] == 0
    assert (home / "cache" / "digits-train.npz").exists()
    expected = {"pics", "run", "again", "grid.png", "model.js", "results", "cache", "digits"}
    assert {path.name for path in home.iterdir()} == expected


def test_weights_in_settings(home, glf):
    save_file({"features.0.weight": torch.zeros(1)}, home / "vgg.safetensors")
    code, _, err = glf(
        "train", "--recipe=glf-digits", "--data=digits", "--root=~/cache", "--out=~/run",
        "--set=model.reconstruction=vgg16:~/vgg.safetensors",
    )  # fmt: skip
    assert code == 1
    assert "~" not in err


def test_leftovers_of_killed_processes_go_and_those_of_others_stay(tmp_path, monkeypatch):
    """A library is asked who lives: os.kill(…, 0) would interrupt the process on Windows."""

    def refuse(*_):
        raise AssertionError("a signal was sent")

    monkeypatch.setattr(os, "kill", refuse)
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: pid == 7)
    living, dead = tmp_path / ".a.7.tmp", tmp_path / ".a.8.tmp"
    others = [tmp_path / name for name in (".a.mine.tmp", ".a.-5.tmp", ".b.8.tmp")]
    for path in (living, dead, *others):
        path.touch()
    with atomic(tmp_path / "a") as temporary:
        temporary.write_bytes(b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([living, tmp_path / "a", *others])


def test_numbers_that_no_process_can_have(tmp_path):
    path = tmp_path / f".a.{10**30}.tmp"
    path.touch()
    _sweep(tmp_path)
    assert path.exists()
