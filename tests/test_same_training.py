"""Nothing that changed is ignored: another model in a used folder, a finished run, other weights to
begin with.
"""

import functools
import json
import shutil
import subprocess
import sys
from hashlib import sha256

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training_helpers import (
    Interrupted,
    assert_equal_weights,
    conv_glf,
    quick,
    stop_training,
    weights,
)

from glf_minimal import GLF, DivergenceError, RunError, fit, mlp_decoder, two_sided_flow
from glf_minimal.files import read_json, read_tensors, write_json
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.recipes.run import train_command
from glf_minimal.training.fingerprint import changes, fingerprint
from glf_minimal.training.folder import CHECKPOINT, CONFIG, WEIGHTS

SHAPE = (1, 8, 8)


class Encoder(nn.Module):
    """A reader's own network, with a function for its activation."""

    def __init__(self, activation=nn.ReLU):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), activation(), nn.Linear(8, 4))

    def forward(self, x):
        """Encode."""
        return F.relu(self.net(x))


class Otherwise(Encoder):
    """The same layers, used otherwise."""

    def forward(self, x):
        return F.gelu(self.net(x))


Otherwise.__name__ = "Encoder"  # as after an edit


def make(encoder=Encoder, model=GLF, **arguments):
    torch.manual_seed(0)
    return model(encoder(), mlp_decoder(SHAPE, 4, (8,)), two_sided_flow(4, 8, 1), **arguments)


def squared(x_hat, x):
    """The squared error."""
    return (x_hat - x).square().sum() / len(x)


def another_squared(x_hat, x):
    """The same, but described and laid out otherwise."""
    return (
        (x_hat - x).square().sum()  # over all pixels
        / len(x)
    )


def halved(x_hat, x):
    return 0.5 * (x_hat - x).square().sum() / len(x)


def weighted(weight):
    return lambda x_hat, x: weight * (x_hat - x).square().sum()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"reconstruction": squared}, {"reconstruction": halved}, "the code of its reconstruction"),
        (
            {"reconstruction": weighted(1.0)},
            {"reconstruction": weighted(2.0)},
            "the code of its reconstruction",
        ),
        (
            {"reconstruction": functools.partial(F.smooth_l1_loss, beta=1.0)},
            {"reconstruction": functools.partial(F.smooth_l1_loss, beta=2.0)},
            "the code of its reconstruction",
        ),
        (
            {},
            {"encoder": functools.partial(Encoder, nn.Tanh)},
            "the layers of its encoder",
        ),
        (
            {},
            {"encoder": Otherwise},
            "the code of its encoder",
        ),
        (
            {},
            {"encoder": lambda: Encoder(functools.partial(nn.LeakyReLU, 0.3))},
            "the layers of its encoder",
        ),
    ],
    ids=["loss", "weight of a loss", "partial", "activation", "forward", "argument of a layer"],
)
def test_another_model_in_a_used_folder_is_an_error(
    some_digits, tmp_path, monkeypatch, old, new, told
):
    for name in ("squared", "halved"):  # functions are told apart by what they do, not by names
        monkeypatch.setattr(globals()[name], "__name__", "loss")
    fit(make(**old), some_digits, quick(1), tmp_path)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    model = make(**new)
    untouched = weights(model)
    with pytest.raises(RunError, match=rf"a training of another model \({told} changed\)"):
        fit(model, some_digits, quick(1), tmp_path)
    assert_equal_weights(weights(model), untouched)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before
    fit(make(**old), some_digits, quick(1), tmp_path)


class Counting(Interrupted):
    """An ``Interrupted`` GLF with code of its own."""

    def losses(self, x):
        return super().losses(x)


class CountingOtherwise(Interrupted):
    def losses(self, x):
        return super().losses(1 - x)


CountingOtherwise.__name__ = "Counting"  # as after an edit


def test_freezing_or_other_code_of_the_model_between_stop_and_resume(some_digits, tmp_path):
    stop_training(make(model=Counting), some_digits, quick(), tmp_path)
    frozen = make(model=Counting)
    frozen.encoder.requires_grad_(False)
    with pytest.raises(RunError, match="what is trained of its encoder changed"):
        fit(frozen, some_digits, quick(), tmp_path)
    with pytest.raises(RunError, match="the code of the model itself changed"):
        fit(make(model=CountingOtherwise), some_digits, quick(), tmp_path)
    # In a folder without a fingerprint, of an older version, the checkpoint says it.
    config = read_json(tmp_path / CONFIG)
    del config["fingerprint"]
    write_json(tmp_path / CONFIG, config)
    with pytest.raises(RunError, match=r"moved encoder\.net\.\d\.\w+, which this model does not"):
        fit(frozen, some_digits, quick(), tmp_path)
    fit(make(model=Counting), some_digits, quick(), tmp_path)


