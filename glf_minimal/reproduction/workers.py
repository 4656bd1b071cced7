"""Filling a table with several processes side by side on one machine.

Every worker runs the same command, without ``--workers``, on the same folders. Locks in these
folders share the cells out, so on a cluster the same command is simply started once in each job.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SECONDS_TO_STOP = 10  # for a worker that has been told to


def worker_command(arguments: list[str]) -> list[str]:
    """The command of a worker: that of the whole, with ``--worker`` in place of ``--workers``.

    Args:
        arguments: those of ``glf``, as in sys.argv[1:].

    >>> worker_command(["reproduce", "table-1", "--workers", "4", "--seeds", "1"])[1:]
    ['-m', 'glf_minimal', 'reproduce', 'table-1', '--seeds', '1', '--worker']
    """
    kept, skip = [], False
    for argument in arguments:
        if skip or argument == "--workers":
            skip = argument == "--workers" and not skip
        elif not argument.startswith("--workers="):
            kept.append(argument)
    return [sys.executable, "-m", "glf_minimal", *kept, "--worker"]


def share_of_threads(workers: int) -> dict[str, str]:
    """Environment variables that give each worker its share of the cores; the user's own stay."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = str(max(1, (cores or 1) // workers))
    return {name: os.environ.get(name, share) for name in THREADS}


def fill_with_workers(
    command: list[str],
    workers: int,
    missing: Callable[[], list],
    say: Callable[[str], None] = print,
) -> bool:
    """Fill a table with several workers; returns whether all of them ended well.

    Args:
        command: of a worker, see ``worker_command``.
        workers: how many.
        missing: gives the cells that have no record yet.
        say: is told what happens, a line at a time.
    """
    whole = not any(run_workers(command, workers, say))
    if whole and missing():  # each left something to another that left it, too
        whole = not any(run_workers(command, 1, say))
    return whole


def run_workers(command: list[str], workers: int, say: Callable[[str], None] = print) -> list[int]:
    """Run the same command in several processes until all have ended; returns their exit codes.

    Their lines are said as they come, each after the number of its worker. If this process is
    stopped, so are they.
    """
    environment = (
        os.environ
        | share_of_threads(workers)
        | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    )
    lines: SimpleQueue[tuple[int, str | None]] = SimpleQueue()

    def listen(number: int, process: subprocess.Popen) -> None:
        for line in process.stdout:
            lines.put((number, line.rstrip("\n")))
        lines.put((number, None))

    processes: list[subprocess.Popen] = []
    with _stopped_at_the_end(processes):
        for number in range(1, workers + 1):
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C comes to them from here, once
            )
            processes.append(process)
            Thread(target=listen, args=(number, process), daemon=True).start()
        running = workers
        while running:
            number, line = lines.get()
            if line is None:
                running -= 1
            elif line.strip():
                say(f"worker {number}: {line}")
        return [process.wait() for process in processes]


@contextmanager
def _stopped_at_the_end(processes: list[subprocess.Popen]) -> Iterator[None]:
    """Stop the processes that are still running when the block ends, also by SIGTERM."""

    def terminated(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    finally:
        running = [process for process in processes if process.poll() is None]
        for process in running:
            process.terminate()  # what is written is whole at any time
        for process in running:
            try:
                process.wait(SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        signal.signal(signal.SIGTERM, before)
