"""A run exported for the browser: the page's own JavaScript gives PyTorch's numbers."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from programs import chromium
from torch import nn

from glf_minimal import load_dataset
from glf_minimal.errors import RunError
from glf_minimal.files import write_tensors
from glf_minimal.recipes import export
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.recipes.run import load_run, train_recipe
from glf_minimal.training.folder import WEIGHTS

BOOK = Path(__file__).parent.parent / "book"
SCRIPT, MODEL, PAGE = (
    BOOK / "_static" / "demo.js",
    BOOK / "_static" / "demo-model.js",
    BOOK / "demo.md",
)
DIGITS = {
    "data.name": "digits",
    "train.device": "cpu",
    "train.precision": "float32",
    "train.progress": False,
}
# Both forms of the flow, both families of networks, both places of batch norm, all activations.
SYSTEMS = {
    "conv, two-sided": (
        "demo",
        {"networks.latent_dim": 7, "networks.width": 4, "networks.hidden": 16, "flow.hidden": 8},
    ),
    "mlp, one-sided": ("glf-digits", {}),
    "mlp with batch norm, ELU": (
        "flowae-report-mnist",
        {"networks.hidden": [16, 12], "flow.hidden": 8},
    ),
}


def small_run(folder, root, recipe, **changes):
    """A finished run on 8x8 digits."""
    train_recipe(get_recipe(recipe).with_settings(DIGITS | changes), folder, root)
    return folder


@pytest.fixture(scope="module", params=SYSTEMS)
def run(request, tmp_path_factory, data_root):
    """A run whose weights, among them the statistics of batch norm, are nowhere near their initial
    values.
    """
    recipe, changes = SYSTEMS[request.param]
    epochs = {"train.epochs": 2, "train.batch_size": 64}
    folder = small_run(
        tmp_path_factory.mktemp("export") / "run", data_root, recipe, **epochs, **changes
    )
    model, _ = load_run(folder)
    generator = torch.Generator().manual_seed(0)
    tensors = model.state_dict()
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            tensor += 0.1 * torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.1)
    write_tensors(folder / WEIGHTS, tensors)
    return folder


@pytest.fixture(scope="module")
def javascript(tmp_path_factory):
    """javascript(model file, code, given) -> what ``code`` returns, run after demo.js with
    ``model`` and ``given``.

    Under node or, without it, in headless Chromium, where the scripts are loaded from files as the
    page loads them.
    """
    node, browser = shutil.which("node"), chromium()
    folder = tmp_path_factory.mktemp("javascript")

    def evaluate(model_file, code, given=None):
        body = f"const model = readModel(GLF_MODEL), given = {json.dumps(given)}; {code}"
        if node:
            imports = f"require({json.dumps(str(model_file))})"
            imports += f"; Object.assign(globalThis, require({json.dumps(str(SCRIPT))}))"
            path = folder / "test.js"
            path.write_text(f"{imports}; console.log(JSON.stringify((() => {{ {body} }})()))")
            text = subprocess.run([node, path], capture_output=True, text=True, check=True).stdout
        elif browser:
            scripts = "".join(
                f'<script src="{path.as_uri()}"></script>' for path in (model_file, SCRIPT)
            )
            path = folder / "test.html"
            path.write_text(
                f"{scripts}<pre></pre><script>document.querySelector('pre').textContent = "
                f"JSON.stringify((() => {{ {body} }})())</script>"
            )
            command = [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--dump-dom",
                path.as_uri(),
            ]
            page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            text = re.search("<pre>(.*)</pre>", page)[1]
        else:
            pytest.skip("neither node nor chromium is installed, and only they run JavaScript")
        return json.loads(text)

    return evaluate


def test_javascript_gives_pytorchs_numbers(run, javascript, data_root, tmp_path):
    """For noise of several temperatures, with the flow and without it."""
    moved = export.export_run(run, tmp_path / "model.js", data_root)
    assert 0 < moved < 0.05
    model, _ = load_run(run)
    rounded = export.for_export(model)
    generator = torch.Generator().manual_seed(1)
    eps = torch.cat(
        [t * torch.randn(3, model.latent_dim, generator=generator) for t in (0, 0.5, 1, 1.5)]
    )
    got = javascript(
        tmp_path / "model.js",
        """
        return given.map((noise) => {
          const eps = Float32Array.from(noise), z = flowInverse(model, eps);
          const { eps: back, logDet } = flowForward(model, z);
          const all = { z, back, logDet: [logDet], logDensity: [logDensity(model, z)] };
          all.image = decode(model, z);
          all.plain = decode(model, eps);
          flowPath(model, eps).forEach((point, i) => (all["path" + i] = point));
          return Object.fromEntries(Object.entries(all).map(([name, v]) => [name, Array.from(v)]));
        });
        """,
        eps.tolist(),
    )
    got = {name: torch.tensor([row[name] for row in got]) for name in got[0]}
    with torch.no_grad():
        z, log_det = rounded.prior.inverse(eps)
        expected = {
            "z": z,
            "back": eps,
            "logDet": -log_det[:, None],
            "image": rounded.decode(z).flatten(1),
        }
        expected |= {
            "logDensity": rounded.prior.log_prob(z)[:, None],
            "plain": rounded.decode(eps).flatten(1),
        }
    for name, tensor in expected.items():
        assert got[name].shape == tensor.shape
        assert (got[name] - tensor).abs().max() < 1e-4, name
    assert z.std() > 0.1
    assert expected["image"].std() > 0.01
    assert not torch.allclose(expected["image"], expected["plain"], atol=0.01)
    # the way from noise to latent: a mere reordering of the noise first, the latent last
    blocks = sum(type(layer).__name__ == "AffineCoupling" for layer in rounded.prior.layers)
    assert {name for name in got if name.startswith("path")} == {
        f"path{i}" for i in range(blocks + 1)
    }
    assert torch.allclose(got["path0"].sort(1).values, eps.sort(1).values)
    assert torch.equal(got[f"path{blocks}"], got["z"])


def test_the_file_checks_itself(run, javascript, data_root, tmp_path):
    path = tmp_path / "model.js"
    export.export_run(run, path, data_root)
    assert javascript(path, "return selfCheck(model)") < 1e-4
    assert javascript(
        path, "model.check.images.data[5] += 0.01; return selfCheck(model)"
    ) == pytest.approx(0.01, rel=0.1)
    broken = "model.decoder[0].weight.data.fill(NaN); return String(selfCheck(model))"
    assert javascript(path, broken) == "NaN"  # and not a small number
    facts = javascript(
        path,
        "return [model.image_shape, model.latents.shape, model.axes.shape, model.center.shape]",
    )
    dim = load_run(run)[0].latent_dim
    assert facts == [[1, 8, 8], [176, dim], [2, dim], [dim]]
    assert [item.name for item in tmp_path.iterdir()] == ["model.js"]


def test_every_half_is_read_as_numpy_has_it(javascript):
    """Normal and subnormal numbers, zeros of both signs."""
    bits = torch.tensor([0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x3555, 0xC000, 0x7BFF]).to(
        torch.uint16
    )
    half = bits.view(torch.float16)
    code = "return Array.from(readModel(given).data, (v) => [v, Object.is(v, -0)])"
    got = javascript(MODEL, code, export._tensor(half))
    assert [value for value, _ in got] == half.tolist()
    assert [negative for _, negative in got] == [False, True, *6 * [False]]


def test_folding_batch_norm_changes_nothing():
    """Before and after the linear layer, in float64."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(
            nn.Linear(5, 6),
            nn.ReLU(),
            nn.BatchNorm1d(6),
            nn.Linear(6, 8),
            nn.BatchNorm1d(8),
            nn.Unflatten(1, (2, 2, 2)),
        ),
        *(nn.ConvTranspose2d(2, 3, 4, 2, 1), nn.BatchNorm2d(3), nn.ReLU()),
    ).double()
    for layer in network:
        if hasattr(layer, "running_var"):
            for tensor in (
                layer.weight.data,
                layer.bias.data,
                layer.running_mean,
                layer.running_var,
            ):
                tensor.uniform_(0.5, 2)
    x = torch.randn(4, 5).double()
    expected = network.eval()(x)
    folded = export._fold_batch_norm(network)
    assert (
        " ".join(type(layer).__name__ for layer in folded)
        == "Linear ReLU Linear Unflatten ConvTranspose2d ReLU"
    )
    assert torch.allclose(folded(x), expected, rtol=0, atol=1e-12)


