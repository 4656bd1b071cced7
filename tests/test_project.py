"""The repository keeps its promises: dependencies in one place, documents whose code runs, executed
notebooks.
"""

import ast
import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import glf_minimal
from glf_minimal import GLF, TrainConfig, fit, mlp_decoder, mlp_encoder
from glf_minimal.recipes import MODELS, load_run, train_recipe

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def code_blocks(document):
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def test_conda_installs_what_pyproject_says():
    """environment.yml only names Python and this project with its extras; it has no list of its own
    to go stale.
    """
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["name"]
    *conda, from_pip = environment["dependencies"]
    assert conda == [f"python{PROJECT['requires-python']}", "pip"]
    (requirement,) = from_pip["pip"]
    extras = re.fullmatch(r"-e \.\[(.*)\]", requirement)[1].split(",")
    assert set(extras) == set(PROJECT["optional-dependencies"]) - {"bench"}


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == glf_minimal.__version__
    assert f"## {glf_minimal.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_public_names_are_documented():
    for name in glf_minimal.__all__:
        assert getattr(glf_minimal, name).__doc__, name


def test_editors_see_the_public_names():
    """What the package imports for type checkers is what it gives at run time."""
    tree = ast.parse((ROOT / "glf_minimal" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    names = [alias.name for node in block.body for alias in node.names]
    assert sorted(names) == sorted(glf_minimal.__all__)


def lines_of_code(path):
    """Lines with code on them; not comments, docstrings and blank lines."""
    source = path.read_text()
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (
            tokenize.COMMENT,
            tokenize.NL,
            tokenize.NEWLINE,
            tokenize.INDENT,
            tokenize.DEDENT,
        ):
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_the_papers_own_method_stays_small():
    own_method = ["flows", "networks", "losses", "models/base", "models/glf", "models/vae"]
    assert sum(lines_of_code(ROOT / "glf_minimal" / f"{name}.py") for name in own_method) <= 600


def test_contributings_model_trains(digits):
    """The worked example is a real model: it trains in two stages, and its prior learns the
    latents' spread.
    """
    code, _ = code_blocks("CONTRIBUTING.md")
    assert len(code.splitlines()) <= 40
    names = {}
    exec(code, names)
    torch.manual_seed(0)
    shape = digits.image_shape
    model = names["GaussianAE"](mlp_encoder(shape, 4, (32,)), mlp_decoder(shape, 4, (32,)), 4)
    history = fit(
        model, digits, TrainConfig(epochs=10, batch_size=32, lr=6e-3, progress=False, device="cpu")
    )
    assert [row["stage"] for row in history] == ["auto-encoder"] * 5 + ["prior"] * 5
    assert history[4]["recon"] < 0.7 * history[0]["recon"]
    z = model.encode(digits.batch(slice(None)))
    assert torch.allclose(model.prior.log_std.exp(), z.std(0), rtol=0.2)
    assert model.sample(3).shape == (3, *shape)


def test_contributings_recipe_trains(data_root, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "gaussian-ae", None)  # taken out again when the test ends
    names = {}
    for code in code_blocks("CONTRIBUTING.md"):
        exec(code, names)
    recipe = names["recipe"].with_settings({"train.progress": False, "train.device": "cpu"})
    train_recipe(recipe, tmp_path, data_root)
    model, _ = load_run(tmp_path)
    assert type(model).__name__ == "GaussianAE"
    assert model.sample(2).shape == (2, 1, 8, 8)


def test_readmes_example_runs(tmp_path, monkeypatch):
    (code,) = code_blocks("README.md")
    folder = tmp_path / "path" / "to" / "pictures"
    folder.mkdir(parents=True)
    for i in range(12):
        Image.new("RGB", (70 + i, 80), (20 * i, 0, 0)).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    shape = (3, 64, 64)
    names = {"my_encoder": mlp_encoder(shape, 32, (8,)), "my_decoder": mlp_decoder(shape, 32, (8,))}
    exec(code.replace("epochs=50", "epochs=2, progress=False"), names)
    assert isinstance(names["model"], GLF)
    assert names["images"].shape == (64, *shape)
    assert (tmp_path / "runs" / "mine" / "model.safetensors").exists()


def test_readme_commands_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert f"\n{target}:" in makefile


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize("target", ["book", "pdf"])
def test_warnings_keep_no_reader_from_the_book(target):
    """Any new version of a dependency may bring one. In CI they are errors."""
    told = []
    for setting in ("BOOK_STRICT=", "BOOK_STRICT=1"):
        command = ["make", "--dry-run", "CHROMIUM=chromium", setting, target]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        told.append(done.stdout)
    assert ["jupyter-book build . -W -n" in lines for lines in told] == [False, True]
    for file in (".ci/run", ".github/workflows/book.yml"):
        assert "BOOK_STRICT=1" in (ROOT / file).read_text()


def test_notebooks_run_where_matplotlib_may_not_write(tmp_path):
    """It says so on stderr, which would be an output of the first cell that was not expected."""
    (tmp_path / "file").touch()
    environment = os.environ | {"MPLCONFIGDIR": str(tmp_path / "file" / "folder")}
    code = "import runpy, subprocess, sys; runpy.run_path('notebooks/conftest.py')"
    code += "; kernel = [sys.executable, '-c', 'import matplotlib.pyplot']"
    code += "; done = subprocess.run(kernel, capture_output=True, text=True, check=True)"
    code += "; print(repr(done.stderr))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "''\n"


def test_it_imports_without_what_only_metrics_and_tests_need():
    """So that trainings run on a machine that has little more than torch."""
    missing = [
        "pytorch_fid",
        "torchmetrics",
        "prdc",
        "sklearn",
        "scipy",
        "mlxtend",
        "gdown",
        "nbval",
        "matplotlib",
    ]
    code = f"import sys; sys.modules.update(dict.fromkeys({missing}))"
    code += "; import glf_minimal, glf_minimal.cli"
    code += "; import glf_minimal.evaluation, glf_minimal.recipes, glf_minimal.reproduction"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_help_needs_no_torch():
    """It answers at once, as importing does; and a public name is there when asked for."""
    code = "import sys, glf_minimal.cli as cli; print('torch' in sys.modules)"
    code += "; sys.argv = ['glf', '--help']; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("False")
    assert "reproduce" in done.stdout
    heavy = ("matplotlib", "mlxtend", "pytorch_fid", "sklearn", "torchvision")
    code = "import sys, glf_minimal"
    code += f"; print([name for name in {(*heavy, 'PIL')} if name in sys.modules])"
    code += "; print([len(dir(getattr(glf_minimal, name))) > 0 for name in glf_minimal.__all__])"
    code += f"; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported, names, loaded = done.stdout.splitlines()
    assert "False" not in names
    assert imported == loaded == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'GFL'"):
        _ = glf_minimal.GFL


def test_there_are_notebooks():
    assert NOTEBOOKS
    toc = (ROOT / "_toc.yml").read_text()
    for path in NOTEBOOKS:
        assert f"notebooks/{path.stem}" in toc


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_as_it_should_be(path):
    """Executed from top to bottom, with alternative texts, without errors, stderr, SVG or large
    pictures.
    """
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    # nbval compares outputs, and an assert stops the cell also where outputs are not compared.
    checked = [
        cell
        for cell in code
        if "nbval-ignore-output" not in cell["metadata"].get("tags", [])
        or re.search(r"^\s*assert\b", "".join(cell["source"]), re.MULTILINE)
    ]
    assert len(checked) >= 0.5 * len(code)
    for cell in code:
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"
            data = output.get("data", {})
            assert "image/svg+xml" not in data
            if "image/png" in data:
                picture = base64.b64decode(data["image/png"])
                assert len(picture) < 300_000
                assert Image.open(io.BytesIO(picture)).width <= 1600
                assert cell["metadata"]["mystnb"]["image"]["alt"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_shows_numbers_and_short_cells(path):
    """It prints what it measured and not "True"; imports and long cells are folded away."""
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    printed = "".join(
        "".join(output.get("text", "")) for cell in code for output in cell["outputs"]
    )
    assert len(re.findall(r"\bTrue\b", printed)) <= 3
    visible = [
        c for c in code if not {"hide-input", "hide-cell"} & set(c["metadata"].get("tags", []))
    ]
    sources = ["".join(cell["source"]) for cell in visible]
    assert max(len(source.splitlines()) for source in sources) <= 35
    assert not any(re.search(r"^(import|from) \w*(torch|glf)", s, re.MULTILINE) for s in sources)
    private = re.compile(r"(?<!self)\.(_[a-z]\w*)")
    assert [name for source in sources for name in private.findall(source)] == []


def test_the_whole_method_fits_into_one_cell():
    """GLF without the module, in at most 35 lines, as notebook 03 promises."""
    cells = json.loads((ROOT / "notebooks" / "03_glf.ipynb").read_text())["cells"]
    titles = ["".join(cell["source"]) for cell in cells]
    (title,) = [i for i, t in enumerate(titles) if t.startswith("## The whole method in one cell")]
    source = cells[title + 1]["source"]
    assert len(source) <= 35
    assert not re.search(r"GLF|Flow|glf_minimal|fit\(", "".join(source))


def test_nothing_points_outside_the_repository():
    """Links from one document to another resolve."""
    for document in [*ROOT.glob("*.md"), *ROOT.glob("book/*.md"), *ROOT.glob("data/*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
