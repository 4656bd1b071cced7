"""The models, one file a family."""

from glf_minimal.models.base import Adam, LatentModel, Stage, Update
from glf_minimal.models.glf import GLF

__all__ = ["GLF", "Adam", "LatentModel", "Stage", "Update"]
