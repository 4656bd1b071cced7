"""The models, one file a family."""

from glf_minimal.models.adversarial import AAE, AdvAE
from glf_minimal.models.ae import AE
from glf_minimal.models.base import LatentModel, Trainable
from glf_minimal.models.glann import GLANN
from glf_minimal.models.glf import GLF
from glf_minimal.models.mixture_glf import MixtureGLF
from glf_minimal.models.other_flows import SplineCoupling, mixture_flow, spline_flow
from glf_minimal.models.priors import (
    FlowOnNoise,
    GaussianMixture,
    LatentGenerator,
    LearnedMixture,
    StandardNormal,
)
from glf_minimal.models.stages import Adam, Stage, Update
from glf_minimal.models.two_stage import FlowAE, TwoStageVAE
from glf_minimal.models.vae import VAE
from glf_minimal.models.wae import WAEGAN, WAEMMD

__all__ = [
    "AAE",
    "AE",
    "GLANN",
    "GLF",
    "VAE",
    "WAEGAN",
    "WAEMMD",
    "Adam",
    "AdvAE",
    "FlowAE",
    "FlowOnNoise",
    "GaussianMixture",
    "LatentGenerator",
    "LatentModel",
    "LearnedMixture",
    "MixtureGLF",
    "SplineCoupling",
    "Stage",
    "StandardNormal",
    "Trainable",
    "TwoStageVAE",
    "Update",
    "mixture_flow",
    "spline_flow",
]
