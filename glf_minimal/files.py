"""The files a run leaves behind.

They are written whole or not at all, and read without running code from them.

Tensors are kept as safetensors, everything else as JSON or CSV.
"""

import csv
import json
import lzma
import os
import pickle
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import psutil
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor, nn

from glf_minimal.errors import RunError

# What zipfile, numpy, Pillow, pickle, csv and safetensors raise on damaged files; none of them has
# a list of its own.
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    csv.Error,
    lzma.LZMAError,
    pickle.PickleError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    SafetensorError,
)


def user_path(path: str | Path) -> Path:
    """A path as a user gives it, "~" read as the user's own folder.

    Every path that comes from outside passes here: shells expand "~" only where a word begins with
    it, so neither in ``--out=~/runs`` nor in ``folder:~/pictures``.
    """
    # Unlike Path.expanduser, this leaves the name of an unknown user as it is.
    return Path(os.path.expanduser(path))  # noqa: PTH111


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to.

    It is moved to ``path`` when the block ends well, and deleted otherwise.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _sweep(path.parent, f".{path.name}.")
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"cannot write {path} ({error}); is there space, and may you write there?"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Flush a folder's list of files to the disk, where the system can.

    A move then outlives a loss of power.
    """
    with suppress(OSError):  # Windows opens no folders, some network disks flush none
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sweep(folder: Path, start: str = ".") -> None:
    """Delete the temporary files of processes that were killed.

    Those of running processes are still being written.
    """
    for leftover in folder.glob(".*.tmp"):
        if not leftover.name.startswith(start):
            continue
        process = leftover.name.split(".")[-2]
        # Too large a number is no process either. (os.kill(…, 0), which asks on Unix, would
        # interrupt the process on Windows.)
        with suppress(OSError, OverflowError):
            if process.isdecimal() and not psutil.pid_exists(int(process)):
                leftover.unlink()


def make_folder(path: Path, parents: bool = True) -> None:
    """Make a folder and, with ``parents``, those above it, or say that it cannot be made."""
    try:
        path.mkdir(parents=parents, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"cannot make the folder {path} ({error.strerror}); give another one"
        ) from error


@contextmanager
def locked_folder(out: Path) -> Iterator[Path]:
    """Make the folder ``out`` and keep other runs out of it while the block lasts.

    Temporary files of killed runs are deleted.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; give the name of a folder, or move the file away")
    make_folder(out)
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(
            f"another run is writing to {out}; wait for it, or give another folder"
        ) from error
    except OSError as error:
        raise RunError(
            f"cannot write to the folder {out} ({error.strerror}); give another one"
        ) from error
    try:
        _sweep(out)
        yield out
    finally:
        lock.release()


def write_json(path: Path, content: dict) -> None:
    """Write a dictionary as an indented JSON file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path, remedy: str = "train the run again") -> dict:
    """Read a JSON object, or say which file is missing or damaged, and what to do then."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(
            f"cannot read {path} ({error.strerror}); is {path.parent} the folder of a run?"
        ) from error
    except (ValueError, RecursionError) as error:  # the latter where it is nested too deep
        raise RunError(f"{path} is damaged ({error}); {remedy}") from error
    if not isinstance(content, dict):
        raise RunError(
            f"{path} holds a JSON {type(content).__name__}, expected an object; {remedy}"
        )
    return content


def write_csv(path: Path, rows: list[dict]) -> None:
    """One line a row, one column for every key that any row has."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict]:
    """What ``write_csv`` wrote: numbers as numbers, and no key where a row had none."""

    def value(text: str) -> float | int | str:
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                pass
        return text

    try:
        with open(path, newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        if any(None in row or None in row.values() for row in table):
            raise ValueError("its rows differ in length")
        rows = [{key: value(text) for key, text in row.items() if text} for row in table]
        if len({(key, isinstance(entry, str)) for row in rows for key, entry in row.items()}) > len(
            set().union(*rows)
        ):
            raise ValueError("one of its columns has words and numbers")
        return rows
    except DAMAGE as error:
        raise RunError(f"{path} is damaged ({error}); delete it and make it again") from error


def tensors_digest(tensors: dict[str, Tensor], metadata: dict | None = None) -> str:
    """SHA-256 of names, shapes, types and content."""
    digest = sha256(json.dumps(metadata or {}).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict | None = None) -> None:
    """Write named tensors and a JSON-able ``metadata`` into one safetensors file."""
    # A contiguous copy on the CPU each: safetensors takes neither channels_last nor shared memory.
    tensors = {name: torch.empty(t.shape, dtype=t.dtype).copy_(t) for name, t in tensors.items()}
    metadata = metadata or {}
    with atomic(path) as temporary:
        header = {
            "glf_minimal": json.dumps(metadata | {"digest": tensors_digest(tensors, metadata)})
        }
        # save_file would make another temporary file, unknown to _sweep.
        temporary.write_bytes(save(tensors, header))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Read what ``write_tensors`` wrote: the tensors and the metadata."""
    if not path.is_file():
        raise RunError(f"{path} does not exist; is {path.parent} the folder of a finished run?")
    try:
        # Read at once: safe_open opens a file twice, and a running training may put another in its
        # place in between.
        content = path.read_bytes()
        tensors = load(content)  # first, as it checks the header
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = json.loads(header.get("__metadata__", {}).get("glf_minimal", "{}"))
        digest = metadata.pop("digest", None)  # files of older versions have none
        if digest not in (None, tensors_digest(tensors, metadata)):
            raise ValueError("its content is not what its digest says")
        return tensors, metadata
    except DAMAGE as error:
        raise RunError(
            f"{path} is not an undamaged safetensors file ({error}); delete it and train again; "
            "pickled .pt or .ckpt files are refused, as loading one can run code from it"
        ) from error


def read_pretrained(path: Path) -> dict[str, Tensor]:
    """Read a published network's weights, .safetensors or .pth, without running code from them."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGE as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RunError(
            f"cannot read weights from {path} ({reason}); give a .safetensors or .pth file"
        ) from error


def plain_name(name: str) -> str:
    """The name of a parameter or module, whether what it lies in has been compiled or not."""
    return name.replace("_orig_mod.", "").removesuffix("_orig_mod").removesuffix(".")


def plain_state(module: nn.Module) -> dict[str, Tensor]:
    """A module's state under plain names, the tensors themselves."""
    return {plain_name(name): tensor for name, tensor in module.state_dict().items()}


def load_weights(module: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Copy named tensors into a module, or say how ``source`` differs and change nothing."""
    own = plain_state(module)
    tensors = {plain_name(name): tensor for name, tensor in tensors.items()}
    problems = [f"{name} is missing" for name in own.keys() - tensors.keys()]
    problems += [f"{name} is not in this model" for name in tensors.keys() - own.keys()]
    problems += [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:3])
        raise RunError(
            f"{source} holds the weights of another model ({len(problems)} differences: {shown})"
        )
    module.load_state_dict({name: tensors[plain_name(name)] for name in module.state_dict()})