def test_what_does_not_matter_changes_no_fingerprint():
    model, other = (make(reconstruction=loss) for loss in (squared, another_squared))
    with torch.no_grad():
        other.encoder.net[1].weight += 1
    other.train()
    assert changes(fingerprint(model), fingerprint(other)) == []
    sliced = fingerprint(model)
    sliced["encoder"] = dict(sliced["encoder"], code="other")
    assert changes(fingerprint(model), sliced) == ["the code of its encoder"]
    sliced["python"] = "3.99"  # whose instructions are others
    assert changes(fingerprint(model), sliced) == []


def test_a_fingerprint_is_that_of_another_process(tmp_path):
    script = tmp_path / "model.py"
    script.write_text(
        """
import json
from torch import nn
from glf_minimal import GLF, mlp_decoder, two_sided_flow
from glf_minimal.training.fingerprint import fingerprint

class Encoder(nn.Module):
    hook = staticmethod(lambda x: x in {"a", "b", "c", "d"})
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
    def extra_repr(self):
        return repr(object())
    def forward(self, x, own=object()):
        return self.linear(x) if x in ("a", object) else {"p", "q", "r"}

loss = lambda x_hat, x, names=("a", None): (x_hat - x).sum()
model = GLF(Encoder(), mlp_decoder((1, 8, 8), 4, (8,)), two_sided_flow(4), reconstruction=loss)
print(json.dumps(fingerprint(model)))
"""
    )
    told = {
        subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(told) == 1
    assert json.loads(told.pop()).keys() == {
        "encoder",
        "decoder",
        "flow",
        "reconstruction",
        "itself",
        "python",
    }


def test_a_finished_run_says_that_it_was_loaded(make_glf, some_digits, tmp_path, capsys):
    history = fit(make_glf(), some_digits, quick(1), tmp_path)
    assert capsys.readouterr() == ("", "")
    model = make_glf(seed=1)
    assert fit(model, some_digits, quick(1), tmp_path) == history
    assert capsys.readouterr() == (
        f"{tmp_path} holds this training, finished: loaded, nothing was trained\n",
        "",
    )


# Beginning with the weights of another run


@pytest.mark.parametrize("kind", ["folder", "weights", "snapshot"])
def test_a_training_begins_with_the_weights_of_a_finished_run(some_digits, tmp_path, kind):
    first = conv_glf(0)
    fit(first, some_digits, quick(1, snapshots=True), tmp_path / "first")
    path = {
        "folder": tmp_path / "first",
        "weights": tmp_path / "first" / WEIGHTS,
        "snapshot": tmp_path / "first" / "snapshots" / "epoch-0001.safetensors",
    }[kind]
    begun, expected = conv_glf(1), conv_glf(2)
    expected.load_state_dict(first.state_dict())
    history = fit(begun, some_digits, quick(2, lr=1e-4), tmp_path / "second", start=str(path))
    assert [row["epoch"] for row in history] == [1, 2]
    fit(expected, some_digits, quick(2, lr=1e-4))
    assert_equal_weights(weights(begun), weights(expected))
    file = path / WEIGHTS if kind == "folder" else path
    digest = sha256(file.read_bytes()).hexdigest()
    started = {"path": str(file), "sha256": digest}
    assert read_json(tmp_path / "second" / CONFIG)["start"] == started


def test_a_checkpoint_to_begin_with(some_digits, tmp_path):
    """As after a divergence: its weights, and a smaller lr in a new folder."""
    stop_training(conv_glf(0, Interrupted), some_digits, quick(), tmp_path / "first")
    begun, expected = conv_glf(1), conv_glf(2)
    tensors, _ = read_tensors(tmp_path / "first" / CHECKPOINT)
    expected.load_state_dict(
        {n.removeprefix("model/"): t for n, t in tensors.items() if n.startswith("model/")}
    )
    fit(expected, some_digits, quick(1, lr=1e-4))
    fit(begun, some_digits, quick(1, lr=1e-4), start=tmp_path / "first")  # also without a folder
    assert_equal_weights(weights(begun), weights(expected))


def test_a_stopped_training_with_a_start_goes_on_with_the_same_start_only(some_digits, tmp_path):
    first = tmp_path / "first"
    fit(conv_glf(0), some_digits, quick(1), first)
    unbroken, stopped, resumed = (conv_glf(seed, Interrupted) for seed in (3, 4, 5))
    fit(unbroken, some_digits, quick(), start=first)
    stopped.stop_at = 8
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, some_digits, quick(), tmp_path / "second", start=first)
    with pytest.raises(RunError, match=r"start\.sha256 was '\w+', now None"):
        fit(resumed, some_digits, quick(), tmp_path / "second")
    moved = shutil.copytree(first, tmp_path / "moved")  # the content counts, not the place
    fit(resumed, some_digits, quick(), tmp_path / "second", start=moved)
    assert_equal_weights(weights(resumed), weights(unbroken))


