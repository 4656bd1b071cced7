"""What lies in folders: read with the library's own readers while it is written, and compared when
all is done.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from glf_minimal.errors import GLFError
from glf_minimal.files import DAMAGE, read_csv, read_json, read_tensors
from glf_minimal.reproduction.records import read_record
from glf_minimal.training.folder import CHECKPOINT, WEIGHTS
from stress.processes import LostError, check

OF_THE_MOMENT = (
    "seconds",
    "cpu_seconds",
    "commit",
)  # in any file; the last may change while others work on the code


def read(path: Path) -> object:
    """The content of a file, times and commits left out; raises what its reader raises."""
    if path.suffix == ".safetensors":
        tensors, metadata = read_tensors(path)
        digests = {
            name: sha256(t.reshape(-1).view(torch.uint8).numpy()).hexdigest()
            for name, t in tensors.items()
        }
        return _lasting(metadata), digests
    if path.suffix == ".json":
        recorded = path.stem.startswith("seed-")
        return _lasting(read_record(path).content if recorded else read_json(path))
    if path.suffix == ".csv":
        return _lasting(read_csv(path))
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return sha256(picture.tobytes()).hexdigest()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tolist() for name in arrays}
    if path.suffix == ".js":
        return json.loads(path.read_text(encoding="utf-8").partition(" = ")[2].removesuffix(";\n"))
    raise LostError(f"{path} is left over")


def _lasting(content: object) -> object:
    if isinstance(content, dict):
        return {
            name: _lasting(value) for name, value in content.items() if name not in OF_THE_MOMENT
        }
    return [_lasting(value) for value in content] if isinstance(content, list) else content


def contents(folder: Path) -> dict[str, object]:
    """All files below a folder, by their relative path, without locks; a temporary file is a
    LostError.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    try:
        return {str(path.relative_to(folder)): read(path) for path in paths if path.name != ".lock"}
    except (*DAMAGE, GLFError) as error:
        raise LostError(f"{folder} cannot be read: {error}") from error


def same(folder: Path, expected: dict[str, object]) -> None:
    """Raise LostError unless a folder holds these contents, and no other file."""
    got = contents(folder)
    check(
        got.keys() == expected.keys(), f"in {folder} lie {sorted(got)}, expected {sorted(expected)}"
    )
    for name, content in expected.items():
        check(
            got[name] == content,
            f"{folder / name} is not what an unbroken run wrote: {_difference(content, got[name])}",
        )


def old_or_new(folder: Path, old: dict[str, object], new: dict[str, object]) -> None:
    """Raise LostError unless every file below a folder, temporary ones aside, is whole and as in
    one of the two.
    """
    for path in (path for path in folder.rglob("[!.]*") if path.is_file()):
        name = str(path.relative_to(folder))
        known = [content[name] for content in (old, new) if name in content]
        check(read(path) in known, f"{path} is neither the old one nor the new one")


def _difference(expected: object, got: object) -> str:
    """The first place where two contents differ."""
    if (
        type(expected) is type(got)
        and isinstance(expected, (dict, list, tuple))
        and len(expected) == len(got)
    ):
        keys = expected if isinstance(expected, dict) else range(len(expected))
        for key in keys:
            if isinstance(expected, dict) and key not in got:
                return f"no {key}"
            if expected[key] != got[key]:
                return f"{key}: {_difference(expected[key], got[key])}"
    return f"{str(got)[:80]} in place of {str(expected)[:80]}"


def epochs_kept(run: Path) -> list[dict]:
    """The history that a run's folder would go on from, times and all."""
    for name in (WEIGHTS, CHECKPOINT):
        if (run / name).exists():
            return read_tensors(run / name)[1]["history"]
    return []


class _Reader(threading.Thread):
    """Reads all files below a folder over and over: none is ever torn, none vanishes, no training
    goes back.
    """

    def __init__(self, folder: Path):
        super().__init__(daemon=True)
        self.folder, self.seen, self.states, self.epochs = folder, set(), {}, {}
        self.problem, self.stop = "", threading.Event()

    def run(self) -> None:
        while not self.problem:
            last = self.stop.is_set()
            try:
                self._look()
            except Exception as error:
                self.problem = f"a reader met {error!r}"
            if last:
                return
            self.stop.wait(0.005)

    def _look(self) -> None:
        paths = {p for p in self.folder.rglob("[!.]*") if p.suffix and p.is_file()}
        for path in paths:
            try:
                found = path.stat()
                if (state := (found.st_ino, found.st_size, found.st_mtime_ns)) == self.states.get(
                    path
                ):
                    continue  # read before
                content = read(path)
            except (*DAMAGE, GLFError):
                if path.exists():
                    raise
                continue  # between the listing and now; the next round says whether it may
            self.states[path] = state
            if path.name in (CHECKPOINT, WEIGHTS):
                epochs, before = len(content[0]["history"]), self.epochs.get(path, 0)
                check(epochs >= before, f"{path} went back from epoch {before} to {epochs}")
                self.epochs[path] = epochs
        for path in self.seen - paths:
            replaced = path.name == CHECKPOINT and path.with_name(WEIGHTS).exists()
            check(replaced or path.exists(), f"{path} vanished")
        self.seen |= paths


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Keep a reader at work on a folder while the block lasts; LostError where it met something
    torn.
    """
    reader = _Reader(folder)
    reader.start()
    try:
        yield
    finally:
        reader.stop.set()
        reader.join()
    if reader.problem:
        raise LostError(reader.problem)
