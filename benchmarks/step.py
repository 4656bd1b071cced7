"""One training step of GLF in the paper's networks, batch 256: eager, bf16, compiled, with freed
memory kept, and the floor under it.

The contenders run the step of ``glf_minimal.training.loop`` itself. "floor" is the time that the
step's matrix products and convolutions take alone, in the same precision and layout; nothing that
trains these networks with the same library calls can be faster.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.compare import KEEP_FREED_MEMORY, Contender
from benchmarks.floor import products_only

BATCH = 256
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
# The first call compiles all of it, in its own process, whose seconds are counted.
COMPILE_AFRESH = {
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
}


def train(data: str, device: str, mode: str = "eager", steps: int = 2) -> Callable[[], None]:
    """``steps`` steps. ``mode``: "eager", "bf16", "compile", "compile bf16", "graph", "graph bf16",
    "floor" or "floor bf16". A graph is what torch makes of a step with mode="reduce-overhead": one
    CUDA graph each for forward and backward.
    """
    from glf_minimal.recipes.build import build_model
    from glf_minimal.recipes.catalogue import get_recipe
    from glf_minimal.training.stepper import Stepper

    shape = SHAPES[data]
    model = build_model(get_recipe(f"glf-{data}").settings(), shape).to(device).train()
    images, bf16 = torch.rand(BATCH, *shape, device=device), "bf16" in mode
    if "floor" in mode:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            products = products_only(model, lambda: model.losses(images))

        def work() -> None:
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                for _ in range(steps):
                    products()

    else:
        if "compile" in mode or "graph" in mode:
            model.losses = torch.compile(
                model.losses, mode="reduce-overhead" if "graph" in mode else "default"
            )
        stepper = Stepper(model, model.stages[0].updates[0], prefix="")

        def work() -> None:
            for _ in range(steps):
                stepper.step({"images": images}, lr=1e-3, bf16=bf16)

    work.facts = {"steps": steps, "images": steps * BATCH}
    return work


def contenders(data: str, device: str, has_bf16: bool) -> list[Contender]:
    modes = ["eager", "floor", "compile"] + (["graph"] if device == "cuda" else [])
    modes += [f"{mode} bf16" if mode != "eager" else "bf16" for mode in modes if has_bf16]
    steps = {"steps": 2 if device == "cpu" else 50}
    function = "benchmarks.step:train"
    found = []
    for mode in modes:
        environment = COMPILE_AFRESH if "compile" in mode else {}
        found.append(Contender(mode, function, {"data": data, "mode": mode, **steps}, environment))
    if device == "cpu":
        kept = [one for one in found if one.name in ("eager", "floor", "bf16")]
        found += [
            replace(one, name=f"{one.name}, freed memory kept", environment=KEEP_FREED_MEMORY)
            for one in kept
        ]
    return found
