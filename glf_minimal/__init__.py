"""Generative Latent Flow and its relatives, small enough to read. See the book for the derivation."""

from glf_minimal.config import TrainConfig
from glf_minimal.data import ImageDataset, load_dataset
from glf_minimal.errors import DataError, DivergenceError, GLFError, RecipeError, RunError
from glf_minimal.flows import AffineCoupling, Flow, Permutation, one_sided_flow, two_sided_flow
from glf_minimal.models import GLF, Adam, LatentModel, Stage, Update
from glf_minimal.networks import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder
from glf_minimal.training import fit

__version__ = "0.1.0"

__all__ = [
    "GLF",
    "Adam",
    "AffineCoupling",
    "DataError",
    "DivergenceError",
    "Flow",
    "GLFError",
    "ImageDataset",
    "LatentModel",
    "Permutation",
    "RecipeError",
    "RunError",
    "Stage",
    "TrainConfig",
    "Update",
    "conv_decoder",
    "conv_encoder",
    "fit",
    "load_dataset",
    "mlp_decoder",
    "mlp_encoder",
    "one_sided_flow",
    "two_sided_flow",
]
