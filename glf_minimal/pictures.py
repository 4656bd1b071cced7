"""Files of pictures: which ones are, how one is read, and grids of images written as one."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from glf_minimal.errors import DataError
from glf_minimal.files import DAMAGE, atomic

PICTURE_FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
    "BMP",
    "GIF",
    "TIFF",
)  # no others: for EPS, Pillow would start Ghostscript
NOT_A_PICTURE = (*DAMAGE, Image.DecompressionBombError)  # what Pillow raises
PICTURE_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


def pictures_in(paths: Iterable[Path]) -> list[Path]:
    """Pictures by name; with links that lead nowhere, which opening reports, and without folders
    and pipes.
    """
    return sorted(
        p for p in paths if p.suffix.lower() in PICTURE_ENDINGS and (p.is_file() or not p.exists())
    )


def read_picture(file: Path) -> Image.Image:
    """A picture upright, 8 bits a channel: mode "L" where it is grey, else "RGB".

    16 bits a channel are scaled to 8.

    Raises:
        DataError: it cannot be read, or has 32 bits a channel.
    """
    try:
        with Image.open(file, formats=PICTURE_FORMATS) as picture:
            if picture.mode in ("I", "F"):  # conversion would clip these
                raise ValueError("it has 32 bits a channel, expected 8 or 16")
            if picture.mode.startswith("I;16"):
                picture = picture.convert("I").point(lambda v: v / 257)  # 16 bits to 8
            grey = picture.mode in ("1", "L", "I")
            return ImageOps.exif_transpose(picture).convert("L" if grey else "RGB")
    except NOT_A_PICTURE as error:
        raise DataError(
            f"folder: cannot read the picture {file} ({error}); repair or remove it"
        ) from error


def require_size(
    picture: Image.Image, file: Path, size: tuple[int, int], first: Path, remedy: str
) -> None:
    """DataError where a picture is not of the size, (width, height), of its folder's first."""
    if picture.size != size:
        raise DataError(
            f"folder: {file} is {picture.width}x{picture.height} but {first} is "
            f"{size[0]}x{size[1]}; {remedy}"
        )


def image_grid(images: Tensor, columns: int | None = None, padding: int = 2) -> Tensor:
    """Tile images (N, C, H, W) in [0, 1] into one picture (C or 3, H', W').

    ``columns`` defaults to a grid as square as N allows.
    """
    from torchvision.utils import make_grid

    if images.ndim != 4 or not len(images):
        raise ValueError(
            f"images: expected shape (N, C, H, W) with N > 0, got {tuple(images.shape)}"
        )
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    return make_grid(
        images.detach().float().cpu().clamp(0, 1), nrow=columns, padding=padding, pad_value=0.5
    )


def save_grid(images: Tensor, path: str | Path, columns: int | None = None, scale: int = 2) -> None:
    """Write a grid of images as a PNG, each pixel drawn as ``scale`` x ``scale``."""
    path = Path(path)
    grid = image_grid(images, columns).mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(grid)
    picture = picture.resize(
        (picture.width * scale, picture.height * scale), Image.Resampling.NEAREST
    )
    with atomic(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)
