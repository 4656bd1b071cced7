"""`glf reproduce`, killed or started twice: records are whole, the same, and no finished epoch is
trained again.
"""

import random
from pathlib import Path

from glf_minimal.reproduction.plan import Experiment, Row
from stress.processes import Fault, Glf, check, glf
from stress.reading import epochs_kept, same, watched
from stress.workshop import Case, Unbroken, Workshop

FEW = {"samples": 40, "batch_size": 20}
ROWS = (
    Row("glf", "GLF", "glf-digits", {"train.snapshots": True}, FEW, extras=("interpolation.png",)),
    Row("beta", "GLF, β = 2", "glf-digits", {"model.beta": 2.0}, FEW),
    Row(
        "stretched", "GLF, stretched", "glf-digits", {}, FEW | {"stretch": True}
    ),  # of the first row's training
)
EXPERIMENT = Experiment(
    "stress", "an experiment to be disturbed", {"digits": ROWS}, seeds=1
)  # each process gets it
EPOCHS = 6


def reproduce(cache: Path) -> list:
    """The arguments of a ``glf reproduce``."""
    options = [
        "--root",
        cache,
        "--device",
        "cpu",
        "--no-progress",
        "--set",
        f"train.epochs={EPOCHS}",
    ]
    return ["reproduce", EXPERIMENT.name, *options, "--set", "data.limit=256"]


def _kept(folder: Path) -> dict[Path, list[dict]]:
    return {run: epochs_kept(run) for run in (folder / "runs").glob("*") if run.is_dir()}


def _finish(shop: Workshop, folder: Path, expected: Unbroken) -> None:
    """The last start: fills what is missing, then nothing is."""
    arguments = reproduce(shop.cache)
    glf(arguments, folder)
    again = glf(arguments, folder).out.splitlines()
    check(
        again[-1] == f"{len(ROWS)} recorded before", f"after its end, it still had to do: {again}"
    )
    same(folder, expected.contents)


def goes_on(shop: Workshop, faults: list[Fault | float]) -> int:
    """Killed by each fault, or so many seconds after its start, in a row; then to its end."""
    arguments, expected, met = reproduce(shop.cache), shop.unbroken(reproduce(shop.cache)), 0
    folder = shop.place("reproduce")
    with watched(folder):
        for fault in faults:
            process = Glf(arguments, folder, fault if isinstance(fault, Fault) else None)
            if not isinstance(fault, Fault):
                process.runs_for(fault)
                process.kill()
            end = process.end()
            if not end.killed:
                end.expect(0)
            met += end.killed
        kept = _kept(folder)
        _finish(shop, folder, expected)
    for run, history in kept.items():  # seconds and all: these epochs were not trained again
        check(
            epochs_kept(run)[: len(history)] == history, f"{run} has trained finished epochs again"
        )
    return met


def killed_at_steps(shop: Workshop, rng: random.Random, kills: int = 4) -> int:
    """Before random steps and within writes; more of them early, as each start has fewer steps left
    to do.
    """
    steps = len(shop.unbroken(reproduce(shop.cache)).steps)
    kinds = [rng.choice(("kill", "kill", "tear")) for _ in range(kills)]
    return goes_on(
        shop,
        [
            Fault(kind, rng.randrange(steps // (2 + i)), rng.randrange(60_000))
            for i, kind in enumerate(kinds)
        ],
    )


def killed_while_recording(shop: Workshop, steps: slice = slice(None)) -> int:
    """Before each step that writes to the records."""
    places = [
        i
        for i, step in enumerate(shop.unbroken(reproduce(shop.cache)).steps)
        if "data/results" in step
    ]
    return sum(goes_on(shop, [Fault("kill", step)]) for step in places[steps])


def killed_at_times(shop: Workshop, rng: random.Random, kills: int = 3) -> int:
    life = shop.unbroken(reproduce(shop.cache)).seconds
    return goes_on(shop, [rng.uniform(0, life) for _ in range(kills)])


def two_at_once(shop: Workshop, rng: random.Random) -> int:
    """Started together: each trains what the other does not, and a third finds everything done or
    does the rest.
    """
    folder, expected = shop.place("shared"), shop.unbroken(reproduce(shop.cache))
    with watched(folder):
        first = Glf(reproduce(shop.cache), folder)
        first.runs_for(rng.uniform(0, 0.5))
        ends = [process.end() for process in (Glf(reproduce(shop.cache), folder), first)]
        for end in ends:
            end.expect(0)
        trained = [[line for line in end.out.splitlines() if ".json" in line] for end in ends]
        check(len(trained[0]) + len(trained[1]) >= 2, f"two at once made {trained}")
        kept = _kept(folder)
        _finish(shop, folder, expected)
    check(kept == _kept(folder), "what two had trained was trained again")
    return 1


def cases() -> list[Case]:
    return [
        *(
            Case(
                f"reproduce: killed at steps and within writes, in a row ({i + 1})",
                killed_at_steps,
                i == 0,
            )
            for i in range(5)
        ),
        Case(
            "reproduce: killed before each step that writes records",
            lambda shop, _: killed_while_recording(shop),
        ),
        *(
            Case(f"reproduce: killed at random times, in a row ({i + 1})", killed_at_times, i == 0)
            for i in range(4)
        ),
        *(Case(f"reproduce: two at once ({i + 1})", two_at_once, i == 0) for i in range(3)),
    ]
