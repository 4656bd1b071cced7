"""Folders of pictures: which files are read, and which of them are for training or for testing."""

import os
import unicodedata
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from glf_minimal.errors import DataError

PICTURE_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
# What macOS and Synology's disks put beside pictures; everything else of this kind begins with ".".
NOT_THE_USERS = {"__MACOSX", "@eaDir"}
# Sub-folders that are a split of the pictures, in any case of letters.
TRAIN = ("train", "training")
TEST = ("test", "testing")
VALIDATION = ("val", "valid", "validation")
ONE_IN = 10  # pictures is kept for testing where there are no such sub-folders


@dataclass(frozen=True)
class Listing:
    """The files below a folder: its pictures, and how many others there are of each ending."""

    pictures: list[Path]
    others: Counter


@dataclass(frozen=True)
class SplitFolder:
    """The pictures of a folder, for training and for testing, and in words what was found."""

    train: list[Path]
    test: list[Path]
    found: str


def list_pictures(folder: Path, deep: bool = True, without: tuple[Path, ...] = ()) -> Listing:
    """The pictures in a folder, by name; with ``deep`` also those in its sub-folders.

    Hidden files and folders, and sub-folders among ``without``, are passed over. Links that lead
    nowhere are listed, so that reading them says so.

    Raises:
        DataError: a folder that cannot be read.
    """

    def cannot_read(error: OSError) -> None:
        raise DataError(
            f"folder: cannot read {error.filename} ({error.strerror}); is it yours to read?"
        ) from error

    pictures, others = [], Counter()
    for place, folders, names in os.walk(folder, onerror=cannot_read):
        here = Path(place)
        folders[:] = [
            name for name in folders if deep and _is_the_users(name) and here / name not in without
        ]
        for path in (here / name for name in names if _is_the_users(name)):
            is_file = path.is_file() or path.is_symlink()
            if is_file and path.suffix.lower() in PICTURE_ENDINGS:
                pictures.append(path)
            elif is_file:
                others[path.suffix.lower() or "without an ending"] += 1
    return Listing(sorted(pictures, key=lambda path: _name(path, folder).split("/")), others)


def _is_the_users(name: str) -> bool:
    return not name.startswith(".") and name not in NOT_THE_USERS


def _name(path: Path, folder: Path) -> str:
    """A picture's name within its folder, the same on every system and wherever the folder lies."""
    return unicodedata.normalize("NFC", path.relative_to(folder).as_posix())


def split_folder(folder: Path) -> SplitFolder:
    """Find the pictures of a folder, and which of them are kept for testing.

    With ``train`` and ``test`` inside, these are the split, and ``val`` is left alone. With
    ``train`` and ``val`` only, ``val`` is kept for testing. Without them about one picture in ten
    is, chosen by a hash of its name within the folder: adding or removing pictures moves no other
    one. Fewer than ten pictures are all for training.

    Raises:
        DataError: ``test`` or ``val`` without ``train``, two folders of one meaning, or a folder
            that cannot be read.
    """
    try:
        inside = sorted(child for child in folder.iterdir() if child.is_dir())
    except OSError as error:
        raise DataError(
            f"folder: cannot read {folder} ({error.strerror}); is it yours to read?"
        ) from error
    train, test, validation = (
        [child for child in inside if child.name.lower() in names]
        for names in (TRAIN, TEST, VALIDATION)
    )
    held_out = test or validation
    if held_out and not train:
        raise DataError(
            f"folder: {folder} has {held_out[0].name}/ but no train/; put the pictures to train on "
            f"into train/, or give {held_out[0].name}/ another name if it is no test set"
        )
    if not held_out:
        return _by_hash(folder)
    for several in (train, held_out):
        if len(several) > 1:
            raise DataError(
                f"folder: {folder} has {several[0].name}/ and {several[1].name}/, which mean the "
                "same; keep one of them"
            )
    parts = [list_pictures(part) for part in (train[0], held_out[0])]
    rest = list_pictures(folder, without=(train[0], held_out[0]))
    others = parts[0].others + parts[1].others + rest.others
    if rest.pictures:
        others["elsewhere in it"] = len(rest.pictures)
    wheres = [f"{part[0].name}/" for part in (train, held_out)]
    return _split(folder, parts[0].pictures, parts[1].pictures, wheres, others)


def _by_hash(folder: Path) -> SplitFolder:
    listing = list_pictures(folder)
    hashes = {path: _hash(_name(path, folder)) for path in listing.pictures}
    test = [path for path, number in hashes.items() if number % ONE_IN == 0]
    where = f"one in {ONE_IN}, by a hash of its name"
    if len(hashes) < ONE_IN:
        test = []
        where = f"there are fewer than {ONE_IN}"
    elif not test:
        test = [min(hashes, key=hashes.get)]
    train = [path for path in listing.pictures if path not in set(test)]
    return _split(folder, train, test, ["", where], listing.others)


def _hash(name: str) -> int:
    """A number as good as random that depends on the name alone."""
    digest = sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def _split(
    folder: Path, train: list[Path], test: list[Path], wheres: list[str], others: Counter
) -> SplitFolder:
    found = [
        f"{number} {what}{f' ({where})' if where else ''}"
        for number, what, where in zip(
            (len(train), len(test)), ("for training", "kept for testing"), wheres, strict=True
        )
    ]
    skipped = ", ".join(f"{number} {what}" for what, number in sorted(others.items()))
    found.append(f"not read: {skipped}" if skipped else "")
    return SplitFolder(train, test, f"pictures in {folder}: " + ", ".join(filter(None, found)))
