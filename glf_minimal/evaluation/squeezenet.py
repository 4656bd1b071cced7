"""A second judge of samples: SqueezeNet's features, learned on ImageNet and not on the data set."""

from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glf_minimal.errors import MetricError
from glf_minimal.evaluation.features import extract
from glf_minimal.files import tensors_digest, user_path
from glf_minimal.perceptual import MEAN, STD, load_features


class SqueezeNetFeatures(nn.Module):
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
        path = squeezenet_cache() if weights is None else user_path(weights)
        if weights is None and not path.exists():
            raise MetricError(
                f"SqueezeNet's ImageNet weights are missing; put {path.name} into {path.parent}, "
                "or give the path of a copy"
            )
        self.network = load_features("squeezenet", path)
        self.digest = tensors_digest(self.network.state_dict())
        self._reference: dict[str, Tensor] = {}
        self.train(False)

    def train(self, mode: bool = True) -> "SqueezeNetFeatures":
        """Stay in eval mode, whatever is asked for."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        size = (self.side, self.side)
        with torch.autocast(images.device.type, enabled=False):
            images = images.float().expand(-1, 3, -1, -1)
            large = F.interpolate(images, size, mode="bilinear", antialias=True)
            mean = large.new_tensor(MEAN).view(3, 1, 1)
            std = large.new_tensor(STD).view(3, 1, 1)
            normalized = (large - mean) / std
            maps = self.network(normalized.contiguous(memory_format=torch.channels_last))
            return maps.mean((2, 3))

    def of_reference(
        self, digest: str, batches: Iterable[Tensor], device: torch.device | str
    ) -> Tensor:
        """Features (N, 512) of a reference set, kept by its digest: many models meet the same."""
        if digest not in self._reference:
            self._reference[digest] = extract(self, batches, device)
        return self._reference[digest]

    @property
    def protocol(self) -> dict[str, str | int]:
        """What a record says of this judge."""
        return {"layer": self.layer, "side": self.side, "weights_sha256": self.digest}


def squeezenet_cache() -> Path:
    """Where torch keeps torchvision's weights of SqueezeNet 1.1."""
    return Path(torch.hub.get_dir(), "checkpoints", "squeezenet1_1-b8a52dc0.pth")
