"""Reconstruction losses, in nats per image: summed over pixels and channels, averaged over the batch.

Each takes a reconstruction and the image, both (N, C, H, W) in [0, 1], and returns a scalar.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def mse(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Squared error. Up to a constant, -log N(x; x_hat, I/2): a Gaussian decoder of variance 1/2."""
    return F.mse_loss(reconstruction, x, reduction="sum") / len(x)


def l1(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Absolute error. Up to a constant, the negative log-likelihood of a Laplace decoder of scale 1."""
    return F.l1_loss(reconstruction, x, reduction="sum") / len(x)


def bce(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Binary cross-entropy: -log-likelihood of a Bernoulli decoder, for binary (or grey, in [0, 1]) x.

    Computed outside autocast, in the dtype of the images: half precision has no BCE.
    """
    with torch.autocast(x.device.type, enabled=False):
        return F.binary_cross_entropy(reconstruction.to(x.dtype), x, reduction="sum") / len(x)


RECONSTRUCTION_LOSSES = {"mse": mse, "l1": l1, "bce": bce}
