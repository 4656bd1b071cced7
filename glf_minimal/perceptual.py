"""Perceptual loss: L1 on pixels plus L1 on the features of a network that knows ImageNet.

The authors compare VGG16's features; SqueezeNet 1.1 is the small alternative (its weights are a
download of 5 MB, VGG16's of 528 MiB).
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glf_minimal.errors import RecipeError
from glf_minimal.files import DAMAGE, load_weights, read_pretrained, user_path
from glf_minimal.networks import dtype_of

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

# Which entries of the network's ``features`` are compared: for VGG16 the authors' choice, with one
# more from 64 pixels on; for SqueezeNet the last layer before each pooling, and the last fire
# module but one.
NETWORKS = {"vgg16": ((2, 7, 12), (21,)), "squeezenet": ((1, 4, 7), (11,))}
SMALLEST = 17  # pixels of a side that leave something after the poolings
# What torchvision's networks were trained with.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _torchvision(network: str) -> tuple[Callable[[], nn.Module], "WeightsEnum"]:
    """What makes "vgg16" or "squeezenet", and its ImageNet weights."""
    from torchvision import models

    return {
        "vgg16": (models.vgg16, models.VGG16_Weights.IMAGENET1K_V1),
        "squeezenet": (models.squeezenet1_1, models.SqueezeNet1_1_Weights.IMAGENET1K_V1),
    }[network]


def cached_weights(network: str) -> Path:
    """Where torch keeps the ImageNet weights of "vgg16" or "squeezenet" once they are there."""
    _, known = _torchvision(network)
    return Path(torch.hub.get_dir(), "checkpoints", known.url.rpartition("/")[2])


def normalized(images: Tensor) -> Tensor:
    """Grey or RGB images in [0, 1] as torchvision's networks were trained on: (N, 3, H, W)."""
    mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (images.expand(-1, 3, -1, -1) - mean) / std


def load_features(network: str, weights: str | Path | None = None) -> nn.Sequential:
    """The convolutional layers of VGG16 or SqueezeNet 1.1 with their ImageNet weights, frozen.

    They are torchvision's.

    Args:
        network: "vgg16" or "squeezenet".
        weights: a safetensors or .pth file with torchvision's key names ("features.0.weight", …),
            of the whole network or of the features alone; None for torchvision's download, kept in
            torch's cache.

    Raises:
        RecipeError: no download.
        RunError: no such file, or one of another network.
    """
    make, known = _torchvision(network)
    if weights is None:
        try:
            tensors = known.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except DAMAGE as error:
            file = cached_weights(network)
            raise RecipeError(
                f"the ImageNet weights of {network} could not be downloaded ({error}); connect "
                f"to the network, put {file.name} into {file.parent}, or name a local file: "
                f"reconstruction={network}:PATH"
            ) from error
    else:
        tensors = read_pretrained(user_path(weights))
    with torch.device("meta"):
        features = make().features
    features = features.to_empty(device="cpu")
    found = tensors.items() if isinstance(tensors, dict) else ()
    own = {
        str(name).removeprefix("features."): t
        for name, t in found
        if str(name).startswith("features.")
    }
    load_weights(features, own, user_path(weights or known.url))
    return features.requires_grad_(False).eval()


class PerceptualLoss(nn.Module):
    """L1 on pixels plus L1 on features (paper, Fig. 5).

    Each is summed over all entries and averaged over the batch.

    Grey images are repeated in three channels. The network is loaded when it is first needed and is
    no part of the module's parameters or state: a run's weights do not contain it.

    Args:
        network: "vgg16" or "squeezenet".
        weights: see ``load_features``.
        features: the layers themselves, instead of loading them; they are frozen and put into eval
            mode.
    """

    def __init__(
        self,
        network: str = "vgg16",
        weights: str | Path | None = None,
        features: nn.Module | None = None,
    ):
        super().__init__()
        if network not in NETWORKS:
            raise ValueError(f"network: expected one of {', '.join(NETWORKS)}; got {network!r}")
        self.network, self.weights = network, weights
        self.__name__ = network  # what ``describe`` calls this loss
        # In a list, where nn.Module does not look for sub-modules.
        self._features = [None if features is None else features.requires_grad_(False).eval()]

    def features(self, x: Tensor) -> list[Tensor]:
        """Images (N, 1 or 3, H, W) in [0, 1] -> the compared feature maps."""
        if x.shape[1] not in (1, 3) or min(x.shape[2:]) < SMALLEST:
            raise ValueError(
                "perceptual loss: expected grey or RGB images (N, 1 or 3, H, W) of at least "
                f"{SMALLEST} pixels, got {tuple(x.shape)}"
            )
        if self._features[0] is None:
            self._features[0] = load_features(self.network, self.weights)
        network = self._features[0].to(x.device)
        always, from_64_pixels = NETWORKS[self.network]
        layers = always + (from_64_pixels if min(x.shape[2:]) >= 64 else ())
        h = normalized(x).to(dtype_of(network, x.dtype))
        maps = []
        for index, layer in enumerate(network[: layers[-1] + 1]):
            # Not in place: a kept map must not be overwritten by the layer after it.
            h = F.relu(h) if isinstance(layer, nn.ReLU) else layer(h)
            if index in layers:
                maps.append(h.to(x.dtype))  # sums of half precision would lose digits
        return maps

    def forward(self, reconstruction: Tensor, x: Tensor) -> Tensor:
        with torch.no_grad():
            targets = self.features(x)
        pairs = zip([reconstruction, *self.features(reconstruction)], [x, *targets], strict=True)
        return sum((ours - theirs).abs().sum() for ours, theirs in pairs) / len(x)
