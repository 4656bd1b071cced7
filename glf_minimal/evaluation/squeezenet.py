"""A second judge of samples: SqueezeNet's features, learned on ImageNet and not on the data set."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from glf_minimal.errors import MetricError
from glf_minimal.evaluation.features import FrozenFeatures
from glf_minimal.files import tensors_digest, user_path
from glf_minimal.perceptual import cached_weights, load_features, normalized


class SqueezeNetFeatures(FrozenFeatures):
    """Features of torchvision's SqueezeNet 1.1, whose Fréchet distance is called FSD.

    Images (N, 1 or 3, H, W), float in [0, 1], of any size -> (N, 512) float32: the output of the
    last fire module, averaged over the positions. The images are enlarged to 128 x 128 pixels and
    normalized as torchvision's networks expect. At that size the features tell the classes of
    CIFAR-10 apart as well as at 224 x 224, in a fifth of the time. Always in eval mode, in
    float32, without gradients.

    Args:
        weights: path of the weights (.pth or .safetensors, torchvision's key names). None takes
            them from torch's cache and downloads nothing.

    Raises:
        MetricError: torch's cache has no such file.
        RunError: the file cannot be read, or it belongs to another network.
    """

    side = 128
    layer = "features.12"

    def __init__(self, weights: str | Path | None = None):
        super().__init__()
        path = cached_weights("squeezenet") if weights is None else user_path(weights)
        if weights is None and not path.exists():
            raise MetricError(
                f"SqueezeNet's ImageNet weights are missing; put {path.name} into {path.parent}, "
                "or give the path of a copy"
            )
        self.network = load_features("squeezenet", path)
        self.digest = tensors_digest(self.network.state_dict())
        self.train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        size = (self.side, self.side)
        with torch.autocast(images.device.type, enabled=False):
            large = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
            pictures = normalized(large).contiguous(memory_format=torch.channels_last)
            return self.network(pictures).mean((2, 3))

    @property
    def protocol(self) -> dict[str, str | int]:
        """What a record says of this judge."""
        return {"layer": self.layer, "side": self.side, "weights_sha256": self.digest}
