"""The same command gives the same bytes, nothing touches the caller's global state, and no notebook
needs another.
"""

import ast
import json
import os
import random
import re
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from extremes import FAMILIES, build, pictures, train
from torch import nn

from glf_minimal import plotting
from glf_minimal.data import load_dataset
from glf_minimal.evaluation import metrics
from glf_minimal.evaluation.frechet import bootstrap_standard_error
from glf_minimal.evaluation.measure import evaluate
from glf_minimal.evaluation.protocol import Protocol
from glf_minimal.files import read_tensors
from glf_minimal.pictures import save_grid
from glf_minimal.recipes.build import build_model
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.recipes.run import load_run, train_recipe
from glf_minimal.reproduction import (
    get_experiment,
    is_recorded,
    make_cells,
    reproduce,
    write_report,
)
from glf_minimal.reproduction.measuring import evaluate_run
from glf_minimal.reproduction.records import read_records

ROOT = Path(__file__).parent.parent
TIMES = ("seconds", "cpu_seconds")
# The quick start's convolutions and batch norm, on 8x8 digits: 12 steps.
COMMAND = [
    "train",
    "--recipe",
    "quickstart",
    "--data",
    "digits",
    "--epochs",
    "1",
    "--device",
    "cpu",
    "--no-progress",
]
COMMAND += ["--set", "train.precision=float32"]


@pytest.fixture(scope="module")
def runs(data_root, tmp_path_factory):
    """Folders of one training, each made by a process of its own: twice with one thread, once with
    two.
    """
    load_dataset("digits", "train", data_root)
    folders = {}
    for name, threads in {"first": "1", "second": "1", "two threads": "2"}.items():
        folders[name] = tmp_path_factory.mktemp("run")
        command = [
            sys.executable,
            "-m",
            "glf_minimal",
            *COMMAND,
            "--out",
            folders[name],
            "--root",
            data_root,
        ]
        environment = os.environ | {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONHASHSEED": "random",
        }
        subprocess.run(command, check=True, capture_output=True, env=environment, cwd=ROOT)
    return folders


def parts(path):
    """Of a safetensors file the header, without the times and the digest that covers them, and the
    tensors' bytes.
    """
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    metadata = json.loads(header.pop("__metadata__")["glf_minimal"])
    metadata.pop("digest")
    for row in metadata["history"]:
        for name in TIMES:
            row.pop(name)
    return header, metadata, content[end:]


def test_two_processes_write_the_same_bytes(runs):
    first, second = (parts(runs[name] / "model.safetensors") for name in ("first", "second"))
    assert first[0] == second[0]
    assert first[1] == second[1]
    assert first[2] == second[2]
    assert len(first[2]) > 100_000
    for name in ("samples.png", "config.json"):
        assert (runs["first"] / name).read_bytes() == (runs["second"] / name).read_bytes(), name


def test_more_threads_change_rounding_only(runs):
    """Losses to a part in 1000 (5e-5 seen) and the weights, as one vector, to 5 % (1 % seen).

    That much of the weights because Adam turns the gradients of biases before batch norm, which are
    rounding errors around zero, into steps of full size; these biases have no effect.
    """
    (one, history), (two, other) = (
        read_tensors(runs[n] / "model.safetensors") for n in ("first", "two threads")
    )
    row, other_row = history["history"][-1], other["history"][-1]
    for term in ("loss", "recon", "nll"):
        assert other_row[term] == pytest.approx(row[term], rel=1e-3)
    names = [name for name in one if one[name].is_floating_point()]
    apart = sum((one[name] - two[name]).square().sum() for name in names)
    assert apart < 0.05**2 * sum(one[name].square().sum() for name in names)


def numpy_state():
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return kind, keys.tobytes(), *rest


