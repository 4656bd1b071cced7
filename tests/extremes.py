"""One small model of every family, and what becomes of it: numbers, or one clear sentence."""

import json
import math
import traceback
from pathlib import Path

import torch
from torch import nn

import glf_minimal
from glf_minimal import ImageDataset, TrainConfig, fit
from glf_minimal.errors import GLFError
from glf_minimal.evaluation.measure import evaluate
from glf_minimal.evaluation.protocol import Protocol
from glf_minimal.models import LatentModel
from glf_minimal.recipes.build import build_model
from glf_minimal.recipes.catalogue import get_recipe

SHAPE = (1, 4, 4)
FLOW_FAMILIES = (
    "glf",
    "glf-mixture",
    "regularized-glf",
    "flowae",
    "vae-flow-prior",
    "vae-flow-posterior",
)
OTHER_FAMILIES = (
    "vae",
    "two-stage-vae",
    "ae-gmm",
    "aae",
    "advae",
    "wae-gan",
    "wae-mmd",
    "glann",
    "classifier",
)
FAMILIES = (*FLOW_FAMILIES, *OTHER_FAMILIES)
LATENT_FAMILIES = tuple(name for name in FAMILIES if name != "classifier")
WITH_ENCODER = tuple(name for name in LATENT_FAMILIES if name != "glann")
WITH_BATCH_NORM = ("advae", "classifier")  # also with networks of linear layers alone
PACKAGE = str(Path(glf_minimal.__file__).parent)


def settings_of(family, latent_dim=3, networks="slides", images=24, **changes):
    """The settings of the catalogue's recipe, as small as they can be."""
    if family == "classifier":
        return get_recipe("classifier-mnist").with_settings({"model.width": 8}).settings()
    recipe = get_recipe(f"{family}-{networks}-mnist")
    convolutions = networks == "small"
    small = {"networks.latent_dim": latent_dim, "networks.hidden": 8 if convolutions else [8]}
    small |= {"networks.width": 2} if convolutions else {}
    small |= {"flow.hidden": 8, "flow.blocks": 2} if recipe.flow else {}
    small |= {f"model.{name}": [8] for name in recipe.model if name.endswith("hidden")}
    smallest = {"images": images, "candidates": 3, "encode_steps": 2}
    smallest |= {"components": 2}
    small |= {f"model.{name}": value for name, value in smallest.items() if name in recipe.model}
    return json.loads(json.dumps(recipe.with_settings(small | changes).settings()))


def build(family, *arguments, **changes):
    model = build_model(settings_of(family, *arguments, **changes), SHAPE)
    if family == "glann":
        model.encode_steps = 2
    return model


def pictures(n=24, value=None, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    pixels = (
        torch.rand(n, *SHAPE, generator=generator)
        if value is None
        else torch.full((n, *SHAPE), float(value))
    )
    return ImageDataset(pixels.to(dtype), torch.arange(n) % 10, "pictures")


def train(model, data, **changes):
    settings = {"epochs": len(model.stages), "batch_size": 8, "progress": False, "device": "cpu"}
    return fit(model, data, TrainConfig(**{**settings, "precision": "float32", **changes}))


def assert_finite(what, where=""):
    """Every number in tensors, histories and measures; PSNR alone may be infinite, of two equal
    pictures.
    """
    if isinstance(what, dict):
        what = {name: value for name, value in what.items() if (name, value) != ("psnr", math.inf)}
        for name, value in what.items():
            assert_finite(value, f"{where} {name}")
    elif isinstance(what, list):
        for entry in what:
            assert_finite(entry, where)
    elif isinstance(what, torch.Tensor):
        assert what.isfinite().all(), where
    elif isinstance(what, float):
        assert math.isfinite(what), f"{where} is {what}"


def train_and_use(model, data, measure=False, **changes):
    """Train; look at the history, at samples and reconstructions and, with ``measure``, at every
    metric.
    """
    assert_finite(train(model, data, **changes), "history")
    if isinstance(model, LatentModel):
        for n in (1, 5):
            assert_finite(model.sample(n, generator=torch.Generator().manual_seed(0)), "samples")
        like = next(model.parameters())
        assert_finite(model.reconstruct(data.batch(slice(3)).to(like.dtype)), "reconstructions")
        if measure:
            with torch.random.fork_rng([]):
                torch.manual_seed(0)
                features = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
            assert_finite(
                evaluate(model, data, Protocol(samples=8, batch_size=4), classifier=features),
                "measures",
            )


def outcome(run, *arguments, **named):
    """ "finite" where a call ends well, else the sentence of its error, which must be the package's
    own.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        try:
            run(*arguments, **named)
        except AssertionError:
            raise
        except Exception as raised:
            error = raised
        else:
            return "finite"
    place = traceback.extract_tb(error.__traceback__)[-1]
    assert isinstance(error, GLFError | ValueError), (
        f"{type(error).__name__} in {place.filename}: {error}"
    )
    assert place.filename.startswith(PACKAGE), f"raised in {place.filename}:{place.lineno}: {error}"
    assert len(str(error)) > 20
    assert "\n" not in str(error)
    return str(error)
