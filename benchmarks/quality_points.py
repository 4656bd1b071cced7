"""What both sides of "time to quality" share: the protocol, a stopwatch, and the points that a
contender leaves behind.

A point is a pair of files in the contender's folder, `epoch-0003.npz` with the samples and
`epoch-0003.json` with what they cost. `done.json` is written last: a folder without it is of a
contender that was stopped from outside.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import typer

from glf_minimal.data import ImageDataset, load_dataset
from glf_minimal.files import atomic, write_json
from glf_minimal.provenance import git_commit, versions
from glf_minimal.recipes.catalogue import get_recipe

DONE = "done.json"
OUT_OF_TIME = "when its budget was spent"


class Entry(NamedTuple):
    """How tables call a contender, and the module of this package that makes its points."""

    title: str
    module: str


CONTENDERS = {
    "glf": Entry("GLF", "quality_ours"),
    "glf-mixture": Entry("GLF, noise from a mixture", "quality_ours"),
    "two-stage-vae": Entry("two-stage VAE", "quality_ours"),
    "pythae-ae-maf": Entry("pythae: AE, then MAF", "quality_pythae"),
    "pythae-rae-l2-gmm": Entry("pythae: RAE-L2, then mixture", "quality_pythae"),
}


class BudgetSpent(Exception):  # noqa: N818 (the end of a contender, no error)
    """A contender has used up its seconds."""


@dataclass(frozen=True)
class Protocol:
    """What is the same for all contenders. The encoder and the decoder are those of ``recipe``.

    Args:
        recipe: its networks are everybody's; its learning rate and batch size, too, but the rate
            stays constant, so that a snapshot is what a training of that length gives.
        epochs: after which of them a snapshot is taken, a sampler fitted, and samples drawn.
        budget: CPU seconds of training and of fitting one sampler, after which a contender makes no
            more points.
        sampler_epochs: passes over the latents in which pythae trains its flow.
        samples: how many are drawn at each point.
        limit: fewer training images, for a rehearsal.
        threads: of every contender.
    """

    recipe: str = "glf-small-mnist"
    epochs: tuple[int, ...] = (1, 2, 3, 5, 7, 10)
    budget: float = 480.0
    sampler_epochs: int = 10
    samples: int = 10_000
    limit: int | None = None
    threads: int = 1
    seed: int = 0
    lr: float = field(init=False, default=0.0)
    batch_size: int = field(init=False, default=0)

    def __post_init__(self):
        train = get_recipe(self.recipe).train
        object.__setattr__(self, "epochs", tuple(sorted(set(self.epochs))))
        object.__setattr__(self, "lr", train["lr"])
        object.__setattr__(self, "batch_size", train["batch_size"])

    @property
    def data_name(self) -> str:
        """The data set of the recipe."""
        return self.settings()["data"]["name"]

    @property
    def digest(self) -> str:
        """Keeps the files of different protocols apart."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:8]

    def settings(self) -> dict:
        """Of the recipe, by group."""
        return get_recipe(self.recipe).settings()

    def data(self) -> ImageDataset:
        """The training images."""
        data = load_dataset(self.data_name, "train")
        return ImageDataset(data.pixels[: self.limit], name=data.name)


class Stopwatch:
    """Adds up the seconds of its blocks, on the wall and on the processor; a block may be one that
    has just begun.
    """

    def __init__(self, seconds: float = 0.0, cpu_seconds: float = 0.0):
        self.seconds, self.cpu_seconds = seconds, cpu_seconds

    def __enter__(self) -> "Stopwatch":
        self._began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_) -> None:
        self.seconds += time.perf_counter() - self._began[0]
        self.cpu_seconds += time.process_time() - self._began[1]


def whole_numbers(text: str) -> tuple[int, ...]:
    """What an option holds that is a list, such as "1,2,5"."""
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"expected whole numbers with commas, got {text!r}") from error


def as_bytes(images: torch.Tensor) -> torch.Tensor:
    """Images in [0, 1], of any shape, as uint8."""
    return (images.float().clamp(0, 1) * 255).round().to(torch.uint8)


def point_path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04d}.json"


def write_point(
    folder: Path,
    epoch: int,
    train: Stopwatch,
    sampler: Stopwatch,
    draw: Stopwatch,
    images: torch.Tensor,
    parameters: int,
) -> None:
    """Keep images (N, C, H, W) in [0, 1], as bytes, and what it took to get at them.

    ``parameters`` are those that a sample depends on, of the decoder and of the sampler.
    """
    pixels = as_bytes(images).cpu().numpy()
    path = point_path(folder, epoch)
    with atomic(path.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, images=pixels)
    times = {
        f"{name}_{unit}": getattr(watch, unit)
        for name, watch in {"train": train, "sampler": sampler, "draw": draw}.items()
        for unit in ("seconds", "cpu_seconds")
    }
    write_json(path, {"epoch": epoch, "parameters": parameters} | times)


def contender_main(
    contenders: dict[str, Callable[[Path, Protocol], None]], packages: dict[str, str]
) -> None:
    """`python -m MODULE CONTENDER FOLDER PROTOCOL`: make all points of a contender in this process.

    ``packages`` are versions to report besides those of the usual libraries.
    """
    name, folder, text = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    given = {key: value for key, value in text.items() if key not in ("lr", "batch_size")}
    protocol = Protocol(**given)
    torch.set_num_threads(protocol.threads)
    folder.mkdir(parents=True, exist_ok=True)
    load, commit, stopped = [os.getloadavg()[0]], git_commit(), "after the last epoch"
    try:
        contenders[name](folder, protocol)
    except BudgetSpent:
        stopped = OUT_OF_TIME
    load.append(os.getloadavg()[0])
    facts = {
        "versions": versions() | packages,
        "commit": commit,
        "stopped": stopped,
        "load_average": load,
    }
    write_json(folder / DONE, facts)
