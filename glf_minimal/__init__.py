"""Generative Latent Flow and its relatives, small enough to read. The book derives them."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors; a program gets each name from __getattr__
    from glf_minimal.data import ImageDataset, load_dataset
    from glf_minimal.errors import (
        DataError,
        DivergenceError,
        GLFError,
        MetricError,
        RecipeError,
        RunError,
    )
    from glf_minimal.evaluation import Protocol, evaluate
    from glf_minimal.flows import AffineCoupling, Flow, Permutation, one_sided_flow, two_sided_flow
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
        LatentModel,
        MixtureGLF,
        Stage,
        TwoStageVAE,
        Update,
    )
    from glf_minimal.networks import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder
    from glf_minimal.training import TrainConfig, fit

__version__ = "0.1.0"

__all__ = [
    "AAE",
    "AE",
    "Adam",
    "AdvAE",
    "AffineCoupling",
    "DataError",
    "DivergenceError",
    "Flow",
    "FlowAE",
    "GLANN",
    "GLF",
    "GLFError",
    "ImageDataset",
    "LatentModel",
    "MetricError",
    "MixtureGLF",
    "Permutation",
    "Protocol",
    "RecipeError",
    "RunError",
    "Stage",
    "TrainConfig",
    "TwoStageVAE",
    "Update",
    "VAE",
    "WAEGAN",
    "WAEMMD",
    "conv_decoder",
    "conv_encoder",
    "evaluate",
    "fit",
    "load_dataset",
    "mlp_decoder",
    "mlp_encoder",
    "one_sided_flow",
    "two_sided_flow",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used.

    torch takes seconds to import, and 'glf --help' needs none of it.
    """
    if name in __all__:
        for module in ("errors", "data", "flows", "networks", "models", "training", "evaluation"):
            if hasattr(home := import_module(f"{__name__}.{module}"), name):
                globals()[name] = getattr(home, name)
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
