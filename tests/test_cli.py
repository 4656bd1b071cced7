"""The command line as its user meets it."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image
from training_helpers import quick

from glf_minimal import fit
from glf_minimal.files import read_tensors
from glf_minimal.recipes.catalogue import RECIPES
from glf_minimal.training.folder import CHECKPOINT, WEIGHTS, checkpoint_epoch

# Progress bars off, a checkpoint after every epoch.
QUIET = ["--no-progress", "--device", "cpu", "--set", "train.checkpoint_seconds=0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_root):
    folder = tmp_path_factory.mktemp("cli") / "run"
    train = [
        sys.executable,
        "-m",
        "glf_minimal",
        "train",
        "--recipe",
        "glf-digits",
        "--out",
        folder,
    ]
    subprocess.run(
        [*train, "--root", data_root, "--epochs", "2", *QUIET], check=True, capture_output=True
    )
    return folder


def test_help_reads_well(glf):
    code, out, _ = glf("--help")
    assert code == 0
    for word in ("recipes", "train", "sample", "evaluate", "Generative Latent Flow"):
        assert word in out
    words = {
        "train": "runs/RECIPE",
        "sample": "RUN/grid.png",
        "recipes": "NAME",
        "evaluate": "EXPERIMENT/ROW",
    }
    for command, word in words.items():
        code, out, _ = glf(command, "--help")
        assert code == 0
        assert "--help" in out
        assert word in out


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["reproduce"], 0),
        (["recipes"], 0),
        (["train", "--help"], 0),
        (["sample", "β→ä/\N{SNOWMAN}"], 1),
        (["train", "--recipe", "β→ä"], 1),
    ],
)
def test_output_in_a_narrow_encoding(arguments, code, encoding):
    """As Windows has it for files; what it lacks is written as its number."""
    done = subprocess.run(
        [sys.executable, "-m", "glf_minimal", *arguments],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    if code:
        assert done.stderr.startswith(b"glf: ")
    if arguments == ["reproduce"] and encoding == "cp1252":
        assert rb"\u03b2" in done.stdout


def test_recipes_lists_every_recipe(glf):
    code, out, _ = glf("recipes")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(RECIPES)


def test_recipes_lists_those_with_a_part_of_their_name(glf):
    code, out, _ = glf("recipes", "small-mnist")
    assert code == 0
    names = [line.split()[0] for line in out.splitlines()]
    assert names == [name for name in RECIPES if "small-mnist" in name]
    assert len(names) > 10
    assert glf("recipes", "glf-mnist")[1].startswith(
        "data."
    )  # a whole name, although it is part of others
    code, _, err = glf("recipes", "glf-minst")
    assert code == 1
    assert "unknown recipe 'glf-minst'; did you mean glf-mnist" in err


def test_recipes_shows_settings_as_set_takes_them(glf, data_root, tmp_path):
    code, out, _ = glf("recipes", "glf-digits")
    assert code == 0
    assert "model.beta=1.0" in out.splitlines()
    lines = [line for line in out.splitlines() if not line.startswith("train.progress")]
    changes = [part for line in lines for part in ("--set", line)]
    out = tmp_path / "run"
    code, _, err = glf(
        "train",
        "--recipe",
        "glf-digits",
        *changes,
        "--out",
        out,
        "--root",
        data_root,
        "--no-progress",
    )
    assert (code, err) == (0, "")


def test_train_and_sample(glf, data_root, tmp_path):
    out = tmp_path / "run"
    code, text, _ = glf(
        "train", "--recipe", "glf-digits", "--out", out, "--root", data_root, "--epochs", 2, *QUIET
    )
    assert code == 0
    assert "2 epochs" in text
    assert str(out / "samples.png") in text
    code, text, _ = glf("sample", out, "-n", 9, "--seed", 3)
    assert code == 0
    assert text.strip() == str(out / "grid.png")
    assert Image.open(out / "grid.png").size == (2 * (3 * 10 + 2),) * 2
    glf("sample", out, "-n", 9, "--seed", 3, "--out", tmp_path / "again.png")
    glf("sample", out, "-n", 9, "--seed", 4, "--out", tmp_path / "other.png")
    glf("sample", out, "-n", 9, "--seed", 3, "--plain-noise")
    grids = [
        (tmp_path / name).read_bytes()
        for name in ("run/grid.png", "again.png", "other.png", "run/plain-noise.png")
    ]
    assert grids[0] == grids[1]
    assert len(set(grids)) == 3


@pytest.mark.filterwarnings("ignore::glf_minimal.evaluation.frechet.TooFewSamples")
def test_evaluate(glf, run, data_root, tmp_path):
    arguments = ["evaluate", run, "--samples", 20, "--root", data_root, "--device", "cpu"]
    code, out, err = glf(*arguments)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines[:3]] == ["classifier", "inception", "squeezenet"]
    assert "not run: there is no classifier for digits" in out
    assert {"mse_per_image", "psnr", "frechet", "nll", "ks_max"} <= {line[1] for line in lines}
    assert lines[-1][0] == "protocol:"
    assert "samples 20, reference test, train_mode False" in out
    assert glf(*arguments)[1] == out
    assert glf(*arguments, "--seed", 1)[1] != out
    code, recorded, _ = glf(*arguments, "--record", "trial/row", "--results", tmp_path)
    assert code == 0
    assert recorded.startswith(out)
    assert recorded.endswith(f"record: {tmp_path / 'trial' / 'digits' / 'row' / 'seed-0.json'}\n")
    (tmp_path / "file").touch()
    code, out, err = glf(*arguments, "--record", "trial/row", "--results", tmp_path / "file")
    assert code == 1
    assert "protocol:" in out  # the numbers are not lost
    assert err.startswith("glf: cannot make the folder")
    assert err.count("\n") == 1


def test_evaluate_with_a_file_of_inceptions_weights(glf, run, data_root, tmp_path):
    """It asks for FID by itself."""
    code, _, err = glf(
        "evaluate", run, "--inception", tmp_path / "missing.pth", "--root", data_root
    )
    assert code == 1
    assert "missing.pth" in err


def test_evaluate_a_classifier(glf, classifier_run, data_root, tmp_path, monkeypatch):
    monkeypatch.setattr("glf_minimal.evaluation.classifier.WEIGHTS_FOLDER", tmp_path)
    code, out, err = glf("evaluate", classifier_run, "--root", data_root, "--device", "cpu")
    assert (code, err) == (0, "")
    words = out.split()
    assert words[:2] == ["test", "accuracy"]
    assert 0.85 < float(words[2]) <= 1
    assert words[3:] == ["on", "176", "images"]
    assert not list(tmp_path.iterdir())
    assert glf("evaluate", classifier_run, "--root", data_root, "--install") == (0, out, "")
    assert [path.name for path in tmp_path.iterdir()] == ["classifier-digits.safetensors"]
    assert glf("evaluate", classifier_run, "--record", "trial/row")[0] == 2


def test_train_on_a_folder_of_pictures(glf, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(20):
        Image.new("RGB", (30, 20), (i * 10, 100, 200)).save(pictures / f"{i}.png")
    arguments = [
        "train",
        "--recipe",
        "glf-digits",
        "--data",
        f"folder:{pictures}",
        "--out",
        tmp_path / "run",
        *QUIET,
    ]
    code, _, err = glf(*arguments, "--image-size", 12, "--epochs", 2)
    assert code == 0
    assert f"pictures in {pictures}: 19 for training, 1 kept for testing" in err
    assert err.count("\n") == 1
    code, _, _ = glf("sample", tmp_path / "run", "-n", 4)
    assert code == 0
    assert Image.open(tmp_path / "run" / "grid.png").mode == "RGB"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--recipe", "glf-minst"], "unknown recipe 'glf-minst'; did you mean glf-mnist"),
        (["train", "--recipe", "glf-digits", "--data", "mnits"], "unknown data set 'mnits'"),
        (
            ["train", "--recipe", "glf-digits", "--data", "folder:nowhere"],
            "nowhere is not a folder",
        ),
        (["train", "--recipe", "glf-digits", "--set", "model.betta=1"], "did you mean model.beta"),
        (
            ["train", "--recipe", "glf-digits", "--set", "train.lr=-1"],
            "lr: expected a positive number",
        ),
        (["train", "--recipe", "glf-digits", "--device", "gpu"], "device: expected"),
        (
            [
                "train",
                "--recipe",
                "quickstart",
                "--data",
                "digits",
                "--set",
                "networks.family=resnet",
            ],
            "'resnet'",
        ),
        (["train", "--recipe", "glf-digits", "--device", "meta"], "device: expected"),
        (["train", "--recipe", "glf-digits", "--seed", 10**20], "seed: expected less than"),
        (
            ["train", "--recipe", "glf-digits", "--out", "/proc/run"],
            "cannot make the folder /proc/run",
        ),
        (["sample", "nowhere"], "is nowhere the folder of a run"),
        (["sample", sys.executable], "the folder of a run"),
        (["evaluate", "nowhere"], "is nowhere the folder of a run"),
    ],
)
def test_errors_are_one_line(glf, arguments, words, tmp_path, data_root, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLF_DATA", str(data_root))
    code, out, err = glf(*arguments)
    assert code == 1
    assert out == ""
    assert err.startswith("glf: ")
    assert words in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())  # nothing half-written


def test_a_run_of_ones_own_model_cannot_be_evaluated(glf, make_glf, some_digits, tmp_path):
    fit(make_glf(), some_digits, quick(epochs=1), tmp_path)
    code, out, err = glf("evaluate", tmp_path)
    assert (code, out) == (1, "")
    assert "no settings for networks, flow, model" in err
    assert err.count("\n") == 1


def test_an_output_folder_that_is_a_file(glf, tmp_path, data_root):
    (tmp_path / "file").write_text("precious")
    code, _, err = glf(
        "train", "--recipe", "glf-digits", "--out", tmp_path / "file", "--root", data_root, *QUIET
    )
    assert code == 1
    assert "is a file" in err
    assert (tmp_path / "file").read_text() == "precious"


def test_usage_errors(glf, run, tmp_path):
    assert glf("train")[0] == 2
    assert glf("train", "--recipe", "glf-digits", "--set", "beta")[0] == 2
    assert glf("sample", run, "--out", tmp_path / "no" / "folder.png")[0] == 2
    assert glf("sample", run, "--out", tmp_path / "grid.jpg")[0] == 2
    assert glf("sample", run, "-n", 0)[0] == 2
    assert glf("sample", run, "--seed", 10**20)[0] == 2
    assert glf("evaluate", run, "--samples", 4)[0] == 2
    assert glf("evaluate", run, "--install")[0] == 2
    for name in ("trial", "trial/", "/row", "a/b/c", "../row", "trial/..", ""):
        code, _, err = glf("evaluate", run, "--record", name, "--results", tmp_path)
        assert code == 2
        assert "EXPERIMENT/ROW" in err
    assert not list(tmp_path.iterdir())


def test_a_pickle_in_place_of_the_weights(glf, run, tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    copy = tmp_path / "run"
    copy.mkdir()
    (copy / "config.json").write_text((run / "config.json").read_text())
    torch.save(Malicious(), copy / WEIGHTS)
    code, _, err = glf("sample", copy)
    assert code == 1
    assert "pickled .pt or .ckpt files are refused" in err
    assert not (tmp_path / "owned").exists()


def _start(*arguments):
    """A command in a process of its own, which heeds Ctrl-C even if the tests run in the
    background.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "glf_minimal", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def _wait_for_checkpoint(process, out, epoch):
    deadline = time.monotonic() + 120
    while not (out / CHECKPOINT).exists() or checkpoint_epoch(out) < epoch:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_stopped_and_killed_it_ends_with_the_same_weights(glf, tmp_path, data_root):
    """Ctrl-C, which says how to go on, then SIGKILL."""
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    train = ["train", "--recipe", "glf-digits", "--epochs", 20, "--root", data_root, *QUIET]
    assert glf(*train, "--out", unbroken)[0] == 0
    for sign, epoch, ends_with in ((signal.SIGINT, 2, 130), (signal.SIGKILL, 6, -signal.SIGKILL)):
        process = _start(*train, "--out", killed)
        _wait_for_checkpoint(process, killed, epoch)
        process.send_signal(sign)
        _, err = process.communicate(timeout=60)
        assert process.returncode == ends_with
        assert not (killed / WEIGHTS).exists()
        if sign == signal.SIGINT:
            assert "The same command goes on from there" in err
            assert f"checkpoint of epoch {checkpoint_epoch(killed)}" in err
            assert "Traceback" not in err
    assert glf(*train, "--out", killed)[0] == 0
    (expected, expected_metadata), (got, metadata) = (
        read_tensors(out / WEIGHTS) for out in (unbroken, killed)
    )
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    for row in expected_metadata["history"] + metadata["history"]:
        del row["seconds"], row["cpu_seconds"]
    assert expected_metadata == metadata
    assert not list(killed.glob(".*.tmp"))


def test_a_classifier_has_no_samples(glf, classifier_run):
    code, _, err = glf("sample", classifier_run)
    assert code == 1
    assert "holds a classifier, which has no samples" in err
