"""The small classifiers whose features the Fréchet classifier distance (FCD) compares.

One residual network for all data sets. They are trained by ``fit`` with the recipes
``classifier-<data set>``; the weights of this package lie in ``evaluation/weights`` in half
precision, with their test accuracy in the header.
"""

import math
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glf_minimal.data import SHAPES
from glf_minimal.errors import DataError, MetricError
from glf_minimal.files import DAMAGE, load_weights, read_tensors, write_tensors
from glf_minimal.models.base import Trainable
from glf_minimal.models.stages import Adam, Stage, Update
from glf_minimal.networks import ConvNetwork

WEIGHTS_FOLDER = Path(__file__).parent / "weights"


class ResidualBlock(nn.Module):
    """x -> relu(conv-bn-relu-conv-bn(x) + shortcut(x)) (He et al. 2016).

    A stride of 2 halves the sides.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def _residual_stage(inputs: int, outputs: int, stride: int, blocks: int) -> list[ResidualBlock]:
    """Residual blocks in a row, of which the first changes the channels and the size."""
    others = [ResidualBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
    return [ResidualBlock(inputs, outputs, stride), *others]


class Classifier(Trainable):
    """A residual network of three stages.

    Args:
        image_shape: (C, H, W) of the images.
        classes: how many classes, or, for binary attributes, how many attributes.
        width: channels of the first stage; the next two have twice and four times as many.
        stride: of the first convolution.
        attributes: labels are (N, classes) binary attributes instead of (N,) classes.
        zoom: training images are enlarged by up to this factor,
        shift: moved by up to this fraction of their side,
        flip: mirrored half of the time,
        crop: and moved by up to so many whole pixels; what comes in from outside is black.
        blocks: residual blocks of each stage.
        weight_decay: Adam's, of all weights.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int = 10,
        width: int = 16,
        stride: int = 1,
        attributes: bool = False,
        zoom: float = 1.0,
        shift: float = 0.0,
        flip: bool = False,
        crop: int = 0,
        blocks: int = 1,
        weight_decay: float = 0.0,
    ):
        super().__init__()
        if blocks < 1 or crop < 0:
            raise ValueError(f"expected blocks >= 1 and crop >= 0, got {blocks} and {crop}")
        self.image_shape = tuple(image_shape)
        self.attributes = attributes
        self.zoom = zoom
        self.shift = shift
        self.flip = flip
        self.crop = crop
        adam = Adam(weight_decay=weight_decay)
        update = Update({"body": adam, "head": adam}, inputs=("images", "labels"))
        self.stages = (Stage("classifier", (update,)),)
        stages = ((width, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2))
        # In the format of a ConvNetwork the backward pass of strided 1x1 convolutions of fewer than
        # 8 channels, in the oneDNN of torch 2.15 on CPUs, writes where it should not, and the
        # process ends or goes on with damaged numbers.
        network = ConvNetwork if width >= 8 else nn.Sequential
        self.body = network(
            nn.Conv2d(image_shape[0], width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            *(block for stage in stages for block in _residual_stage(*stage, blocks)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * width, classes)

    def require_shape(self, shape: tuple[int, ...]) -> None:
        """MetricError where images (C, H, W) have another shape than those it was made for."""
        if tuple(shape) != self.image_shape:
            got, own = ("x".join(map(str, sizes)) for sizes in (shape, self.image_shape))
            raise MetricError(f"this classifier judges images of {own}, got {got}; resize them")

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] -> features (N, 4 * width), before the linear layer."""
        self.require_shape(x.shape[1:])
        return self.body(2 * x - 1)

    def losses(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy in nats per image, and the fraction of labels that is right.

        For attributes the cross-entropy is summed over them.
        """
        expected = (len(x), self.head.out_features) if self.attributes else (len(x),)
        if labels.shape != expected:
            raise DataError(
                f"labels: expected shape {expected}, got {tuple(labels.shape)}; set "
                "model.classes and model.attributes"
            )
        logits = self.head(self(self.augment(x) if self.training else x)).float()
        if self.attributes:
            loss = F.binary_cross_entropy_with_logits(
                logits, labels.float(), reduction="sum"
            ) / len(x)
        else:
            loss = F.cross_entropy(logits, labels)
        return {"loss": loss, "accuracy": self.correct(logits, labels).float().mean()}

    def correct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Which labels, or attributes, the logits (N, classes) get right."""
        return (logits > 0) == (labels > 0) if self.attributes else logits.argmax(1) == labels

    def augment(self, x: Tensor) -> Tensor:
        """Crop, zoom, shift and mirror each image at random, as far as these are on."""
        if self.crop:
            x = _random_crops(x, self.crop)
        if self.zoom == 1 and self.shift == 0 and not self.flip:
            return x
        n = len(x)
        like = {"device": x.device, "dtype": x.dtype}
        scale = torch.exp(-torch.rand(n, **like) * math.log(self.zoom))
        sign = 1.0 - 2.0 * (torch.rand(n, **like) < 0.5) if self.flip else torch.ones_like(scale)
        offset = (2 * torch.rand(n, 2, 1, **like) - 1) * 2 * self.shift
        matrix = torch.diag_embed(torch.stack([scale * sign, scale], dim=1))
        grid = F.affine_grid(
            torch.cat([matrix, offset], dim=2).to(x.dtype), list(x.shape), align_corners=False
        )
        return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)

    @torch.no_grad()
    def accuracy(self, images: Iterable[tuple[Tensor, Tensor]]) -> float:
        """The share of right labels (or attributes) in batches of (images, labels)."""
        self.eval()
        right = torch.cat([self.correct(self.head(self(x)), labels).cpu() for x, labels in images])
        return right.double().mean().item()


def _random_crops(x: Tensor, pixels: int) -> Tensor:
    """Move each image (N, C, H, W) by up to ``pixels`` whole pixels; black comes in."""
    n, _, height, width = x.shape
    padded = F.pad(x, 4 * [pixels])
    top, left = torch.randint(2 * pixels + 1, (2, n, 1), device=x.device)
    rows = (top + torch.arange(height, device=x.device))[:, :, None]
    columns = (left + torch.arange(width, device=x.device))[:, None, :]
    images = torch.arange(n, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[images, rows, columns].permute(0, 3, 1, 2)


def classifier_path(data: str) -> Path:
    """Where the weights of a data set's classifier lie; the digits of "mnist-5k" are MNIST's."""
    return WEIGHTS_FOLDER / f"classifier-{data.removesuffix('-5k')}.safetensors"


def cast(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The same named tensors, those of floating point numbers in another dtype."""
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}


