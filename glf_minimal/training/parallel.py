"""Training in several processes at once: data parallelism.

The processes are started by ``torchrun`` or ``accelerate launch``.

Each process has the whole model on a device of its own and takes its part of every batch.
Gradients and losses are averaged over the processes, and so are, on GPUs, the statistics of batch
norm, so that N of them with batches of B images train as one does with batches of N * B, up to
rounding. Only what a loss draws at random (a VAE's noise) is drawn otherwise. On CPUs, where torch
has no such batch norm, several processes train models without batch norm only.
"""

import atexit
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from glf_minimal.errors import RecipeError
from glf_minimal.training.settings import pick_device


@dataclass(frozen=True)
class Team:
    """This process among those that train together.

    ``rank`` counts them from 0; the first one writes the files.
    """

    rank: int = 0
    size: int = 1

    def share(self, index: Tensor) -> Tensor:
        """The part of a batch, given by its places (size * B,), that this process takes: (B,)."""
        return index.chunk(self.size)[self.rank]

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        if self.size > 1 and (tensors := list(tensors)):
            # One message, not one for each.
            together = torch.cat([tensor.flatten() for tensor in tensors])
            dist.all_reduce(together)
            means = (together / self.size).split([tensor.numel() for tensor in tensors])
            for tensor, mean in zip(tensors, means, strict=True):
                tensor.copy_(mean.view_as(tensor))

    def wait(self) -> None:
        """Until all processes have come to this point."""
        if self.size > 1:
            dist.barrier()


def join(device: str) -> tuple[Team, torch.device]:
    """Find the other processes by the variables that the launcher sets.

    Without them, this is a team of one.

    Args:
        device: as in ``TrainConfig``; "cuda" and "auto" give each process of a machine a GPU of its
            own.
    """
    chosen = pick_device(device)
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return Team(), chosen
    if chosen.type == "cuda":
        chosen = pick_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return Team(dist.get_rank(), dist.get_world_size()), chosen


@contextmanager
def shared_batch_norm(model: nn.Module, team: Team, device: torch.device) -> Iterator[None]:
    """While the block lasts, batch norms use the statistics of all processes' batches together.

    They are then torch's ``SyncBatchNorm``, which is for GPUs alone.

    Afterwards the model has its own modules again, with the statistics that were gathered.
    RecipeError where several processes on CPUs train a model with batch norm.
    """
    own = [
        (parent, name, module)
        for parent in model.modules()
        for name, module in parent.named_children()
        if isinstance(module, _BatchNorm)
    ]
    if team.size == 1 or not own:
        yield
        return
    if device.type != "cuda":
        raise RecipeError(
            "this model has batch norm, whose statistics several processes share on GPUs only; "
            "train it in one process, or take networks and a flow without batch norm"
        )
    nn.SyncBatchNorm.convert_sync_batchnorm(model)
    try:
        yield
    finally:
        for parent, name, module in own:
            module.train(getattr(parent, name).training)
            setattr(parent, name, module)  # its weights and statistics are the converted one's
