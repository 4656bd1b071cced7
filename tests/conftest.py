import json
import sys
from unittest import mock

import matplotlib
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from glf_minimal import (
    GLF,
    Adam,
    ImageDataset,
    cli,
    load_dataset,
    mlp_decoder,
    mlp_encoder,
    one_sided_flow,
)
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.recipes.run import train_recipe
from glf_minimal.reproduction import plan

matplotlib.use("Agg")


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    """An empty cache of the data sets, shared by all tests that read it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def digits(data_root):
    return load_dataset("digits", "train", data_root)


@pytest.fixture
def make_glf():
    """A small GLF for 8x8 digits; the same arguments and seed give the same weights."""

    def make(seed=0, model=GLF, **arguments):
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            shape = (1, 8, 8)
            parts = (
                mlp_encoder(shape, 6, (32,)),
                mlp_decoder(shape, 6, (32,)),
                one_sided_flow(6, 16, blocks=2),
            )
            return model(*parts, flow_adam=Adam(betas=(0.8, 0.9)), **arguments)

    return make


@pytest.fixture
def some_digits(digits):
    return ImageDataset(digits.pixels[:320], digits.labels[:320], "some digits")


@pytest.fixture
def glf(monkeypatch, capsys):
    """Run the command line in this process: glf(*arguments) -> (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["glf", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return (exit_.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def classifier_run(tmp_path_factory, data_root):
    """The folder of a finished training: a small classifier of 8x8 digits."""
    settings = {
        "data.name": "digits",
        "model.width": 8,
        "train.epochs": 4,
        "train.batch_size": 32,
        "train.lr": 5e-3,
    }
    settings |= {"train.device": "cpu", "train.precision": "float32", "train.progress": False}
    out = tmp_path_factory.mktemp("classifier") / "run"
    train_recipe(get_recipe("classifier-mnist").with_settings(settings), out, data_root)
    return out


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory):
    """Seeded random weights in the place of FID's, in a cache as torch.hub has it."""
    inception = pytest.importorskip("pytorch_fid.inception")
    path = (
        tmp_path_factory.mktemp("torch-home")
        / "hub"
        / "checkpoints"
        / "pt_inception-2015-12-05-6726825d.pth"
    )
    with torch.random.fork_rng([]), mock.patch.object(nn.Module, "load_state_dict"):
        torch.manual_seed(0)
        with mock.patch.object(inception, "load_state_dict_from_url"):
            network = inception.fid_inception_v3()
        for module in network.modules():  # so that no layer fades or explodes
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.bias, std=0.3)
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def squeezenet_weights(tmp_path_factory):
    """A file of seeded random weights of SqueezeNet's features, with torchvision's names."""
    models = pytest.importorskip("torchvision.models")
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        features = models.squeezenet1_1().features
    path = tmp_path_factory.mktemp("squeezenet") / "weights.safetensors"
    save_file({f"features.{name}": t for name, t in features.state_dict().items()}, path)
    return path


@pytest.fixture
def records(tmp_path):
    """records(experiment, row, seed, metric=value, …) writes a small record; gives the folder of
    all of them.
    """

    def make(experiment, row, seed=0, data="mnist", epochs=None, gpu=False, curve=None, **values):
        planned = {r.name: r for r in plan.EXPERIMENTS[experiment].rows[data]}[row]
        metrics = {"inception": "not run", "classifier": {}, "squeezenet": "not run"}
        metrics |= {"reconstruction": {}, "latents": {}}
        groups = {
            "fcd": "classifier",
            "mse_per_image": "reconstruction",
            "nll": "latents",
            "fid": "inception",
        }
        groups |= dict.fromkeys(("fcd_se", "precision", "recall", "coverage"), "classifier")
        groups |= dict.fromkeys(("fsd", "fsd_se"), "squeezenet")
        last = {name: values.pop(name) for name in ("recon", "kl") if name in values}
        last |= {"nll": values.pop("last_nll")} if "last_nll" in values else {}
        for name, value in values.items():
            group = groups[name]
            metrics[group] = (metrics[group] if isinstance(metrics[group], dict) else {}) | {
                name: value
            }
        settings = planned.settings()
        epochs = epochs or settings["train"]["epochs"]
        settings["train"] |= {"epochs": epochs, "seed": seed}
        hardware = "Some GPU" if gpu else "Some CPU, 1 thread"
        training = {
            "epochs": epochs,
            "last": last,
            "hardware": hardware,
            "versions": {"python": "3", "torch": "2"},
        }
        training |= {"seconds": 10.0 * epochs, "cpu_seconds": 8.0 * epochs}
        record = {
            "recipe": planned.recipe,
            "settings": settings,
            "protocol": {"samples_are": "generated"},
            "row": row,
            "seed": seed,
            "metrics": metrics,
            "training": training,
        }
        path = plan.EXPERIMENTS[experiment].path(tmp_path, data, row, seed)
        path.json.parent.mkdir(parents=True, exist_ok=True)
        record |= {"curve": curve} if curve else {}
        # Not by ``write_json`` and ``write_csv``, which wait for the disk: tests make hundreds.
        path.json.write_text(json.dumps(record))
        path.csv.write_text("stage,epoch,recon\njoint,1,1.0\n")
        return tmp_path

    return make