def save_classifier(classifier: Classifier, path: Path, facts: dict) -> None:
    """Write the weights in half precision.

    ``facts`` (settings, accuracy, origin) go into the header of the file.
    """
    write_tensors(path, cast(classifier.state_dict(), torch.float16), facts)


def _weights_file(data: str) -> Path:
    """``classifier_path``, where there is a file; MetricError where there is none.

    Binarized images have the classifier of the grey ones.
    """
    data = data.removesuffix(" (binary)")
    path = classifier_path(data)
    files = sorted(WEIGHTS_FOLDER.glob("classifier-*.safetensors"))
    if path not in files:  # which a name may be too long for
        known = ", ".join(file.stem.removeprefix("classifier-") for file in files) or "no data set"
        remedy = "take --fid, or give evaluate in Python a classifier of your own"
        if data in SHAPES:  # the data sets with labels
            remedy += (
                f", or train one: 'glf train --recipe classifier-mnist --data {data}' and 'glf "
                "evaluate RUN --install'"
            )
        raise MetricError(
            f"there is no classifier for {data}, and so no FCD, only for {known}; {remedy}"
        )
    return path


def classifier_digest(data: str) -> str:
    """SHA-256 of the file of a data set's classifier; MetricError where there is none."""
    return sha256(_weights_file(data).read_bytes()).hexdigest()


def load_classifier(data: str) -> tuple[Classifier, dict]:
    """The classifier behind the FCD of a data set, in eval mode, and the facts in its file.

    The facts also say, as "sha256", the digest of the file: other weights give other distances.

    Raises:
        MetricError: there is none for this data set.
    """
    path = _weights_file(data)
    tensors, facts = read_tensors(path)
    try:
        arguments = {
            name: value for name, value in facts["settings"]["model"].items() if name != "kind"
        }
        classifier = Classifier(tuple(facts["settings"]["image_shape"]), **arguments)
    except DAMAGE as error:
        raise MetricError(
            f"{path} does not give a classifier ({error}); install this package again"
        ) from error
    load_weights(classifier, cast(tensors, torch.float32), path)
    return classifier.eval().requires_grad_(False), facts | {"sha256": classifier_digest(data)}