def test_the_books_model_is_sound(javascript):
    """The committed file: small, of the recipe that the page names, and right by its own check."""
    assert MODEL.stat().st_size < 1_000_000
    code = "return [selfCheck(model), model.recipe, model.latent_dim, model.flow.length]"
    difference, recipe, dim, layers = javascript(MODEL, code)
    settings = get_recipe("demo").settings()
    assert difference < 1e-4
    assert recipe == "demo"
    assert dim == settings["networks"]["latent_dim"]
    assert layers == 2 * settings["flow"]["blocks"]


def test_the_books_model_has_the_density_gap_that_the_page_speaks_of(javascript):
    """More than half of the noise is less probable than nearly all real latents; the flow's samples
    are like those.
    """
    code = """
    const density = (z) => logDensity(model, z);
    const at = (values, q) => values.sort((a, b) => a - b)[Math.floor(q * values.length)];
    const paths = given.map((noise) => flowPath(model, Float32Array.from(noise)));
    const length = model.latents.shape[0];
    const real = Array.from({ length }, (_, i) => density(row(model.latents, i)));
    const plain = paths.map((path) => density(path[0]));
    const samples = paths.map((path) => density(path.at(-1)));
    return [at(real, 0.05), at(real, 0.5), at(plain, 0.5), at(samples, 0.5)];
    """
    dim = get_recipe("demo").networks["latent_dim"]
    noise = torch.randn(300, dim, generator=torch.Generator().manual_seed(0)).tolist()
    low, real, plain, samples = javascript(MODEL, code, noise)
    assert plain < low < real
    assert abs(samples - real) < 1


