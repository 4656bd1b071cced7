"""`glf train`, killed: the same command goes on, and ends like an unbroken run."""

import random
import shutil
from collections.abc import Iterable
from pathlib import Path

from stress.processes import Fault, Glf, check, glf
from stress.reading import epochs_kept, same, watched
from stress.workshop import LONG, SHORT, TRAININGS, Case, Unbroken, Workshop, train


def goes_on(arguments: list, folder: Path, expected: Unbroken, faults: Iterable[Fault]) -> int:
    """Start a command until the faults, one a start, are used up, then to its end; how many of them
    it met.

    A fault whose step or size the command never comes to lets it end well.
    """
    met = 0
    with watched(folder):
        for fault in faults:
            kept = epochs_kept(folder / "run")
            end = Glf(arguments, folder, fault).end()
            check(epochs_kept(folder / "run")[: len(kept)] == kept, f"{fault} took epochs back")
            if not end.killed:
                end.expect(0)
                break
            met += 1
        glf(arguments, folder)
    same(folder, expected.contents)
    return met


def before_each_step(shop: Workshop, name: str, steps: slice = slice(None)) -> int:
    """Killed once before each step of its writing, each time from an empty folder."""
    expected, arguments, met = shop.trained(name), train(name, shop.cache), 0
    for step in range(len(expected.steps))[steps]:
        folder = shop.place(f"step-{name}")
        survived = goes_on(arguments, folder, expected, [Fault("kill", step)])
        check(survived == 1, f"it never came to step {step}")
        met += survived
        shutil.rmtree(folder)
    return met


def several_in_a_row(
    shop: Workshop, rng: random.Random, name: str, kind: str, kills: int = 4
) -> int:
    """Killed before random steps ("kill") or within random writes ("tear"), some times in a row."""
    expected = shop.trained(name)
    sizes = [path.stat().st_size for path in expected.folder.rglob("*.*") if path.stat().st_size]

    def faults():
        for _ in range(kills):
            # Just below the size of one of the files, or far below it; a checkpoint is three times
            # the weights.
            size = int(rng.choice(sizes) * rng.choice((1, 1, 3)) * rng.random())
            yield Fault(kind, rng.randrange(len(expected.steps) // 2), size)

    return goes_on(train(name, shop.cache), shop.place(f"row-{name}"), expected, faults())


def at_random_times(
    shop: Workshop, rng: random.Random, name: str, kills: int = 5, fresh: bool = False
) -> int:
    """SIGKILL at times that lie uniformly over the life of an unbroken run, in a row until one run
    is done.

    Then the rest of the kills is for another training. ``fresh``: each start is a new Python, as a
    user's.
    """
    expected, arguments, met = shop.trained(name, LONG), train(name, shop.cache, LONG), 0
    life = expected.seconds + 4 * fresh  # importing torch takes a while
    while met < kills:
        folder, done = shop.place(f"time-{name}"), False
        with watched(folder):
            while not done:
                process = Glf(arguments, folder, fresh=fresh)
                if met < kills:
                    process.runs_for(rng.uniform(0, life))
                    process.kill()
                end = process.end()
                done = not end.killed
                met += end.killed
        end.expect(0)
        same(folder, expected.contents)
    return met


def with_an_empty_cache(shop: Workshop, rng: random.Random, kills: int = 6) -> int:
    """Killed while it also writes the cache of the data."""
    arguments = train("glf", Path("cache"))
    expected = shop.unbroken(arguments)
    steps = [i for i, step in enumerate(expected.steps) if "cache" in step]
    check(len(steps) >= 3, f"the cache took {len(steps)} steps to write")
    met = 0
    for _ in range(kills):
        fault = Fault(rng.choice(("kill", "tear")), rng.choice(steps), rng.randrange(90_000))
        met += goes_on(arguments, shop.place("cached"), expected, [fault])
    return met


def cases() -> list[Case]:
    found = []
    for name in TRAININGS:
        found.append(
            Case(
                f"train {name}: killed before each step of {SHORT} epochs",
                lambda shop, _, n=name: before_each_step(shop, n),
            )
        )
        for kind, what, chains in (
            ("kill", "before random steps", 3),
            ("tear", "within writes", 5),
        ):
            found += [
                Case(
                    f"train {name}: killed {what}, in a row ({chain + 1})",
                    lambda shop, rng, n=name, k=kind: several_in_a_row(shop, rng, n, k),
                    quick=chain == 0,
                )
                for chain in range(chains)
            ]
        found += [
            Case(
                f"train {name}: killed at random times, in a row ({chain + 1})",
                lambda shop, rng, n=name: at_random_times(shop, rng, n),
                quick=chain == 0,
            )
            for chain in range(4)
        ]
    found += [
        Case(
            f"train glf: python started anew, killed at random times, in a row ({chain + 1})",
            lambda shop, rng: at_random_times(shop, rng, "glf", fresh=True),
        )
        for chain in range(3)
    ]
    return [
        *found,
        Case(
            "train glf: killed while it writes the cache of the data",
            with_an_empty_cache,
            quick=True,
        ),
    ]