def global_state():
    """Everything that a caller may have set, and that a library could change behind their back."""
    return {
        "torch random": torch.random.get_rng_state().numpy().tobytes(),
        "numpy random": numpy_state(),
        "python random": random.getstate(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "matmul": torch.get_float32_matmul_precision(),
        "mkldnn": torch.backends.mkldnn.enabled,
        "warnings": (list(warnings.filters), warnings.showwarning),
        "numpy errors": np.geterr(),
        "matplotlib": (dict(mpl.rcParams), mpl.get_backend()),
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109
        "path": list(sys.path),
    }


@pytest.fixture(scope="module")
def run_of_digits(data_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("digits") / "run"
    train_recipe(small_recipe(), out, data_root)
    return out


def small_recipe():
    settings = {
        "train.epochs": 2,
        "train.device": "cpu",
        "train.progress": False,
        "train.snapshots": True,
    }
    return get_recipe("glf-digits").with_settings(settings)


def measured(train_mode):
    protocol = Protocol(samples=8, batch_size=4, train_mode=train_mode)
    return evaluate(
        build("vae-flow-prior", networks="small"), pictures(), protocol, classifier=nn.Flatten()
    )


def failing():
    with pytest.raises(ArithmeticError):
        train(build("vae"), pictures(), lr=1e30)


def drawn(tmp_path):
    model = build("ae-gmm").eval()
    images = model.sample(9, generator=torch.Generator().manual_seed(0))
    save_grid(images, tmp_path / "grid.png")
    plotting.show_grids({"samples": images})
    z = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    plotting.latent_map({"z": z}, {"z": torch.arange(50) % 3})
    plotting.density_map({"p": lambda plane: -plane.square().sum(1)}, points={"p": z})
    plotting.training_curves([{"epoch": 1, "loss": 1.0}])
    plt.close("all")


def reproduced(tmp_path, records):
    records("slide-deck", "glf", fcd=1.0, recon=2.0, last_nll=3.0)
    write_report(tmp_path, tmp_path / "report")
    chosen = make_cells(get_experiment("first-ranking"), ["mnist"], ["glf"], 1, {"train.epochs": 1})
    is_recorded(chosen[0], tmp_path)
    reproduce([], tmp_path / "runs", tmp_path / "none", device="cpu", say=lambda line: None)


A, B = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(0))
ACTIONS = {
    "fit": lambda c: [
        train(build(family), pictures()) for family in ("glf", "vae", "advae", "ae-gmm", "glann")
    ],
    "fit in bf16": lambda c: train(build("glf"), pictures(), precision="bf16"),
    "a fit that fails": lambda c: failing(),
    "sample": lambda c: [
        build(family).eval().sample(5, generator=torch.Generator().manual_seed(0))
        for family in ("glf", "vae", "two-stage-vae", "advae", "ae-gmm", "glann")
    ],
    "build": lambda c: build_model(small_recipe().settings(), (1, 8, 8), seed=3),
    "evaluate": lambda c: [measured(train_mode) for train_mode in (False, True)],
    "load data": lambda c: [
        load_dataset(name, "test", c["tmp_path"]) for name in ("digits", "mnist-5k", "digits")
    ],
    "train a recipe": lambda c: train_recipe(small_recipe(), c["tmp_path"] / "run", c["root"]),
    "load a run": lambda c: load_run(c["run"]),
    "evaluate a run": lambda c: evaluate_run(
        c["run"], Protocol(samples=50, batch_size=25), c["root"]
    ),
    "metrics": lambda c: [
        metrics.precision_recall(A, B),
        metrics.kernel_distance(A, B),
        metrics.gaussianity(A),
        bootstrap_standard_error(A, B),
    ],
    "plots": lambda c: drawn(c["tmp_path"]),
    "reproduce": lambda c: reproduced(c["tmp_path"], c["records"]),
    "read records": lambda c: read_records(ROOT / "data" / "results", "slide-deck", "mnist"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("action", ACTIONS)
def test_the_callers_state_is_left_alone(action, tmp_path, data_root, run_of_digits, records):
    """Called twice: what an import of another package does, it does once. In between, a state that
    no seed gives.
    """
    context = {"tmp_path": tmp_path, "root": data_root, "run": run_of_digits, "records": records}
    ACTIONS[action](context)
    threads, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
    with (
        torch.random.fork_rng([]),
        warnings.catch_warnings(),
        mpl.rc_context(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        mpl.rcdefaults()  # what the first call may have left behind
        mpl.rcParams.update({"figure.dpi": 77, "image.cmap": "jet"})
        torch.set_num_threads(2)
        torch.set_float32_matmul_precision("medium")
        torch.manual_seed(987654321)
        for draw in (torch.rand, np.random.rand):
            draw(5)
        random.random()
        before = global_state()
        ACTIONS[action](context)
        after = global_state()
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(matmul)
    assert [name for name in before if before[name] != after[name]] == []


def test_figures_do_not_depend_on_the_callers_style(tmp_path, records):
    records("slide-deck", "glf", fcd=1.0, recon=2.0, last_nll=3.0)
    write_report(tmp_path, tmp_path / "usual")
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 20, "figure.facecolor": "red"}):
        write_report(tmp_path, tmp_path / "odd")
    for path in (tmp_path / "usual").iterdir():
        assert path.read_bytes() == (tmp_path / "odd" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_callers_state_changes_nothing(family):
    """Gradients off, other random states, another number format: the same training."""
    histories = []
    for odd in (False, True):
        model, data = build(family), pictures()
        with torch.set_grad_enabled(not odd), torch.random.fork_rng([]):
            torch.manual_seed(odd)
            random.seed(odd)
            np.random.seed(odd)  # noqa: NPY002
            torch.set_default_dtype(torch.float64 if odd else torch.float32)
            try:
                histories.append(train(model, data))
            finally:
                torch.set_default_dtype(torch.float32)
    histories = [
        [{k: v for k, v in row.items() if k not in TIMES} for row in history]
        for history in histories
    ]
    assert histories[0] == histories[1]


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# What writes: methods and functions by name; fit writes where it is given a folder.
WRITERS = re.compile(
    r"write_\w+|savefig|save_\w+|to_csv|to_json|to_parquet|savez\w*|dump|mkdir|makedirs|unlink|rmtree|rename|replace_file|"
    r"copyfile|copytree|move|symlink_to|touch|chdir|system|Popen|check_call|check_output|urlretrieve|run_path|"
    r"train_recipe|reproduce|export_run|set_dir|putenv|install"
)


def writes(source):
    """The calls of some code that may write a file outside memory, change the folder or the
    environment.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        named = {keyword.arg for keyword in node.keywords}
        opens = name == "open" and any(
            isinstance(a, ast.Constant) and a.value in ("w", "wb", "a", "x") for a in node.args
        )
        into_folder = name == "fit" and ("out" in named or len(node.args) > 3)
        stores = name == "save" and not (
            node.args and isinstance(node.args[0], ast.Name) and node.args[0].id == "file"
        )
        if opens or into_folder or stores or WRITERS.fullmatch(name):
            found.append(f"line {node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_write_nothing_that_another_reads(path):
    """They draw and print; what they read is committed, or made again by ``load_dataset``."""
    code = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    source = "\n".join("".join(cell["source"]) for cell in code)
    assert not re.search(r"^\s*[!%]", source, re.MULTILINE)
    assert "environ" not in source
    found = writes(source)
    if "file = io.BytesIO()" not in source:
        assert ".save(file" not in source
    assert found == []
    folders = set(re.findall(r"""["'](\.\./[\w./-]*|runs/[\w./-]*|/\w[\w./-]*)["']""", source))
    committed = ("../data/results", "../benchmarks/results")
    assert all(folder.startswith(committed) for folder in folders), folders
