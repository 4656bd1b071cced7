"""Training: one loop for every model, the settings it takes, the folder it writes."""

from glf_minimal.history import History, loss_terms
from glf_minimal.training.checks import InexactInverse
from glf_minimal.training.loop import fit
from glf_minimal.training.settings import TrainConfig, pick_device

__all__ = ["History", "InexactInverse", "TrainConfig", "fit", "loss_terms", "pick_device"]
