"""The settings of a training: what they are, how they are named, and where two sets of them differ.

A setting has one name everywhere, "group.key": on the command line, in a run's ``config.json``, in
records and in error messages.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from glf_minimal.errors import RecipeError, real_number, whole_number

# Settings of the machine and of whoever sits at it. They change nothing that a training leaves, so
# the command that trains a run again does not name them.
MACHINE_SETTINGS = ("train.device", "train.progress", "train.checkpoint_seconds")
# What may differ between the start of a training and its going on.
FREE_SETTINGS = (
    *MACHINE_SETTINGS,
    "train.snapshots",
    "made_with",
    "start.path",
)


def flatten(content: dict, levels: int | None = None, prefix: str = "") -> dict[str, object]:
    """Values by their dotted names, down to ``levels`` of names, or as deep as dictionaries lie.

    An empty dictionary above the last level leaves nothing.

    >>> flatten({"model": {"beta": 1.0, "adam": {"eps": 0.1}}})
    {'model.beta': 1.0, 'model.adam.eps': 0.1}
    >>> flatten({"model": {"beta": 1.0, "adam": {"eps": 0.1}}}, levels=2)
    {'model.beta': 1.0, 'model.adam': {'eps': 0.1}}
    """
    flat = {}
    for name, value in content.items():
        if isinstance(value, dict) and levels != 1:
            below = None if levels is None else levels - 1
            flat |= flatten(value, below, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def difference(
    old: dict,
    new: dict,
    levels: int | None = None,
    free: tuple[str, ...] = FREE_SETTINGS,
) -> dict[str, tuple]:
    """Where two sets of settings differ: (old, new) by name; a missing one counts as None.

    Values are compared as JSON has them, where tuples are lists.

    Args:
        old, new: settings, nested by group.
        levels: how deep names go, see ``flatten``.
        free: names that do not count, nor what lies below them.

    >>> old = {"train": {"epochs": 2, "seed": 0, "seeds": 3}}
    >>> difference(old, {"train": {"epochs": 3}}, free=("train.seed",))
    {'train.epochs': (2, 3), 'train.seeds': (3, None)}
    """
    old, new = (flatten(side, levels) for side in json.loads(json.dumps([old, new])))
    differences = {}
    for name in old | new:
        is_free = any(name == other or name.startswith(f"{other}.") for other in free)
        if not is_free and old.get(name) != new.get(name):
            differences[name] = (old.get(name), new.get(name))
    return differences


@dataclass(frozen=True)
class TrainConfig:
    """How long and how to train.

    Args:
        epochs: passes over the data, all stages together.
        batch_size: images a step; an incomplete last batch of an epoch is dropped.
        lr: Adam's learning rate (each part of a model may scale it).
        schedule: "constant", "cosine" (to 0 over each stage) or "halve" (every ``halve_every``
            epochs).
        halve_every: epochs between halvings, for the schedule of that name.
        precision: "float32", "bf16" (autocast) or "auto": bf16 where the hardware has it.
        device: "cpu", "cuda", … or "auto": the GPU if there is one.
        seed: decides the order of the batches and every random draw during training.
        checkpoint_seconds: shortest time between two checkpoints; 0 writes one after every epoch.
        snapshots: also keep the weights of some epochs of the last stage, the 1st, 2nd, 3rd, 5th,
            7th, 10th, … and the last, from which the run's evaluation draws a learning curve.
        progress: show a progress bar.
    """

    epochs: int = 30
    batch_size: int = 128
    lr: float = 1e-3
    schedule: str = "constant"
    halve_every: int = 50
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0
    checkpoint_seconds: float = 30.0
    snapshots: bool = False
    progress: bool = True

    def __post_init__(self):
        checked: dict[str, object] = {
            name: whole_number(name, getattr(self, name), least)
            for name, least in {"epochs": 1, "batch_size": 1, "halve_every": 1, "seed": 0}.items()
        }
        positive = "a positive number"
        checked["lr"] = real_number("lr", self.lr, positive)
        checked["checkpoint_seconds"] = real_number("checkpoint_seconds", self.checkpoint_seconds)
        checked["device"] = str(self.device)  # may be a torch.device
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # the dataclass is frozen
        if not 0 < self.lr < math.inf:
            raise RecipeError(f"lr: expected {positive}, got {self.lr}")
        if self.seed >= 2**32:
            raise RecipeError(f"seed: expected less than 2^32, got {self.seed}")
        options = {
            "schedule": ("constant", "cosine", "halve"),
            "precision": ("auto", "float32", "bf16"),
        }
        for name, known in options.items():
            if getattr(self, name) not in known:
                raise RecipeError(f"{name}: expected one of {known}, got {getattr(self, name)!r}")

    def lr_factor(self, epoch: int, progress: float) -> float:
        """What the schedule multiplies the rate by, in epoch ``epoch`` of a stage.

        ``progress`` in [0, 1) says how far the stage has come.
        """
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        return 0.5 ** (epoch // self.halve_every) if self.schedule == "halve" else 1.0


def pick_device(name: str = "auto") -> torch.device:
    """The device of this name; "auto" is the GPU if there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = name.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise RecipeError(
            f"device: expected 'auto', 'cpu', 'cuda', 'cuda:0', … or 'mps'; got {name!r}"
        )
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        raise RecipeError(
            f"device: torch has no device {name!r} here; use 'cpu' or 'auto'"
        ) from error


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Whether to train under bf16 autocast.

    Without bf16 instructions a CPU is many times slower with it.
    """
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    cpu_info = Path("/proc/cpuinfo")
    flags = (
        cpu_info.read_text(encoding="utf-8") if device.type == "cpu" and cpu_info.exists() else ""
    )
    return "avx512_bf16" in flags or "amx_bf16" in flags
