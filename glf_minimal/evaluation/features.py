"""From images to feature vectors: FID's Inception network and the loop over batches."""

import http.client
import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glf_minimal.data import ImageDataset
from glf_minimal.errors import DataError, MetricError
from glf_minimal.files import DAMAGE, read_pretrained, user_path
from glf_minimal.folders import PICTURE_ENDINGS, list_pictures
from glf_minimal.pictures import read_picture, require_size

# Images that a network sees at once. On CPUs the features of larger batches leave the cache, which
# takes up to 2.5 times as long; a GPU wants many.
AT_ONCE = {"cpu": 25, "other": 250}


def require(module: str, package: str) -> ModuleType:
    """Import a module that only metrics need, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MetricError(f"cannot import {module} ({error}); pip install {package}") from error


class FrozenFeatures(nn.Module):
    """A network that judges images and never changes: images (N, C, H, W) -> features (N, F)."""

    def __init__(self):
        super().__init__()
        self._reference: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> "FrozenFeatures":
        """Stay in eval mode, whatever is asked for: batch statistics would change features."""
        return super().train(False)

    def of_reference(
        self, digest: str, batches: Iterable[Tensor], device: torch.device | str
    ) -> Tensor:
        """Features (N, F) of a reference set, kept by its digest: many models meet the same."""
        if digest not in self._reference:
            self._reference[digest] = extract(self, batches, device)
        return self._reference[digest]


class InceptionFeatures(FrozenFeatures):
    """Features of the Inception network that defines FID, as pytorch-fid has it.

    Source: Heusel et al., arXiv:1706.08500.

    Images (N, C, H, W), float in [0, 1], grey or RGB, of any size -> (N, dims) float32, averaged
    over the positions. Resizing to 299 x 299 and scaling are pytorch-fid's own. Always in eval
    mode, without gradients. Reported FIDs are of pictures with 256 levels: round by ``as_uint8``
    what does not come from files.

    Args:
        dims: 2048, the usual one, or 64, 192, 768 for earlier layers.
        weights: path of the weights, .pth (read without running code from it) or .safetensors. None
            takes them from torch.hub's cache, or downloads them there (96 MB); where that fails,
            MetricError says what to do.
    """

    def __init__(self, dims: int = 2048, weights: str | Path | None = None):
        super().__init__()
        inception = require("pytorch_fid.inception", "pytorch-fid")
        blocks = inception.InceptionV3.BLOCK_INDEX_BY_DIM
        if dims not in blocks:
            raise MetricError(f"dims: expected one of {', '.join(map(str, blocks))}; got {dims!r}")
        state = _inception_weights(weights, inception.FID_WEIGHTS_URL)
        # pytorch-fid's own loader neither checks the download nor refuses pickled code, so it gets
        # what was read here. The fork keeps its initial weights, overwritten at once, from moving
        # torch's global random state.
        loader = mock.patch.object(inception, "load_state_dict_from_url", return_value=state)
        with loader, torch.random.fork_rng([]):
            try:
                self.network = inception.InceptionV3([blocks[dims]])
            except (RuntimeError, TypeError, AttributeError) as error:
                reason = " ".join(str(error).split())[:160]
                source = weights or "the cached file"
                raise MetricError(
                    f"weights: {source} does not hold FID's Inception network ({reason})"
                ) from error
        self.train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        low, high = images.min().item(), images.max().item()
        in_range = low >= 0 and high <= 1  # not so of NaN
        if images.ndim != 4 or images.shape[1] not in (1, 3) or not in_range:
            got = f"{tuple(images.shape)} from {low:g} to {high:g}"
            raise MetricError(f"expected grey or RGB images (N, 1 or 3, H, W) in [0, 1]; got {got}")
        with torch.autocast(images.device.type, enabled=False):
            maps = self.network(images.float().expand(-1, 3, -1, -1))[0]
        return F.adaptive_avg_pool2d(maps, 1).flatten(1)


def _inception_weights(path: str | Path | None, url: str) -> dict[str, Tensor]:
    """The state dict of FID's Inception, from a file, torch.hub's cache, or the network."""
    try:
        if path is None:
            return torch.hub.load_state_dict_from_url(
                url, None, "cpu", False, check_hash=True, weights_only=True
            )
        return read_pretrained(user_path(path))
    # Whatever a broken connection or a damaged file in the cache can raise, and what
    # read_pretrained does.
    except (*DAMAGE, http.client.HTTPException) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        what = (
            "cannot download FID's Inception weights"
            if path is None
            else f"weights: cannot read {path}"
        )
        raise MetricError(
            f"{what} ({reason}); put {url.rpartition('/')[2]} into "
            f"{Path(torch.hub.get_dir(), 'checkpoints')}, "
            f"or give the path of a copy (.pth, .safetensors) as weights"
        ) from error


def as_uint8(images: Tensor) -> Tensor:
    """Round images in [0, 1] to the 256 levels that a saved picture has; still float, in [0, 1].

    >>> as_uint8(torch.tensor([0.0, 0.5, 1.0])) * 255
    tensor([  0., 128., 255.])
    """
    return (images.float() * 255).round() / 255


def folder_batches(path: str | Path, batch_size: int = 50) -> Iterator[Tensor]:
    """All pictures of a folder, by name, as batches (B, 3, H, W), RGB, float32 in [0, 1].

    Sub-folders are not read.

    Hidden files are passed over, and what is transparent shows white. Holds one batch at a time.
    DataError names a picture that cannot be read or differs in size from the first.
    """
    path = user_path(path)
    if not path.is_dir():
        raise DataError(f"folder: {path} is not a folder")
    files = list_pictures(path, deep=False).pictures
    if not files:
        raise DataError(
            f"folder: no pictures in {path} itself ({', '.join(sorted(PICTURE_ENDINGS))})"
        )
    size = None
    batch = []
    for i, file in enumerate(files):
        picture = read_picture(file)
        size = size or picture.size
        require_size(picture, file, size, files[0], "crop and scale them alike")
        batch.append(np.asarray(picture.convert("RGB")))
        if len(batch) == batch_size or i == len(files) - 1:
            yield torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).contiguous().float() / 255
            batch = []


def image_batches(
    source: Tensor | ImageDataset | str | Path, batch_size: int = 50
) -> Iterator[Tensor]:
    """Batches (B, C, H, W), float32 in [0, 1], of images in memory or of a folder's pictures.

    Float images are rounded to 256 levels, so that they give the features of the files they would
    be saved to.
    """
    if batch_size < 1:
        raise MetricError(f"batch_size: expected at least 1, got {batch_size}")
    if isinstance(source, str | Path):
        yield from folder_batches(source, batch_size)
        return
    images = source if isinstance(source, ImageDataset) else ImageDataset(source)
    for start in range(0, len(images), batch_size):
        yield as_uint8(images.batch(slice(start, start + batch_size)))


@torch.no_grad()
def extract(
    extractor: nn.Module, batches: Iterable[Tensor], device: torch.device | str = "cpu"
) -> Tensor:
    """Features (N, F), float32 on the CPU, of images that come in batches.

    It holds one batch of images at a time.

    Args:
        extractor: any module, images (B, C, H, W) -> (B, F). It runs, and stays, on ``device`` and
            in eval mode.
        batches: such as ``folder_batches(path)`` or ``images.split(50)``.
    """
    extractor = extractor.to(device).eval()
    features = []
    # Images may be a float64 model's samples.
    dtype = next((p.dtype for p in extractor.parameters()), torch.float32)
    at_once = AT_ONCE.get(torch.device(device).type, AT_ONCE["other"])
    for images in (part for batch in batches for part in batch.split(at_once)):
        features.append(extractor(images.to(device, dtype)).float().cpu())
        if features[-1].ndim != 2 or len(features[-1]) != len(images):
            shape = tuple(features[-1].shape)
            raise MetricError(
                f"extractor: expected (B, F) for {len(images)} images, got {shape}; flatten the "
                "features"
            )
    if not features:
        raise MetricError("batches: expected at least one batch of images, got none")
    return torch.cat(features)
