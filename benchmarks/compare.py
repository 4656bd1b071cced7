"""The frame of every comparison: contenders take turns on one machine, each in a process of its
own.

A contender is a function that sets something up and returns the work to be timed, named
"module:function" with arguments. Each gets a process, started once; then, repeat after repeat, all
of them do their work in turn while the others wait. What the machine does besides hits all of them
alike, and the ratio of two contenders is taken within a repeat.
"""

import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent
PACKAGES = (
    "torch",
    "torchvision",
    "FrEIA",
    "nflows",
    "normflows",
    "zuko",
    "accelerate",
    "numpy",
    "scipy",
)


# What makes glibc keep freed memory for the process, where it would give it back to the system.
KEEP_FREED_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**32)}


@dataclass(frozen=True)
class Contender:
    """One way to do the work: a function "module:function" of this package, what it is called with,
    and variables of the environment that its process starts with.
    """

    name: str
    function: str
    arguments: dict = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


class Process:
    """A contender in a process of its own, which works when it is told to."""

    def __init__(self, contender: Contender, threads: int, device: str):
        self.contender = contender
        order = {
            "function": contender.function,
            "arguments": contender.arguments,
            "threads": threads,
            "device": device,
        }
        # Waiting threads sleep: the process whose turn it is has the cores for itself.
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        environment |= contender.environment
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.compare", json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        self.facts = self._answer()

    def _answer(self) -> dict:
        for line in self.process.stdout:  # whatever a library prints is passed over
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{self.contender.name} has stopped; what it said is above")

    def work(self) -> dict:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


def measure(
    contenders: list[Contender],
    repeats: int,
    threads: int,
    device: str = "cpu",
    clock: str = "seconds",
) -> list[dict]:
    """Time contenders in turn; one row each, in their order. Ratios are to the first one: above 1
    is slower than it.

    ``seconds`` (on the wall), ``cpu_seconds`` and ``page_faults`` of a row are medians over the
    repeats, ``ratio`` is the median of the repeats' ratios by ``clock`` ("seconds" or
    "cpu_seconds"), with its quartiles; ``peak_mib`` is the most memory that the process had over
    its life. ``first_cpu_seconds`` are those of the first call, before all repeats.
    """
    processes = []
    try:
        for contender in contenders:
            processes.append(Process(contender, threads, device))
        times: list[list[dict]] = [[] for _ in processes]
        for repeat in range(repeats):
            for offset in range(len(processes)):
                place = (repeat + offset) % len(processes)  # nobody always goes first
                times[place].append(processes[place].work())
    finally:
        for process in processes:
            process.stop()
    rows = []
    for process, own in zip(processes, times, strict=True):
        ratios = [mine[clock] / first[clock] for mine, first in zip(own, times[0], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if repeats > 1 else 3 * ratios
        rows.append(
            {"name": process.contender.name, **process.facts}
            | {
                name: statistics.median(t[name] for t in own)
                for name in ("seconds", "cpu_seconds", "page_faults")
            }
            | {
                f"all_{name}": [t[name] for t in own]
                for name in ("seconds", "cpu_seconds", "page_faults")
            }
            | {
                "ratio": middle,
                "ratio_quartiles": [low, high],
                "peak_mib": max(t["peak_mib"] for t in own),
            }
        )
    return rows


def save(name: str, content: dict, threads: int, device: str) -> Path:
    """Write a result with what it was made on."""
    import torch

    from glf_minimal.provenance import git_commit, hardware

    torch.set_num_threads(threads)  # a part of what hardware() says
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    machine = {"hardware": hardware(torch.device(device)), "device": device}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}{'' if device == 'cpu' else '-' + device}.json"
    facts = {"made_with": machine | {"versions": versions, "commit": git_commit()}}
    path.write_text(json.dumps(facts | content, indent=1) + "\n")
    return path


def main() -> None:
    """The contender's side: set up, say so, then work at each line of input."""
    import torch

    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    torch.manual_seed(0)
    module, function = order["function"].split(":")
    setup = getattr(importlib.import_module(module), function)
    work = setup(device=order["device"], **order["arguments"])
    cuda = order["device"] == "cuda"

    def timed() -> dict[str, float]:
        if cuda:
            torch.cuda.synchronize()
        before = spent()
        work()
        if cuda:
            torch.cuda.synchronize()
        return {name: after - before[name] for name, after in spent().items()}

    first = timed()  # allocates and compiles
    if first["seconds"] < 2:  # long work needs no more than that
        for _ in range(2):
            work()
    facts = {"first_cpu_seconds": first["cpu_seconds"]}
    print(json.dumps(getattr(work, "facts", {}) | facts), flush=True)
    for _ in sys.stdin:
        cost = timed()
        peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else peak_mib()
        print(json.dumps(cost | {"peak_mib": peak}), flush=True)


def spent() -> dict[str, float]:
    """Seconds on the wall, seconds of the processor and page faults until now.

    Children that have ended, such as compilers, count for the seconds of the processor.
    """
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "seconds": time.perf_counter(),
        "cpu_seconds": sum(who.ru_utime + who.ru_stime for who in (own, children)),
        "page_faults": own.ru_minflt,
    }


def peak_mib() -> float:
    """The most memory that this process has had, in MiB."""
    status = Path("/proc/self/status")
    if (
        status.exists()
    ):  # Linux; its getrusage would count the memory of the process that started this one, too
        return int(status.read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def made_with(content: dict) -> str:
    """One line on a result: on what it was measured, and with which versions."""
    facts = content["made_with"]
    whole = facts["commit"] or "unknown"
    commit = whole[:12]
    if whole.endswith("+"):  # files differed from it
        commit += "+"
    names = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    turns = f"; {content['repeats']} repeats" if "repeats" in content else ""
    return f"{facts['hardware']}{turns}. Commit {commit}; {names}."


if __name__ == "__main__":
    main()
