"""What the cases share: a folder to work in, the cache of the data, and what unbroken commands
leave behind.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stress.processes import Glf
from stress.reading import contents

# A one-stage model, one with two stages and snapshots, and one whose optimizers take turns.
TRAININGS = {
    "glf": ["--recipe", "glf-digits"],
    "flowae": [
        "--recipe",
        "flowae-slides-mnist",
        "--data",
        "digits",
        "--set",
        "train.snapshots=true",
    ],
    "aae": [
        "--recipe",
        "aae-slides-mnist",
        "--data",
        "digits",
        "--set",
        "model.critic_hidden=[32]",
    ],
}
SMALL = [
    "--set",
    "networks.hidden=[32]",
    "--set",
    "networks.latent_dim=4",
    "--set",
    "train.batch_size=64",
    "--set",
    "data.limit=256",
]
# Progress bars off, a checkpoint after every epoch.
QUIET = ["--no-progress", "--device", "cpu", "--set", "train.checkpoint_seconds=0"]
SHORT, LONG = 4, 16  # epochs: for faults at a step, and for those at a time


def train(name: str, cache: Path, epochs: int = SHORT, out: str = "run") -> list:
    """The arguments of a ``glf train``."""
    return [
        "train",
        *TRAININGS[name],
        *SMALL,
        *QUIET,
        "--epochs",
        epochs,
        "--root",
        cache,
        "--out",
        out,
    ]


@dataclass(frozen=True)
class Unbroken:
    """What a command leaves behind when nothing befalls it."""

    folder: Path
    contents: dict[str, object]
    steps: list[str]
    seconds: float


@dataclass
class Workshop:
    """A folder for all cases. ``seed`` decides the moments, for each case by its name."""

    folder: Path
    seed: int = 0
    made: dict[tuple, Unbroken] = field(default_factory=dict)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def rng(self, name: str) -> random.Random:
        return random.Random(f"{self.seed} {name}")

    def place(self, name: str) -> Path:
        """A new empty folder."""
        count = 1
        while (path := self.folder / f"{name}-{count}").exists():
            count += 1
        path.mkdir(parents=True)
        return path

    def unbroken(
        self, arguments: list, prepare: Callable[[Path], object] = lambda folder: None
    ) -> Unbroken:
        """Run a command once, in a folder where ``prepare`` has put what it needs; later calls give
        the same.
        """
        key = tuple(map(str, arguments))
        if key not in self.made:
            folder = self.place("unbroken")
            prepare(folder)
            started = time.monotonic()
            end = Glf(arguments, folder).end()
            end.expect(0)
            self.made[key] = Unbroken(
                folder, contents(folder), end.steps, time.monotonic() - started
            )
        return self.made[key]

    def trained(self, name: str = "glf", epochs: int = SHORT) -> Unbroken:
        """A finished training, in the folder ``run``."""
        return self.unbroken(train(name, self.cache, epochs))


@dataclass(frozen=True)
class Case:
    """``run(shop, rng)`` brings about some faults and gives how many; it raises LostError where
    something is lost.
    """

    name: str
    run: Callable[[Workshop, random.Random], int]
    quick: bool = False  # also part of --quick
