"""What a training step of GLF costs as one thing grows: latents, flow, images, batch, and the data
set.

Everything else is as in the paper's MNIST networks, batch 256. "peak" is the most memory that the
process had over its life, torch and Python included (about 500 MiB on a CPU before anything is
done).
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.compare import KEEP_FREED_MEMORY, Contender

# glibc asks the system for all memory above this many bytes, and gives it back when it is freed.
FRESH_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
SWEEPS = {
    "latent_dim": (8, 32, 128, 512),
    "blocks": (1, 4, 16, 64),
    "size": (16, 28, 32, 64),
    "batch": (32, 128, 512),
}


def step(
    device: str,
    latent_dim: int = 20,
    blocks: int = 4,
    size: int = 28,
    batch: int = 256,
    steps: int = 1,
) -> Callable[[], None]:
    """``steps`` training steps on images of ``size`` x ``size`` pixels."""
    from glf_minimal import GLF, conv_decoder, conv_encoder, two_sided_flow
    from glf_minimal.training.stepper import Stepper

    shape = (1, size, size)
    flow = two_sided_flow(latent_dim, hidden=64, blocks=blocks)
    model = (
        GLF(conv_encoder(shape, latent_dim), conv_decoder(shape, latent_dim), flow)
        .to(device)
        .train()
    )
    images = torch.rand(batch, *shape, device=device)
    stepper = Stepper(model, model.stages[0].updates[0], prefix="")

    def work() -> None:
        for _ in range(steps):
            stepper.step({"images": images}, lr=1e-3, bf16=False)

    work.facts = {
        "steps": steps,
        "images": steps * batch,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return work


def epoch_of_batches(device: str, images: int, size: int = 64) -> Callable[[], None]:
    """One pass over colour pictures kept in memory as bytes, batch 256, without a model."""
    from glf_minimal.data import ImageDataset

    # Random bytes: untouched zeros may not be memory at all, but one empty page many times over.
    data = ImageDataset(torch.randint(256, (images, 3, size, size), dtype=torch.uint8)).to(device)

    def work() -> None:
        order = torch.randperm(images).to(device)
        for start in range(0, images - 255, 256):
            data.batch(order[start : start + 256])

    work.facts = {"images": images}
    return work


def contenders(sweep: str, device: str) -> list[Contender]:
    """One contender for each value of what grows; "data" is CelebA's size of picture, up to its
    162,770, and once more with memory that the system gives for every batch and takes back.
    """
    if sweep == "data":
        function = "benchmarks.scale:epoch_of_batches"
        found = [
            Contender(f"{n:,} images", function, {"images": n}) for n in (10_000, 40_000, 162_770)
        ]
        if device == "cpu":
            name = "40,000 images, fresh memory for every batch"
            found.append(Contender(name, function, {"images": 40_000}, FRESH_MEMORY))
        return found
    steps = {"steps": 1 if device == "cpu" else 20}
    function = "benchmarks.scale:step"
    found = [
        Contender(f"{sweep} = {value}", function, {sweep: value, **steps})
        for value in SWEEPS[sweep]
    ]
    if sweep == "size" and device == "cpu":  # large images fault most
        largest = found[-1]
        name = f"{largest.name}, freed memory kept"
        found.append(replace(largest, name=name, environment=KEEP_FREED_MEMORY))
    return found
