"""Two cores, one model or two: how many images a second GLF's training takes in all.

``glf train`` on the 5,000 packaged digits in the slide deck's networks, which have no batch norm:
one process with two threads; two processes that train one model, each with half of every batch
(``torchrun``); two trainings with different seeds at the same time, one thread each. The ways take
turns; the first epoch of each training does not count.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.compare import made_with
from glf_minimal.files import read_csv

BATCH, EPOCHS, IMAGES = 256, 3, 4_864  # an epoch drops the digits that do not fill a batch
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
WAYS = {
    "one training, two threads": {"trainings": 1, "threads": 2},
    "one training, two processes of one thread": {
        "trainings": 1,
        "threads": 1,
        "launcher": TORCHRUN,
    },
    "two trainings, one thread each": {"trainings": 2, "threads": 1},
}


def images_per_second(
    folder: Path, device: str, trainings: int, threads: int, launcher: tuple[str, ...] = ()
) -> float:
    """Train in ``folder``; images in all trainings together by the slowest one's seconds, first
    epochs left out.
    """
    batch = BATCH // 2 if launcher else BATCH
    settings = [
        f"train.epochs={EPOCHS}",
        f"train.batch_size={batch}",
        "train.checkpoint_seconds=1000",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    processes = []
    for seed in range(trainings):
        command = [
            sys.executable,
            *launcher,
            "-m",
            "glf_minimal",
            "train",
            "--recipe",
            "glf-slides-mnist",
            "--data",
            "mnist-5k",
        ]
        command += ["--out", str(folder / str(seed)), "--device", device, "--no-progress"]
        for setting in [*settings, f"train.seed={seed}"]:
            command += ["--set", setting]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
    if any(process.wait() for process in processes):
        raise RuntimeError("a training has failed; what it said is above")
    seconds = [
        sum(row["seconds"] for row in read_csv(folder / str(seed) / "history.csv")[1:])
        for seed in range(trainings)
    ]
    return trainings * IMAGES * (EPOCHS - 1) / max(seconds)


def measure_ways(repeats: int, device: str) -> dict:
    """{"rows": [{"name", "images_per_second", "ratio", "ratio_range"}], …}, ratios to the first way
    of each repeat.
    """
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(repeats):
        for name, way in WAYS.items():
            with tempfile.TemporaryDirectory(prefix="parallel-") as folder:
                rates[name].append(images_per_second(Path(folder), device, **way))
    first, rows = rates[next(iter(WAYS))], []
    for name, own in rates.items():
        ratios = [mine / theirs for mine, theirs in zip(own, first, strict=True)]
        row = {
            "name": name,
            "images_per_second": statistics.median(own),
            "ratio": statistics.median(ratios),
        }
        rows.append(row | {"ratio_range": [min(ratios), max(ratios)]})
    return {"repeats": repeats, "epochs": EPOCHS, "batch": BATCH, "rows": rows}


def table(content: dict) -> str:
    """The rows as Markdown, and what they were measured on."""
    lines = ["| | images/s, all trainings together | ratio (range) |", "| --- | ---: | ---: |"]
    for row in content["rows"]:
        low, high = row["ratio_range"]
        lines.append(
            f"| {row['name']} | {row['images_per_second']:,.0f} | {row['ratio']:.2f} ({low:.2f} "
            f"to {high:.2f}) |"
        )
    return "\n".join(lines) + f"\n\n{made_with(content)}\n"
