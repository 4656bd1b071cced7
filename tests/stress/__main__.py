"""`make stress`: every case in turn, a line each, and one line at the end; exit code 1 where
something is lost.
"""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from stress import disks, outputs, reproducing, trainings
from stress.processes import LostError, check
from stress.workshop import Case, Workshop

CASES: list[Case] = [
    case for part in (trainings, reproducing, outputs, disks) for case in part.cases()
]


def minutes(seconds: float) -> str:
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def main(
    seed: Annotated[int, typer.Option(help="Of the random moments.")] = 0,
    only: Annotated[str, typer.Option(help="The cases whose names contain this.")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="One case of every kind.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the folder with all that was written.")
    ] = False,
) -> None:
    """Kill, starve and disturb `glf`, and see that nothing is lost."""
    chosen = [case for case in CASES if only in case.name and (case.quick or not quick)]
    started, survived, lost = time.monotonic(), 0, 0
    folder = Path(tempfile.mkdtemp(prefix="glf-stress-"))
    shop = Workshop(folder, seed)
    try:
        for place, case in enumerate(chosen, start=1):
            begun = time.monotonic()
            try:
                faults = case.run(shop, shop.rng(case.name))
                check(faults != 0, "no fault came about")
                said = "skipped: may not mount" if faults is None else f"{faults} faults survived"
                survived += faults or 0
            except Exception as loss:  # of whatever kind: also what the library's readers raise
                said, lost = (
                    f"LOSS: {loss if isinstance(loss, LostError) else repr(loss)}",
                    lost + 1,
                )
            seconds = time.monotonic() - begun
            typer.echo(f"[{place}/{len(chosen)}] {case.name}: {said} ({seconds:.0f} s)")
    finally:
        if keep:
            typer.echo(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
    total = minutes(time.monotonic() - started)
    typer.echo(f"stress: {len(chosen)} cases, {survived} faults survived, {lost} losses ({total})")
    raise typer.Exit(1 if lost else 0)


if __name__ == "__main__":
    typer.run(main)