def test_what_cannot_be_begun_with_is_named(make_glf, some_digits, tmp_path):
    (tmp_path / "empty").mkdir()
    fit(conv_glf(0), some_digits, quick(1), tmp_path / "other")
    model = make_glf()
    before = weights(model)
    for start, told in (
        ("empty", r"start: .*empty has neither model\.safetensors nor checkpoint\.safetensors"),
        ("nothing", "nothing does not exist"),
        ("other", "holds the weights of another model"),
        ("other/config.json", "not an undamaged safetensors file"),
    ):
        with pytest.raises(RunError, match=told):
            fit(model, some_digits, quick(1), tmp_path / "new", start=tmp_path / start)
    assert_equal_weights(weights(model), before)
    assert not (tmp_path / "new").exists()


class Exploding(GLF):
    steps = 0

    def losses(self, x):
        self.steps += self.training
        terms = super().losses(x)
        return {
            name: value * (float("nan") if self.steps == 13 else 1) for name, value in terms.items()
        }


def advised_start(message):
    """The path that an error advises to begin with, in Python and on the command line."""
    python, command = message.split("start='")[1], message.split("--start ")[1]
    path = python.partition("'")[0]
    assert command.startswith(f"{path})")
    return path


def test_the_advice_after_a_divergence_and_for_more_epochs_can_be_followed(
    make_glf, some_digits, tmp_path
):
    with pytest.raises(DivergenceError, match=r"try a smaller lr$") as told:
        fit(make_glf(model=Exploding), some_digits, quick(6), tmp_path / "first")
    start = advised_start(str(told.value))
    fit(make_glf(), some_digits, quick(1, lr=1e-4), tmp_path / "second", start=start)
    with pytest.raises(RunError, match=r"train\.epochs was 1, now 3") as told:
        fit(make_glf(), some_digits, quick(3, lr=1e-4), tmp_path / "second", start=start)
    start = advised_start(str(told.value))
    history = fit(make_glf(), some_digits, quick(2, lr=1e-4), tmp_path / "third", start=start)
    assert len(history) == 2


def test_glf_train_begins_with_another_run(glf, data_root, tmp_path):
    command = ["train", "--recipe", "glf-digits", "--device", "cpu", "--root", data_root]
    command += ["--no-progress", "--set", "networks.hidden=[16]", "--set", "flow.hidden=8"]
    assert glf(*command, "--epochs", 1, "--out", tmp_path / "first")[0] == 0
    more = [*command, "--epochs", 2, "--out", tmp_path / "second"]
    code, out, err = glf(*more, "--start", tmp_path / "first")
    assert (code, err) == (0, "")
    assert out.startswith("glf-digits: 2 epochs")
    config = read_json(tmp_path / "second" / CONFIG)
    path = tmp_path / "first" / WEIGHTS
    assert config["start"]["sha256"] == sha256(path.read_bytes()).hexdigest()
    assert train_command(config).endswith(f" --start {path}")
    code, out, _ = glf(*more, "--start", tmp_path / "first")
    assert code == 0
    assert "finished: loaded, nothing was trained\n" in out
    code, _, err = glf(*more)
    assert code == 1
    assert "start.sha256 was" in err
    assert get_recipe("glf-digits").settings()["train"]["epochs"] != 2
