"""Full disks, folders that are read-only or gone, two trainings in one folder: a clear line, and
nothing is lost.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stress.processes import MOVED, Fault, Glf, check, glf
from stress.reading import epochs_kept, old_or_new, same, watched
from stress.reproducing import reproduce
from stress.workshop import LONG, TRAININGS, Case, Workshop, train


def full(shop: Workshop, rng: random.Random, name: str, times: int = 4) -> int:
    """The disk fills up at random steps of a training, some times in a row; then there is space
    again.
    """
    expected, folder, met = shop.trained(name), shop.place(f"full-{name}"), 0
    arguments, largest = (
        train(name, shop.cache),
        max(p.stat().st_size for p in expected.folder.rglob("*.*")),
    )
    with watched(folder):
        for _ in range(times):
            kept = epochs_kept(folder / "run")
            size = rng.choice((0, 1000, rng.randrange(3 * largest)))
            end = Glf(
                arguments, folder, Fault("full", rng.randrange(len(expected.steps) // 2), size)
            ).end()
            end.expect(1 if end.code else 0)
            check(
                "is there space" in end.err or not end.code, f"a full disk was called {end.err!r}"
            )
            met += bool(end.code)
            check(epochs_kept(folder / "run")[: len(kept)] == kept, "a full disk took epochs back")
            check(
                not list(folder.rglob(".*.tmp")),
                "what could not be written to its end was left there",
            )
        glf(arguments, folder)
    same(folder, expected.contents)
    return met


def full_for_reproduce(shop: Workshop, rng: random.Random, times: int = 3) -> int:
    """A cell that finds the disk full has failed; with space again, it is filled."""
    arguments, folder, met = reproduce(shop.cache), shop.place("full-reproduce"), 0
    expected = shop.unbroken(arguments)
    with watched(folder):
        for _ in range(times):
            fault = Fault(
                "full",
                rng.randrange(len(expected.steps) // 2),
                rng.choice((0, 1000, rng.randrange(60_000))),
            )
            end = Glf(arguments, folder, fault).end()
            end.expect(1 if end.code else 0)
            met += bool(end.code)
            old_or_new(folder / "data", {}, contents_below(expected.contents, "data"))
        glf(arguments, folder)
    same(folder, expected.contents)
    return met


def contents_below(found: dict[str, object], folder: str) -> dict[str, object]:
    return {
        name.removeprefix(f"{folder}/"): content
        for name, content in found.items()
        if name.startswith(f"{folder}/")
    }


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """A disk of so many bytes, mounted at a folder; gives False where one may not mount."""
    options = ["-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if (
        os.geteuid()
        or not shutil.which("mount")
        or subprocess.run(["mount", *options], capture_output=True).returncode
    ):
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def small_disks(
    shop: Workshop, name: str, sizes: tuple[float, ...] = (0.03, 0.5, 1.1, 1.7)
) -> int | None:
    """On real disks that are too small; sizes in checkpoints. Then the disk grows."""
    expected, met = shop.trained(name), 0
    checkpoint = 3 * (expected.folder / "run" / "model.safetensors").stat().st_size
    for part in sizes:
        folder = shop.place("disk")
        with small_disk(folder, int(part * checkpoint)) as mounted:
            if not mounted:
                return None
            with watched(folder):
                end = Glf(train(name, shop.cache), folder).end()
                end.expect(1)
                check("is there space" in end.err, f"a full disk was called {end.err!r}")
                check(
                    not list(folder.rglob(".*.tmp")),
                    "what could not be written to its end was left there",
                )
                subprocess.run(["mount", "-o", "remount,size=50m", str(folder)], check=True)
                glf(train(name, shop.cache), folder)
            same(folder, expected.contents)
            met += 1
    return met


def two_at_once(shop: Workshop, rng: random.Random, name: str) -> int:
    """Of two trainings started into one folder one goes on, the other says it is in use."""
    expected, folder, arguments = (
        shop.trained(name, LONG),
        shop.place("two"),
        train(name, shop.cache, LONG),
    )
    with watched(folder):
        first = Glf(arguments, folder)
        first.runs_for(rng.choice((0, rng.uniform(0, expected.seconds / 2))))
        ends = [process.end() for process in (Glf(arguments, folder), first)]
    codes = [end.code for end in ends]
    check(
        sorted(codes) == [0, 1],
        f"two trainings at once ended with {codes}: {[end.err[-300:] for end in ends]}",
    )
    for end in ends:
        end.expect(end.code)
    check(
        "another run is writing" in ends[codes.index(1)].err,
        "the second one did not say that the folder is in use",
    )
    same(folder, expected.contents)
    return 1


def beside_another(shop: Workshop, rng: random.Random) -> int:
    """`glf sample` over and over while the training's command finds everything done."""
    folder = shop.place("beside")
    shutil.copytree(shop.trained().folder / "run", folder / "run")
    with watched(folder):
        for _ in range(3):
            sampling, training = (
                Glf(["sample", "run"], folder),
                Glf(train("glf", shop.cache), folder),
            )
            for process in (training, sampling):
                process.end().expect(0)
    return 3


