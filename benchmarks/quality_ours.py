"""The contenders of "time to quality" from this package, each in a process of its own."""

import copy
import time
from functools import partial
from pathlib import Path

import torch

from benchmarks.quality_points import (
    CONTENDERS,
    BudgetSpent,
    Protocol,
    Stopwatch,
    contender_main,
    point_path,
    write_point,
)
from glf_minimal.data import ImageDataset
from glf_minimal.evaluation import Protocol as DrawingProtocol
from glf_minimal.evaluation import generate
from glf_minimal.files import load_weights, read_csv, read_tensors
from glf_minimal.models import LatentModel
from glf_minimal.recipes.build import build_model
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.training.batches import fit_latents
from glf_minimal.training.folder import HISTORY, SNAPSHOTS
from glf_minimal.training.loop import fit
from glf_minimal.training.settings import TrainConfig


def make_points(system: str, folder: Path, protocol: Protocol) -> None:
    """Train, then take one snapshot after the other and draw from it. What was made before is not
    made again.

    A second stage, or a mixture, is a model's sampler: it is fitted to each snapshot anew. The
    second VAE gets as many epochs as the snapshot has seen, which are the equal shares of its
    recipe.
    """
    data = protocol.data()
    recipe = get_recipe(protocol.recipe.replace("glf", system, 1))
    model = build_model(recipe.settings(), data.image_shape, protocol.seed)
    first, *second = model.stages
    model.stages = (first,)
    mixture, model.fits_latents = model.fits_latents, False
    spent = train_within_budget(model, data, protocol, folder / "run")
    model.fits_latents = mixture
    sampler = Stopwatch()
    for epoch in protocol.epochs:
        path = folder / "run" / SNAPSHOTS / f"epoch-{epoch:04d}.safetensors"
        if not path.exists():
            break
        tensors, facts = read_tensors(path)
        train = Stopwatch(
            *(sum(row[unit] for row in facts["history"]) for unit in ("seconds", "cpu_seconds"))
        )
        if train.cpu_seconds + sampler.cpu_seconds > protocol.budget:
            raise BudgetSpent
        if point_path(folder, epoch).exists():
            continue
        snapshot = copy.deepcopy(model)
        load_weights(snapshot, tensors, path)
        sampler, draw = Stopwatch(), Stopwatch()
        if second:
            snapshot.stages = tuple(second)
            with sampler:
                fit(snapshot, data, train_config(protocol, epoch))
        if mixture:
            with sampler:
                fit_latents(snapshot, data)
        with draw, torch.no_grad():
            images = torch.cat(list(generate(snapshot, drawing(protocol))))
        write_point(folder, epoch, train, sampler, draw, images, sampling_parameters(snapshot))
    if spent:
        raise BudgetSpent


def train_config(protocol: Protocol, epochs: int, **settings) -> TrainConfig:
    """Constant rate, float32, so that nobody has half precision to help."""
    return TrainConfig(
        epochs=epochs,
        batch_size=protocol.batch_size,
        lr=protocol.lr,
        precision="float32",
        device="cpu",
        seed=protocol.seed,
        progress=False,
        **settings,
    )


def sampling_parameters(model: LatentModel) -> int:
    """How many numbers a sample depends on: all of the model but its encoder."""
    return sum(
        tensor.numel()
        for name, tensor in model.state_dict().items()
        if not name.startswith("encoder.") and tensor.is_floating_point()
    )


def drawing(protocol: Protocol) -> DrawingProtocol:
    return DrawingProtocol(samples=protocol.samples, seed=protocol.seed)


def train_within_budget(
    model: LatentModel, data: ImageDataset, protocol: Protocol, out: Path
) -> bool:
    """Train until the last epoch or the end of the budget, which is looked at before each step;
    says which it was.

    The run's folder keeps the snapshots, so whatever stops the training leaves those that there
    are.
    """
    before = (
        sum(row["cpu_seconds"] for row in read_csv(out / HISTORY))
        if (out / HISTORY).exists()
        else 0.0
    )
    began = time.process_time()

    def look_at_the_clock(*_) -> None:
        if model.encoder.training and before + time.process_time() - began > protocol.budget:
            raise BudgetSpent

    hook = model.encoder.register_forward_pre_hook(look_at_the_clock)
    try:
        fit(
            model,
            data,
            train_config(protocol, max(protocol.epochs), checkpoint_seconds=0, snapshots=True),
            out,
        )
    except BudgetSpent:
        return True
    finally:
        hook.remove()
        model.eval()
    return False


OURS = {
    name: partial(make_points, name)
    for name, contender in CONTENDERS.items()
    if contender.module == "quality_ours"
}

if __name__ == "__main__":
    contender_main(OURS, {})
