"""``python -m benchmarks``: measure, and write the book's tables."""

import json
from typing import Annotated

import torch
import typer

from benchmarks import flow, loading, parallel, report, scale, scoring, step
from benchmarks.compare import Contender, measure, save
from glf_minimal.training.settings import uses_bf16

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
Threads = Annotated[int, typer.Option(help="threads of each contender")]
Device = Annotated[str, typer.Option(help="cpu or cuda")]
Repeats = Annotated[int, typer.Option(help="times that every contender has its turn")]


def _run(
    name: str,
    groups: dict[str, list[Contender]],
    repeats: int,
    threads: int,
    device: str,
    workers: bool = False,
) -> None:
    """Measure each group of contenders, save all of them together, and show the table.

    Other work on the same cores changes the seconds of the processor least, so they are compared
    where they tell all: not of a GPU, of several threads or of ``workers``, processes of their own.
    """
    alone = device == "cpu" and threads == 1 and not workers
    clock = "cpu_seconds" if alone else "seconds"
    content = {"repeats": repeats, "clock": clock, "groups": {}}
    for group, contenders in groups.items():
        print(f"{name}, {group}: {len(contenders)} contenders, {repeats} repeats", flush=True)
        content["groups"][group] = measure(contenders, repeats, threads, device, clock)
    path = save(name, content, threads, device)
    print(report.table(path))


def _has_bf16(device: str) -> bool:
    """Without bf16 instructions a CPU is more than ten times slower with it, which nobody needs to
    see timed.
    """
    return uses_bf16("auto", torch.device(device))


@app.command("flow")
def flow_(threads: Threads = 1, device: Device = "cpu", repeats: Repeats = 11) -> None:
    """Training steps and samples of the same flow in five libraries."""
    tasks = [(task, batch) for task in ("train", "sample") for batch in (256, 4096)]
    groups = {
        f"{task}, batch {n}": flow.contenders(task, n, _has_bf16(device)) for task, n in tasks
    }
    _run("flow", groups, repeats, threads, device)


@app.command("step")
def step_(threads: Threads = 1, device: Device = "cpu", repeats: Repeats = 7) -> None:
    """GLF's training step in the paper's networks, and the floor under it; in bf16 where the
    hardware has it.
    """
    groups = {data: step.contenders(data, device, _has_bf16(device)) for data in step.SHAPES}
    _run("step", groups, repeats, threads, device)


@app.command("loading")
def loading_(
    threads: Threads = 1, device: Device = "cpu", repeats: Repeats = 5, data: str = "mnist"
) -> None:
    """An epoch of batches, against torchvision with DataLoader."""
    groups = {data: loading.contenders(data)}
    _run("loading", groups, repeats, threads, device, workers=True)


@app.command("scoring")
def scoring_(
    threads: Threads = 1, device: Device = "cpu", repeats: Repeats = 3, samples: int = 10_000
) -> None:
    """Samples generated and scored: time and memory."""
    _run("scoring", {f"{samples:,} samples": scoring.contenders(samples)}, repeats, threads, device)


@app.command("scale")
def scale_(threads: Threads = 1, device: Device = "cpu", repeats: Repeats = 5) -> None:
    """What a step costs as latents, flow, images, batch or data grow."""
    groups = {sweep: scale.contenders(sweep, device) for sweep in (*scale.SWEEPS, "data")}
    _run("scale", groups, repeats, threads, device)


@app.command("parallel")
def parallel_(device: Device = "cpu", repeats: Repeats = 3) -> None:
    """One training in two processes, two trainings side by side."""
    path = save("parallel", parallel.measure_ways(repeats, device), threads=2, device=device)
    print(parallel.table(json.loads(path.read_text())))


@app.command("report")
def report_() -> None:
    """Write the book's tables from benchmarks/results."""
    for path in report.write():
        print(path)


@app.command("all")
def all_(threads: Threads = 1, device: Device = "cpu") -> None:
    """Everything but the time to quality (python -m benchmarks.quality), which takes an hour."""
    for command in (flow_, step_, scoring_, scale_):
        command(threads=threads, device=device)
    loading_(threads=threads, device=device)
    parallel_(device=device)
    report_()


if __name__ == "__main__":
    torch.set_num_threads(1)
    app()