def moved_away(shop: Workshop, name: str, steps: slice = slice(None)) -> int:
    """The folder is moved away before each step of a training's writing; where it is then, the
    training goes on.
    """
    expected, met = shop.trained(name), 0
    places = [i for i, step in enumerate(expected.steps) if "run/" in step]
    for step in places[steps]:
        folder = shop.place("moved")
        end = Glf(train(name, shop.cache), folder, Fault("move", step)).end()
        finished = (folder / MOVED / "model.safetensors").exists()
        end.expect(0 if finished else 1)
        check(not (folder / "run").exists(), "it made the folder again")
        glf(train(name, shop.cache, out=MOVED), folder)
        (folder / MOVED).rename(folder / "run")
        same(folder, expected.contents)
        met += 1
    return met


def without_config(shop: Workshop, rng: random.Random, name: str) -> int:
    """config.json is gone when a killed training is to go on: nothing is touched; with it, all is
    well.
    """
    expected, folder, arguments = shop.trained(name), shop.place("config"), train(name, shop.cache)
    steps = [i for i, step in enumerate(expected.steps) if step.startswith("rename run/.samples")]
    check(
        Glf(arguments, folder, Fault("kill", rng.choice(steps))).end().killed, "it was not killed"
    )
    (folder / "run/config.json").rename(folder / "config.json")
    before = {path: path.read_bytes() for path in folder.rglob("[!.]*") if path.is_file()}
    end = Glf(arguments, folder).end()
    end.expect(1)
    check("config.json" in end.err, f"it did not name the file: {end.err!r}")
    check(
        {path: path.read_bytes() for path in folder.rglob("[!.]*") if path.is_file()} == before,
        "it touched files",
    )
    (folder / "config.json").rename(folder / "run/config.json")
    glf(arguments, folder)
    same(folder, expected.contents)
    return 1


def read_only(shop: Workshop, name: str, steps: slice = slice(None)) -> int:
    """The folder becomes read-only before each step of a training; once it is writable, the same
    command goes on.
    """
    expected, arguments, met = shop.trained(name), train(name, shop.cache), 0
    places = [i for i, step in enumerate(expected.steps) if "run/" in step]
    for step in places[steps]:
        folder = shop.place("read-only")
        end = Glf(arguments, folder, Fault("read-only", step), bound=True).end()
        end.expect(1 if end.code else 0)
        if not list(folder.rglob("model.safetensors")):
            check(end.code == 1, "it ended well without its weights")
        for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            path.chmod(0o755)
        glf(arguments, folder)
        same(folder, expected.contents)
        met += 1
    return met


def cases() -> list[Case]:
    found = []
    for place, name in enumerate(TRAININGS):
        first, third = (
            place == 0,
            slice(place, None, 3),
        )  # of the steps: all of them among three trainings
        found += [
            *(
                Case(
                    f"train {name}: the disk fills up, in a row ({i + 1})",
                    lambda s, r, n=name: full(s, r, n),
                    i == 0,
                )
                for i in range(3)
            ),
            Case(
                f"train {name}: disks that are too small",
                lambda s, _, n=name: small_disks(s, n),
                first,
            ),
            Case(
                f"train {name}: the folder is moved away",
                lambda s, _, n=name, t=third: moved_away(s, n, t),
            ),
            Case(
                f"train {name}: the folder becomes read-only",
                lambda s, _, n=name, t=third: read_only(s, n, t),
            ),
            Case(f"train {name}: two at once", lambda s, r, n=name: two_at_once(s, r, n), first),
            Case(
                f"train {name}: config.json is gone",
                lambda s, r, n=name: without_config(s, r, n),
                first,
            ),
        ]
    found += [
        Case(f"reproduce: the disk fills up, in a row ({i + 1})", full_for_reproduce, i == 0)
        for i in range(3)
    ]
    return [*found, Case("sample while the same run is trained again", beside_another, quick=True)]
