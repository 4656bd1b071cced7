"""From settings to models.

A recipe has five groups of settings: the data set, the networks, the flow, the model and the
training. Each is plain data that goes into a run's ``config.json``, so a run's folder says by
itself how to rebuild its model.
"""

from collections.abc import Callable

import torch
from torch import nn

from glf_minimal.errors import RecipeError
from glf_minimal.evaluation.classifier import Classifier
from glf_minimal.flows import Flow, one_sided_flow, two_sided_flow
from glf_minimal.models import (
    AAE,
    AE,
    GLANN,
    GLF,
    VAE,
    WAEGAN,
    WAEMMD,
    Adam,
    AdvAE,
    FlowAE,
    LatentGenerator,
    LatentModel,
    MixtureGLF,
    Trainable,
    TwoStageVAE,
    mixture_flow,
    spline_flow,
)
from glf_minimal.networks import Shape, conv_decoder, conv_encoder, mlp, mlp_decoder, mlp_encoder

# What settings can cause: arguments that are missing, unknown or of another type or value; torch
# raises a RuntimeError for a layer of negative width.
NOT_A_MODEL = (KeyError, RuntimeError, TypeError, ValueError)

NETWORKS = {"conv": (conv_encoder, conv_decoder), "mlp": (mlp_encoder, mlp_decoder)}
FLOWS = {
    "one-sided": one_sided_flow,
    "two-sided": two_sided_flow,
    "spline": spline_flow,
    "mixture": mixture_flow,
}


def _pick(options: dict, settings: dict, key: str, group: str):
    """Split a group of settings into the option that ``key`` names and the remaining arguments."""
    rest = dict(settings)
    name = rest.pop(key)
    if name not in options:
        raise RecipeError(f"{group}.{key}: expected one of {sorted(options)}, got {name!r}")
    return options[name], rest


# (all settings, image shape, the model's own arguments) -> model
Builder = Callable[[dict[str, dict], Shape, dict], Trainable]


def build_auto_encoder(
    settings: dict[str, dict], image_shape: Shape, outputs_per_latent: int = 1
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of the settings.

    A VAE's encoder has 2 outputs per latent, mean and log-variance.
    """
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


def builder(
    model: type[LatentModel], needs: str = "latent_dim", outputs_per_latent: int = 1
) -> Builder:
    """How most models are put together, as a ``Builder``.

    The model gets encoder, decoder and its ``latent_dim`` or a ``flow``, then the rest by name.
    """

    def build(settings: dict[str, dict], image_shape: Shape, arguments: dict) -> LatentModel:
        networks = build_auto_encoder(settings, image_shape, outputs_per_latent)
        third = build_flow(settings) if needs == "flow" else settings["networks"]["latent_dim"]
        return model(*networks, third, **_named_parts(settings, arguments))

    return build


def _named_parts(settings: dict[str, dict], arguments: dict) -> dict:
    """Turn the plain data of a model's arguments into the parts that it stands for."""
    latent_dim = settings["networks"]["latent_dim"]
    parts = {}
    for name, value in arguments.items():
        if name.endswith("_adam"):
            parts[name] = Adam(**value)
        elif name == "critic_hidden":
            parts["critic"] = mlp(latent_dim, value, 1)
        elif name == "generator_hidden":
            parts["generator"] = LatentGenerator(
                latent_dim, value, batch_norm=arguments.get("generator_batch_norm", False)
            )
        elif name != "generator_batch_norm":
            parts[name] = value
    return parts


def _vae(settings: dict[str, dict], image_shape: Shape, arguments: dict) -> VAE:
    networks = build_auto_encoder(settings, image_shape, outputs_per_latent=2)
    flows = {}
    for name, argument in (("prior", "prior"), ("posterior", "posterior_flow")):
        make, arguments = _pick(
            {"normal": lambda _: None, "flow": build_flow}, arguments, name, "model"
        )
        flows[argument] = make(settings)
    return VAE(
        *networks, settings["networks"]["latent_dim"], **flows, **_named_parts(settings, arguments)
    )


def _glann(settings: dict[str, dict], image_shape: Shape, arguments: dict) -> GLANN:
    _, decoder = build_auto_encoder(settings, image_shape)
    named = _named_parts(settings, arguments)
    return GLANN(named.pop("images"), decoder, settings["networks"]["latent_dim"], **named)


def _classifier(settings: dict[str, dict], image_shape: Shape, arguments: dict) -> Classifier:
    return Classifier(image_shape, **arguments)


# How each kind of model is put together.
MODELS: dict[str, Builder] = {
    "glf": builder(GLF, "flow"),
    "glf-mixture": builder(MixtureGLF, "flow"),
    "flowae": builder(FlowAE, "flow"),
    "vae": _vae,
    "two-stage-vae": builder(TwoStageVAE, outputs_per_latent=2),
    "ae": builder(AE),
    "aae": builder(AAE),
    "advae": builder(AdvAE),
    "wae-gan": builder(WAEGAN),
    "wae-mmd": builder(WAEMMD),
    "glann": _glann,
    "classifier": _classifier,
}


def build_model(settings: dict[str, dict], image_shape: Shape, seed: int = 0) -> Trainable:
    """Build the model of a recipe's settings for images (C, H, W), weights drawn from ``seed``."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        try:
            build, arguments = _pick(MODELS, settings["model"], "kind", "model")
            return build(settings, image_shape, arguments)
        except RecipeError:
            raise
        except NOT_A_MODEL as error:
            raise RecipeError(f"the settings do not give a model: {error}") from error
