"""The recipes: every experiment of the book as data, how one is built, and how a finished run is read back.

A recipe has five groups of settings: the data set, the networks, the flow, the model and the training. Each is
plain data that goes into a run's ``config.json``, so a run's folder says by itself how to rebuild its model.
"""

import dataclasses
import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from glf_minimal.config import TrainConfig
from glf_minimal.data import load_dataset
from glf_minimal.errors import RecipeError
from glf_minimal.flows import Flow, one_sided_flow, two_sided_flow
from glf_minimal.models import GLF, Adam, LatentModel
from glf_minimal.networks import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder
from glf_minimal.runs import CONFIG, WEIGHTS, History
from glf_minimal.storage import load_weights, read_json, read_tensors
from glf_minimal.training import fit

NETWORKS = {"conv": (conv_encoder, conv_decoder), "mlp": (mlp_encoder, mlp_decoder)}
FLOWS = {"one-sided": one_sided_flow, "two-sided": two_sided_flow}


@dataclass(frozen=True)
class Recipe:
    """One experiment.

    Args:
        name: what ``glf train --recipe`` calls it.
        summary: one line for ``glf recipes``.
        source: where its settings come from.
        data: name of the data set, and image_size for folders.
        networks: ``family`` ("conv" or "mlp"), ``latent_dim``, and the arguments of that family.
        flow: ``form`` ("two-sided" or "one-sided") and the arguments of that form.
        model: ``kind`` and the arguments of that model.
        train: fields of ``TrainConfig`` that differ from its defaults.
    """

    name: str
    summary: str
    source: str
    data: dict = field(default_factory=dict)
    networks: dict = field(default_factory=dict)
    flow: dict = field(default_factory=dict)
    model: dict = field(default_factory=dict)
    train: dict = field(default_factory=dict)

    def with_settings(self, changes: dict[str, object]) -> "Recipe":
        """A copy with some settings replaced, named "group.key" ("train.epochs", "model.beta").

        Raises:
            RecipeError: no such setting, or a value of another type.
        """
        settings = self.settings()
        known = [f"{group}.{key}" for group, keys in settings.items() for key in keys]
        groups = {group: dict(getattr(self, group)) for group in settings}
        for name, value in changes.items():
            if name not in known:
                close = difflib.get_close_matches(name, known, n=3) or known
                raise RecipeError(f"recipe {self.name} has no setting {name!r}; did you mean {', '.join(close)}?")
            group, key = name.split(".")
            old = settings[group][key]
            if isinstance(old, float) and type(value) is int:
                value = float(value)
            if old is not None and type(value) is not type(old):
                raise RecipeError(
                    f"{name}: expected a {type(old).__name__} like {json.dumps(old)}, got {json.dumps(value)}"
                )
            groups[group][key] = value
        return dataclasses.replace(self, **groups)

    def settings(self) -> dict[str, dict]:
        """All settings, defaults of the training filled in."""
        defaults = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
        return {
            "data": {"image_size": None} | self.data,
            "networks": self.networks,
            "flow": self.flow,
            "model": self.model,
            "train": defaults | self.train,
        }


# The paper's settings, from the authors' released MNIST code; latent sizes and epochs of the other data sets from an
# unofficial re-implementation.
PAPER_CONV = {"family": "conv", "latent_dim": 20, "width": 64, "hidden": 1024}
PAPER_FLOW = {"form": "two-sided", "hidden": 64, "blocks": 4, "batch_norm": True, "small_init": True}
AUTHORS_FLOW_ADAM = {"betas": [0.8, 0.9], "eps": 1e-6, "weight_decay": 2e-5}
PAPER_GLF = {
    "kind": "glf",
    "beta": 1.0,
    "reconstruction": "mse",
    "stop_gradient": True,
    "flow_adam": AUTHORS_FLOW_ADAM,
}
PAPER_TRAIN = {"epochs": 100, "batch_size": 256, "lr": 1e-3, "schedule": "halve", "halve_every": 50}
SLIDES_MLP = {"family": "mlp", "latent_dim": 40, "hidden": [200, 200], "activation": "ReLU", "batch_norm": False}
SLIDES_FLOW = {"form": "one-sided", "hidden": 200, "blocks": 4}
SLIDES_GLF = {"kind": "glf", "beta": 1.0, "reconstruction": "bce", "stop_gradient": True, "flow_adam": {}}
SLIDES_TRAIN = {"epochs": 15, "batch_size": 64, "lr": 1e-3}

_PAPER_DATA = {  # latent_dim, flow hidden, epochs
    "mnist": (20, 64, 100),
    "fashion-mnist": (20, 64, 100),
    "cifar10": (64, 256, 200),
    "celeba": (64, 256, 40),
}
_AUTHORS = "authors' MNIST code"
_OTHERS = "authors' MNIST code; latent_dim and epochs of an unofficial re-implementation"


def _paper_recipes() -> list[Recipe]:
    recipes = []
    for data, (latent_dim, hidden, epochs) in _PAPER_DATA.items():
        for prefix, title, stop_gradient in (("glf", "GLF", True), ("regularized-glf", "Regularized GLF", False)):
            recipes.append(
                Recipe(
                    name=f"{prefix}-{data}",
                    summary=f"{title} on {data}, the paper's convolutional networks",
                    source=_AUTHORS if data == "mnist" else _OTHERS,
                    data={"name": data},
                    networks=PAPER_CONV | {"latent_dim": latent_dim},
                    flow=PAPER_FLOW | {"hidden": hidden},
                    model=PAPER_GLF | {"stop_gradient": stop_gradient},
                    train=PAPER_TRAIN | {"epochs": epochs},
                )
            )
    return recipes