def test_the_page_has_what_its_script_asks_for():
    page, script = PAGE.read_text(), SCRIPT.read_text()
    template = page[page.index("<template") : page.index("</template>")]
    assert "\n\n" not in template  # Markdown would take over
    parts = set(re.findall(r'data-part="([\w-]+)"', template))
    for name in re.findall(r'part\("([\w-]+)"\)', script):
        assert name in parts
    for identifier in re.findall(r'getElementById\("([\w-]+)"\)', script):
        assert f'id="{identifier}"' in page
    for control in re.findall(r'<label for="([\w-]+)"', template):
        assert f'id="{control}"' in template
    for path in re.findall(r'(?:src|href)="\.\./_static/([^"]+)"', page):
        assert (BOOK / "_static" / path).exists()
    assert not re.search(r"https?://|fetch\(|import ", script)
    for picture in BOOK.glob("_static/demo*.png"):
        assert picture.stat().st_size < 100_000


def test_cli(glf, data_root, tmp_path):
    folder = small_run(tmp_path / "run", data_root, "glf-digits", **{"train.epochs": 1})
    code, out, err = glf("export", folder, "--root", data_root)
    assert (code, err) == (0, "")
    assert re.fullmatch(
        rf"{folder}/model.js: \d+ kB; rounding moves a pixel in \[0, 1\] by at most [\de.-]+\n", out
    )
    assert (folder / "model.js").read_text().splitlines()[1].startswith("globalThis.GLF_MODEL = {")
    code, _, _ = glf("export", folder, "--root", data_root, "--out", tmp_path / "other.js")
    assert code == 0
    assert (tmp_path / "other.js").read_bytes() == (folder / "model.js").read_bytes()
    assert glf("export", folder, "--out", tmp_path / "model.json")[0] == 2
    assert glf("export", folder, "--out", tmp_path / "no" / "model.js")[0] == 2


def test_errors(glf, classifier_run, data_root, tmp_path):
    """One line, and a file that is already there stays as it is."""
    plain = small_run(
        tmp_path / "plain",
        data_root,
        "ae-slides-mnist",
        **{"train.epochs": 1, "networks.hidden": [8]},
    )
    mixture = small_run(
        tmp_path / "mixture",
        data_root,
        "glf-digits",
        **{"train.epochs": 1, "flow.form": "mixture"},
    )
    unfinished = small_run(tmp_path / "unfinished", data_root, "glf-digits", **{"train.epochs": 1})
    (unfinished / WEIGHTS).unlink()
    (tmp_path / "model.js").write_text("precious")
    cases = {
        plain: "holds the model AE, whose latents come from no flow on N(0, I); give a GLF's run",
        mixture: "holds the model GLF, whose latents come from no flow on N(0, I)",
        classifier_run: "holds the model Classifier, whose latents",
        unfinished: "is " + str(unfinished) + " the folder of a finished run?",
        tmp_path / "nowhere": "the folder of a run?",
    }
    for folder, words in cases.items():
        code, out, err = glf("export", folder, "--out", tmp_path / "model.js", "--root", data_root)
        assert (code, out) == (1, "")
        assert words in err
        assert err.count("\n") == 1
    assert (tmp_path / "model.js").read_text() == "precious"


def test_networks_that_the_file_has_no_words_for(make_glf, data_root, tmp_path, monkeypatch):
    config = {"data": {"name": "digits"}, "image_shape": [1, 8, 8]}
    config["data_sha256"] = load_dataset("digits", "train", data_root).digest

    def attempt(change, words):
        model = make_glf().eval()
        change(model)
        monkeypatch.setattr(export, "load_run", lambda run: (model, config))
        with pytest.raises(RunError, match=words):
            export.export_run("run", tmp_path / "model.js", data_root)
        assert not list(tmp_path.iterdir())

    attempt(lambda model: model.decoder.insert(1, nn.Tanh()), r"cannot export the layer Tanh\(\)")
    attempt(lambda model: model.decoder[0].weight.data.mul_(1e8), "above 65504")
    attempt(
        lambda model: model.flow.layers.append(Unknown()),
        "cannot export a flow with the layer Unknown",
    )


class Unknown(nn.Identity):
    def inverse(self, y):
        return y, y.new_zeros(len(y))

    def forward(self, z):
        return z, z.new_zeros(len(z))
