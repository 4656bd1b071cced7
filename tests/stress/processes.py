"""`glf` in processes of its own that can be killed: at a time, before a step of their writing, or
within a write.
"""

import ctypes
import fcntl
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

# Forked from a server that has imported these, a command starts at once, so that the time goes into
# faults.
IMPORTED = ["glf_minimal.cli", "glf_minimal.recipes", "glf_minimal.reproduction"]
IMPORTED += ["torchvision.utils", "torchmetrics", "prdc", "scipy.linalg", "sklearn.datasets"]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(IMPORTED)
MOVED = "moved"
HANGS_AFTER = 300  # seconds


class LostError(Exception):
    """Something that was not to be lost is, or a command did not end as it should."""


def check(holds: bool, what: str) -> None:
    if not holds:
        raise LostError(what)


@dataclass(frozen=True)
class Fault:
    """What befalls a command before a step of its writing (0 is the first); see ``_Steps`` for what
    a step is.

    Args:
        kind: "kill", SIGKILL; "tear", a death within the first write from there on that takes a
            file past ``size`` bytes; "full", such writes fail, as on a full disk; "read-only", its
            folder becomes so; "move", the run's folder has another name from then on, ``MOVED``.
        step: before which.
        size: bytes.
    """

    kind: str
    step: int = 0
    size: int = 0


@dataclass(frozen=True)
class End:
    """How a command ended: exit code (negative: the signal that killed it), its words, the steps it
    came to.
    """

    code: int
    out: str
    err: str
    steps: list[str]

    @property
    def killed(self) -> bool:
        return self.code in (-signal.SIGKILL, -signal.SIGXFSZ)

    def expect(self, code: int) -> None:
        """Raise LostError unless it ended so, with nothing on stderr or, where it failed, one clear
        line.
        """
        ended = f"ended with {self.code} and said {self.err[-600:]!r}"
        check(self.code == code, f"expected exit code {code}; it {ended}")
        lines = self.err.splitlines()
        clear = len(lines) == 1 and lines[0].startswith("glf: ") if code else not lines
        check(clear, f"expected {'one clear line' if code else 'no words on stderr'}; it {ended}")


class Glf:
    """A ``glf`` command under way in the folder ``where``.

    Args:
        fresh: start Python anew, as a user does, where no ``fault`` and no steps are wanted.
        bound: by permissions, also where it runs as root.
    """

    def __init__(
        self,
        arguments: list,
        where: Path,
        fault: Fault | None = None,
        fresh: bool = False,
        bound: bool = False,
    ):
        arguments = [str(part) for part in arguments]
        self.fresh, self.started = fresh, time.monotonic()
        if fresh:
            command = [sys.executable, "-W", "ignore", "-m", "glf_minimal", *arguments]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            self.process = subprocess.Popen(command, cwd=where, env=environment, text=True, **pipes)
            return
        pipes = [SERVER.Pipe(duplex=False) for _ in range(3)]
        self.ends = [reading for reading, _ in pipes]
        writing = [end for _, end in pipes]
        self.process = SERVER.Process(
            target=_work, args=(arguments, str(where), fault, bound, *writing)
        )
        self.process.start()
        for end in writing:
            fcntl.fcntl(end.fileno(), fcntl.F_SETPIPE_SZ, 1 << 20)  # nobody reads before the end
            end.close()

    def kill(self) -> None:
        self.process.kill()

    def runs_for(self, seconds: float) -> bool:
        """Wait so long at most; whether it still runs."""
        if not self.fresh:
            self.process.join(max(seconds, 0))
            return self.process.is_alive()
        try:
            self.process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            return True
        return False

    def end(self) -> End:
        """Wait for its end."""
        if self.runs_for(HANGS_AFTER):
            self.kill()
            raise LostError(f"it did not end within {HANGS_AFTER} seconds")
        if self.fresh:
            return End(self.process.returncode, *self.process.communicate(), [])
        out, err, log = (_everything(end) for end in self.ends)
        unsynced = [line for line in log.splitlines() if line.startswith("unsynced ")]
        check(not unsynced, f"{unsynced}: a file took its place before it was on the disk")
        return End(self.process.exitcode, out, err, log.splitlines())


def glf(arguments: list, where: Path, code: int = 0, fault: Fault | None = None) -> End:
    """Run a command to its end, which is to be this one."""
    end = Glf(arguments, where, fault).end()
    end.expect(code)
    return end


def _everything(end) -> str:
    parts = []
    while part := os.read(end.fileno(), 1 << 16):
        parts.append(part)
    end.close()
    return b"".join(parts).decode()


def _work(
    arguments: list[str], where: str, fault: Fault | None, bound: bool, out, err, log
) -> None:
    """What the forked process does."""
    import torch
    from tqdm import tqdm

    from glf_minimal.cli import main
    from glf_minimal.reproduction.plan import EXPERIMENTS
    from stress.reproducing import EXPERIMENT

    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    os.chdir(where)
    if bound:  # give all capabilities up: a header of version 3, and no bits
        ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    torch.set_num_threads(1)
    tqdm.set_lock(
        threading.RLock()
    )  # its own one, shared among processes, would be reported as leaked by those killed
    warnings.simplefilter("ignore")
    EXPERIMENTS[EXPERIMENT.name] = EXPERIMENT
    _Steps(Path.cwd(), fault, log.fileno())
    sys.argv = ["glf", *arguments]
    main()


class _Steps:
    """Follows a process's writing below a folder, and brings about the fault at its step.

    A step is the opening of a file to write, an fsync, a renaming, a removal or a new folder:
    between two of them what lies on the disk does not change, but for the content of a file that is
    being written.
    """

    def __init__(self, folder: Path, fault: Fault | None, log: int):
        self.folder, self.fault, self.log = folder, fault, log
        self.steps, self.synced, self.fsync = 0, {}, os.fsync
        os.fsync = self._fsync
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if event not in ("open", "os.rename", "os.remove", "os.mkdir") or isinstance(
            arguments[0], int
        ):
            return
        path = Path(os.fsdecode(arguments[0])).absolute()
        writes = event != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if self.folder in path.parents and writes:
            self._step(event.removeprefix("os."), path)
            if event == "os.rename" and path.is_file() and self.synced.get(path) != _state(path):
                os.write(self.log, f"unsynced {path}\n".encode())

    def _fsync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if self.folder in path.parents:
            self._step("fsync", path)
        self.fsync(descriptor)
        self.synced[path] = _state(path)

    def _step(self, what: str, path: Path) -> None:
        os.write(self.log, f"{what} {path.relative_to(self.folder)}\n".encode())
        fault, self.steps = self.fault, self.steps + 1
        if fault is None or fault.step >= self.steps:
            return
        self.fault = None
        if fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.kind == "read-only":
            path.parent.chmod(0o555)
        elif fault.kind == "move":
            (self.folder / path.relative_to(self.folder).parts[0]).rename(self.folder / MOVED)
        else:
            if fault.kind == "tear":
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which Python ignores
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (fault.size, hard))


def _state(path: Path) -> tuple:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
