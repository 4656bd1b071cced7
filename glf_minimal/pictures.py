"""Files of pictures: how one is read, and grids of images written as one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from glf_minimal.errors import DataError
from glf_minimal.files import DAMAGE, atomic, user_path

# No others: for EPS, Pillow would start Ghostscript.
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
NOT_A_PICTURE = (*DAMAGE, Image.DecompressionBombError)  # what Pillow raises
GREY = ("1", "L", "LA", "La")  # modes of Pillow's, beside those of 16 bits


def is_grey(file: Path) -> bool:
    """Whether a picture has no colours, by its header alone.

    Raises:
        DataError: it cannot be read.
    """
    with _opened(file) as picture:
        return _has_no_colours(picture)


def read_picture(file: Path) -> Image.Image:
    """A picture upright, 8 bits a channel: mode "L" where it is grey, else "RGB".

    What is transparent shows a white page behind it. 16 bits a channel are scaled to 8. Of several
    frames or pages the first one is read.

    Raises:
        DataError: it cannot be read, or has 32 bits a channel.
    """
    with _opened(file) as picture:
        mode = "L" if _has_no_colours(picture) else "RGB"
        if picture.mode in ("I", "F"):  # conversion would clip these
            raise ValueError("it has 32 bits a channel, expected 8 or 16")
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I;16"):
            picture = _scale_to_8_bits(picture)
        if not picture.has_transparency_data:
            return picture.convert(mode)
        opacity = picture.convert("LA" if mode == "L" else "RGBA").getchannel("A")
        page = Image.new(mode, picture.size, "white")
        page.paste(picture.convert(mode), mask=opacity)
        return page


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """Open a picture; whatever Pillow says of it becomes a DataError."""
    try:
        with Image.open(file, formats=PICTURE_FORMATS) as picture:
            yield picture
    except NOT_A_PICTURE as error:
        raise DataError(
            f"folder: cannot read the picture {file} ({error}); repair or remove it"
        ) from error


def _has_no_colours(picture: Image.Image) -> bool:
    return picture.mode in GREY or picture.mode.startswith("I;16")


def _scale_to_8_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits as 8 bits; a grey that stands for transparent keeps its sign as an alpha."""
    transparent = picture.info.pop("transparency", None)
    grey = picture.convert("I").point(lambda v: v / 257).convert("L")
    if transparent is not None:
        opacity = np.where(np.asarray(picture) == transparent, 0, 255).astype(np.uint8)
        grey.putalpha(Image.fromarray(opacity))
    return grey


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
    """Tile images (N, C, H, W) in [0, 1] into one picture (3, H', W').

    Images that are neither grey nor coloured show their channels beside each other, in grey.
    ``columns`` defaults to a grid as square as N allows.
    """
    from torchvision.utils import make_grid

    if images.ndim != 4 or not len(images):
        raise ValueError(
            f"images: expected shape (N, C, H, W) with N > 0, got {tuple(images.shape)}"
        )
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    if images.shape[1] not in (1, 3):
        images = torch.cat(images.split(1, dim=1), dim=3)
    return make_grid(
        images.detach().float().cpu().clamp(0, 1), nrow=columns, padding=padding, pad_value=0.5
    )


def save_grid(images: Tensor, path: str | Path, columns: int | None = None, scale: int = 2) -> None:
    """Write a grid of images as a PNG, each pixel drawn as ``scale`` x ``scale``."""
    path = user_path(path)
    grid = image_grid(images, columns).mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(grid)
    picture = picture.resize(
        (picture.width * scale, picture.height * scale), Image.Resampling.NEAREST
    )
    with atomic(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)
