"""One update of a stage: the parameters that it moves, their optimizer, and its losses."""

from dataclasses import asdict

import torch
from torch import Tensor, nn

from glf_minimal.errors import DataError, RunError
from glf_minimal.files import plain_name
from glf_minimal.models.base import Trainable
from glf_minimal.models.stages import Update
from glf_minimal.training.folder import CHECKPOINT
from glf_minimal.training.parallel import Team


def losses_of(model: Trainable, update: Update, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The loss terms of an update on a batch; DataError where the data lacks what it needs.

    Codes that the batch does not have are those that the encoder gives now, without gradients.
    """
    if "codes" in update.inputs and "codes" not in batch and hasattr(model, "codes"):
        with torch.no_grad():
            batch = batch | {"codes": model.codes(batch["images"])}
    missing = [name for name in update.inputs if name not in batch]
    if missing:
        raise DataError(
            f"{type(model).__name__} trains on {missing[0]}, which this data does not have"
        )
    return getattr(model, update.losses)(*(batch[name] for name in update.inputs))


def trained_parameters(model: Trainable, update: Update) -> dict[str, dict[str, nn.Parameter]]:
    """What an update moves: by part and name, each parameter once, as parts may share some."""
    trained: dict[str, dict[str, nn.Parameter]] = {}
    seen: set[nn.Parameter] = set()
    for part in update.parts:
        if not isinstance(getattr(model, part, None), nn.Module):
            names = ", ".join(name for name, _ in model.named_children())
            raise ValueError(
                f"{type(model).__name__} has no part {part!r} to train; it has {names}"
            )
        trained[part] = {
            f"{part}.{plain_name(name)}": parameter
            for name, parameter in getattr(model, part).named_parameters()
            if parameter.requires_grad and parameter not in seen
        }
        seen |= set(trained[part].values())
    if not seen:
        raise ValueError(
            f"the parts {', '.join(update.parts)} have no parameters to train; are they all frozen?"
        )
    return trained


class Stepper:
    """One update of a stage with its parameters and its optimizer."""

    def __init__(self, model: Trainable, update: Update, prefix: str):
        self.model = model
        self.update = update
        self.prefix = prefix  # goes before the names of its terms
        self.parameters: dict[str, nn.Parameter] = {}
        groups = []
        for part, named in trained_parameters(model, update).items():
            self.parameters |= named
            if named:
                groups.append({"params": list(named.values()), **asdict(update.parts[part])})
        devices = {parameter.device.type for parameter in self.parameters.values()}
        self.fused = devices <= {"cpu", "cuda"}
        self.optimizer = torch.optim.Adam(groups, fused=self.fused)

    def step(
        self, batch: dict[str, Tensor], lr: float, bf16: bool, team: Team = Team()
    ) -> dict[str, Tensor]:
        """Move the parameters once (or ``repeats`` times); give the detached loss terms."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_factor"]
        for _ in range(self.update.repeats):
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(batch["images"].device.type, torch.bfloat16, enabled=bf16):
                losses = losses_of(self.model, self.update, batch)
            losses["loss"].backward(inputs=list(self.parameters.values()))
            team.average(p.grad for p in self.parameters.values() if p.grad is not None)
            self.optimizer.step()
        return {self.prefix + name: value.detach() for name, value in losses.items()}

    def state(self) -> dict[str, Tensor]:
        """The optimizer's state as named tensors: "<parameter>/<key>"."""
        state = self.optimizer.state
        return {
            f"{n}/{key}": value
            for n, p in self.parameters.items()
            for key, value in state[p].items()
        }

    def load(self, tensors: dict[str, Tensor], prefix: str) -> None:
        """Take over what ``state`` gave, its names prefixed.

        Moments get the memory format of their parameter.
        """
        for name in [name for name in tensors if name.startswith(prefix)]:
            parameter_name, key = name.removeprefix(prefix).rsplit("/", 1)
            parameter_name = plain_name(parameter_name)
            value = tensors[name]
            if parameter_name not in self.parameters:
                raise RunError(
                    f"{CHECKPOINT} is of a training that moved {parameter_name}, which this model "
                    "does not; train what was trained before, or give another folder"
                )
            parameter = self.parameters[parameter_name]
            if key == "step":
                like = torch.zeros((), device=parameter.device if self.fused else "cpu")
            else:
                like = torch.zeros_like(parameter)
            self.optimizer.state[parameter][key] = like.copy_(value)
