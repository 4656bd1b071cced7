"""The protocol of an evaluation: what is compared with what, and how."""

from dataclasses import dataclass

from torch import Tensor

from glf_minimal.errors import MetricError, real_number, whole_number
from glf_minimal.evaluation.features import as_uint8

FEWEST = 5  # images on either side: precision and recall look at the third neighbour


@dataclass(frozen=True)
class Protocol:
    """What is compared with what, and how: part of every number.

    Args:
        samples: how many images are generated.
        reference: the split of real images that they are compared with, all of it.
        train_mode: leave batch norm in train mode when sampling, so that each sample depends on the
            ``batch_size`` - 1 others drawn with it (the authors' code does).
        stretch: stretch each sample from its least to its largest value to [0, 1] (the authors'
            code does).
        uint8: round samples to 256 levels, as saving them would.
        binarize: round samples and real images to 0 or 1.
        temperature: scale of the noise.
        seed: of every draw.
        batch_size: samples drawn at a time.
    """

    samples: int = 10_000
    reference: str = "test"
    train_mode: bool = False
    stretch: bool = False
    uint8: bool = True
    binarize: bool = False
    temperature: float = 1.0
    seed: int = 0
    batch_size: int = 500

    def __post_init__(self):
        checked = {
            name: whole_number(name, getattr(self, name), least, MetricError)
            for name, least in {"samples": FEWEST, "batch_size": 2, "seed": 0}.items()
        }
        checked["temperature"] = real_number("temperature", self.temperature, error=MetricError)
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # the dataclass is frozen

    def prepare(self, images: Tensor) -> Tensor:
        """Generated images (N, C, H, W) as the judges get to see them."""
        if self.stretch:
            low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
            images = (images - low) / (high - low).clamp(min=1e-8)
        if self.binarize:
            return (images >= 0.5).float()
        return as_uint8(images) if self.uint8 else images