_RECIPES = [
    Recipe(
        name="quickstart",
        summary="GLF on 5,000 MNIST digits, half-width convolutional networks, about a minute on two cores",
        source="this book",
        data={"name": "mnist-5k"},
        networks=PAPER_CONV | {"latent_dim": 12, "width": 32, "hidden": 256},
        flow=PAPER_FLOW,
        model=PAPER_GLF | {"flow_adam": {}},
        train={"epochs": 30, "batch_size": 128, "lr": 3e-3, "schedule": "cosine"},
    ),
    Recipe(
        name="glf-digits",
        summary="GLF on scikit-learn's 8x8 digits, small MLPs, a few seconds: for trying things out",
        source="this book",
        data={"name": "digits"},
        networks=SLIDES_MLP | {"latent_dim": 8, "hidden": [64]},
        flow=SLIDES_FLOW | {"hidden": 64},
        model=SLIDES_GLF | {"reconstruction": "mse"},
        train={"epochs": 20, "batch_size": 64, "lr": 2e-3},
    ),
    Recipe(
        name="glf-slides-mnist",
        summary="GLF on mnist, the slide deck's MLPs of 200 units",
        source="slide deck; its number of hidden layers is not given, two here",
        data={"name": "mnist"},
        networks=SLIDES_MLP,
        flow=SLIDES_FLOW,
        model=SLIDES_GLF,
        train=SLIDES_TRAIN,
    ),
    *_paper_recipes(),
]
RECIPES = {recipe.name: recipe for recipe in _RECIPES}


def get_recipe(name: str) -> Recipe:
    """Look a recipe up by name."""
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise RecipeError(f"unknown recipe {name!r}{hint} ('glf recipes' lists them all)")
    return RECIPES[name]


def _pick(options: dict, settings: dict, key: str, group: str):
    """Split a group of settings into the option that ``key`` names and the remaining arguments."""
    rest = dict(settings)
    name = rest.pop(key)
    if name not in options:
        raise RecipeError(f"{group}.{key}: expected one of {sorted(options)}, got {name!r}")
    return options[name], rest


def build_auto_encoder(
    settings: dict[str, dict], image_shape: tuple[int, int, int], outputs_per_latent: int = 1
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of the settings; a VAE's encoder has 2 outputs per latent, mean and log-variance."""
    (encoder, decoder), arguments = _pick(NETWORKS, settings["networks"], "family", "networks")
    latent_dim = arguments.pop("latent_dim")
    return (
        encoder(image_shape, outputs_per_latent * latent_dim, **arguments),
        decoder(image_shape, latent_dim, **arguments),
    )


def build_flow(settings: dict[str, dict]) -> Flow:
    """The flow of the settings, as long as their latents."""
    make_flow, arguments = _pick(FLOWS, settings["flow"], "form", "flow")
    return make_flow(settings["networks"]["latent_dim"], **arguments)


def _glf(settings: dict[str, dict], image_shape: tuple[int, int, int], arguments: dict) -> GLF:
    flow_adam = Adam(**arguments.pop("flow_adam"))
    return GLF(*build_auto_encoder(settings, image_shape), build_flow(settings), flow_adam=flow_adam, **arguments)


# How each kind of model is put together: (all settings, image shape, the model's own arguments) -> model.
MODELS: dict[str, Callable[[dict, tuple[int, int, int], dict], LatentModel]] = {"glf": _glf}


def build_model(settings: dict[str, dict], image_shape: tuple[int, int, int], seed: int = 0) -> LatentModel:
    """Build the model of a recipe's settings for images (C, H, W), its weights drawn from ``seed``."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        try:
            build, arguments = _pick(MODELS, settings["model"], "kind", "model")
            return build(settings, image_shape, arguments)
        except RecipeError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RecipeError(f"the settings do not give a model: {error}") from error


def train_recipe(recipe: Recipe, out: str | Path, root: str | Path | None = None) -> History:
    """Train a recipe into the folder ``out``, or go on with what lies there; see ``fit`` for the files.

    Args:
        recipe: from ``get_recipe``, perhaps ``with_settings``.
        out: the run's folder.
        root: where the data is cached.

    Raises:
        RunError: ``out`` holds a run with other settings.
    """
    settings = recipe.settings()
    config = TrainConfig(**settings["train"])
    data = load_dataset(settings["data"]["name"], "train", root, settings["data"]["image_size"])
    model = build_model(settings, data.image_shape, config.seed)
    return fit(model, data, config, out, {"recipe": recipe.name, **settings})


def load_run(folder: str | Path, device: str | torch.device = "cpu") -> tuple[LatentModel, dict]:
    """Read a finished run: its model, in eval mode, and the content of its ``config.json``."""
    folder = Path(folder)
    config = read_json(folder / CONFIG)
    tensors, _ = read_tensors(folder / WEIGHTS)
    try:
        model = build_model(config, tuple(config["image_shape"]))
    except KeyError as error:
        raise RecipeError(f"{folder / CONFIG} has no {error}") from error
    load_weights(model, tensors, folder / WEIGHTS)
    return model.to(device).eval(), config
