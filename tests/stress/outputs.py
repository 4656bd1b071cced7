"""`glf sample`, `glf export` and `glf evaluate`, killed: what they write is as it was, or whole and
new.
"""

import random
import shutil
from pathlib import Path

from stress.processes import Fault, Glf, check, glf
from stress.reading import contents, old_or_new, same, watched
from stress.workshop import Case, Workshop

COMMANDS = {
    "sample": ["sample", "run", "--device", "cpu"],
    "export": ["export", "run"],
    "evaluate": ["evaluate", "run", "--samples", "20", "--device", "cpu", "--record", "stress/row"],
}
OTHERWISE = {
    "sample": ["--seed", "1"],
    "export": [],
    "evaluate": ["--temperature", "0.5"],
}  # gives another output


def killed(
    shop: Workshop, rng: random.Random, name: str, replaces: bool, tears: int = 4, every: int = 1
) -> int:
    """Killed before each step of its writing and within some writes, where there was no output or
    another one.
    """
    arguments = [*COMMANDS[name], *([] if name == "sample" else ["--root", shop.cache])]

    def copy_run(folder: Path) -> None:
        shutil.copytree(shop.trained().folder / "run", folder / "run")

    expected, before = shop.unbroken(arguments, copy_run), shop.place(f"before-{name}")
    copy_run(before)
    if replaces:
        glf([*arguments, *OTHERWISE[name]], before)
    old, met, again = contents(before), 0, shop.place(f"again-{name}")
    shutil.copytree(before, again, dirs_exist_ok=True)
    faults = [Fault("kill", step) for step in range(0, len(glf(arguments, again).steps), every)]
    largest = max(
        path.stat().st_size
        for path in expected.folder.rglob("*.*")
        if path.suffix != ".safetensors"
    )
    faults += [Fault("tear", 0, rng.randrange(largest)) for _ in range(tears)]
    for fault in faults:
        folder = shop.place(name)
        shutil.copytree(before, folder, dirs_exist_ok=True)
        with watched(folder):
            end = Glf(arguments, folder, fault).end()
            if not end.killed:
                end.expect(0)
            check(end.killed or fault.kind == "tear", f"it never came to step {fault.step}")
            met += end.killed
            old_or_new(folder, old, expected.contents)
            glf(arguments, folder)
        same(folder, expected.contents)
        shutil.rmtree(folder)
    return met


def cases() -> list[Case]:
    return [
        Case(
            f"{name}: killed before each step and within writes, "
            f"{'another' if replaces else 'no'} output there before",
            lambda shop, rng, n=name, r=replaces: killed(shop, rng, n, r),
            quick=replaces,
        )
        for name in COMMANDS
        for replaces in (False, True)
    ]
