"""Training in several processes at once, started by ``torchrun`` or ``accelerate launch``: data
parallelism.

Each process has the whole model on a device of its own and takes its part of every batch.
Gradients, the statistics of batch norm and the losses are averaged over the processes, so that N of
them with batches of B images train as one does with batches of N * B, up to rounding. Only what a
loss draws at random (a VAE's noise) is drawn otherwise.
"""

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from glf_minimal.training.settings import pick_device


@dataclass(frozen=True)
class Team:
    """This process among those that train together: ``rank`` counts them from 0, and the first one
    writes the files.
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
            together = torch.cat(
                [tensor.flatten() for tensor in tensors]
            )  # one message, not one for each
            dist.all_reduce(together)
            for tensor, mean in zip(
                tensors, (together / self.size).split([t.numel() for t in tensors]), strict=True
            ):
                tensor.copy_(mean.view_as(tensor))

    def wait(self) -> None:
        """Until all processes have come to this point."""
        if self.size > 1:
            dist.barrier()


def join(device: str) -> tuple[Team, torch.device]:
    """Find the other processes by the variables that the launcher sets; without them, a team of
    one.

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


class _Mean(torch.autograd.Function):
    """The mean of a tensor over the processes; each gets the mean of all their gradients back."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x / dist.get_world_size()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return _Mean.forward(ctx, gradient)


class SharedBatchNorm(_BatchNorm):
    """Batch norm of any dimension whose statistics, in train mode, are those of all processes'
    batches together.

    ``torch.nn.SyncBatchNorm`` is the same for GPUs alone.
    """

    def _check_input_dim(self, x: Tensor) -> None: ...

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape, normalized over all but the channels C."""
        if not self.training:
            return super().forward(x)
        dims, shape = [0, *range(2, x.ndim)], [1, -1] + [1] * (x.ndim - 2)
        wide, size = x.float(), dist.get_world_size()
        mean = _Mean.apply(wide.mean(dims))
        variance = _Mean.apply((wide - mean.view(shape)).square().mean(dims))
        if self.track_running_stats:
            with torch.no_grad():
                count = size * x.numel() / x.shape[1]
                self.num_batches_tracked += 1
                rate = self.momentum or 1 / self.num_batches_tracked.item()
                self.running_mean.lerp_(mean, rate)
                self.running_var.lerp_(variance * count / (count - 1), rate)
        normal = (wide - mean.view(shape)) / (variance + self.eps).sqrt().view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(x.dtype)


def share_batch_norm(model: nn.Module) -> None:
    """Make every batch norm of a model a ``SharedBatchNorm``, in place: its weights and its users
    stay.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = SharedBatchNorm
