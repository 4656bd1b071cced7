"""Reconstruction losses, in nats per image.

They are summed over pixels and channels and averaged over the batch.

Each takes a reconstruction and the image, both (N, C, H, W) in [0, 1], and returns a scalar.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glf_minimal.perceptual import NETWORKS, PerceptualLoss


def mse(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Squared error: up to a constant -log N(x; x_hat, I/2), a Gaussian decoder's."""
    return F.mse_loss(reconstruction, x, reduction="sum") / len(x)


def l1(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Absolute error: up to a constant -log-likelihood of a Laplace decoder of scale 1."""
    return F.l1_loss(reconstruction, x, reduction="sum") / len(x)


def bce(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Binary cross-entropy: -log-likelihood of a Bernoulli decoder.

    The images are binary, or grey in [0, 1].

    Computed outside autocast, in the dtype of the images: half precision has no BCE. Where the
    reconstruction is NaN, so is the result; torch's BCE would raise an error there, on a GPU one
    that ends the process.
    """
    with torch.autocast(x.device.type, enabled=False):
        x_hat = reconstruction.to(x.dtype)
        return (
            F.binary_cross_entropy(x_hat.nan_to_num(0.5), x, reduction="sum") / len(x)
            + 0 * x_hat.sum()
        )


class GaussianLikelihood(nn.Module):
    """-log N(x; x_hat, v I) with the variance v of the decoder, one number for all pixels, learned.

        |x - x_hat|^2 / (2 v) + P/2 log(2 pi v),   P = C H W

    For the best v, the mean squared error per pixel, this is P/2 log(mse per pixel) up to a
    constant: the weight of the reconstruction then sets itself (Dai & Wipf, arXiv:1903.05789). Any
    shape (N, ...) will do.

    Args:
        log_variance: where log v starts. Small, so that a VAE first learns to reconstruct: from v =
            1 it may settle for ignoring its latents.
    """

    def __init__(self, log_variance: float = -3.0):
        super().__init__()
        self.log_variance = nn.Parameter(torch.tensor(log_variance))

    def forward(self, reconstruction: Tensor, x: Tensor) -> Tensor:
        pixels = x[0].numel()
        constant = 0.5 * pixels * (self.log_variance + math.log(2 * math.pi))
        return 0.5 * mse(reconstruction, x) * (-self.log_variance).exp() + constant


RECONSTRUCTION_LOSSES = {"mse": mse, "l1": l1, "bce": bce, "gaussian": GaussianLikelihood}


def reconstruction_loss(
    name: str | Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a name; a function or module is given back as it is.

    Args:
        name: "mse", "l1", "bce", "gaussian" (learned variance), or "vgg16" or "squeezenet"
            (perceptual, see ``glf_minimal.perceptual``), these two perhaps with the path of the
            weights: "vgg16:PATH".
    """
    if callable(name):
        return name
    if not isinstance(name, str):
        raise ValueError(
            "reconstruction: expected a name or a function of (reconstruction, images), "
            f"got {name!r}"
        )
    network, _, path = name.partition(":")
    if network in NETWORKS:
        return PerceptualLoss(network, path or None)
    if name not in RECONSTRUCTION_LOSSES:
        known = [*RECONSTRUCTION_LOSSES, *(f"{network}[:PATH]" for network in NETWORKS)]
        raise ValueError(f"reconstruction: expected one of {', '.join(known)}; got {name!r}")
    loss = RECONSTRUCTION_LOSSES[name]
    return loss() if isinstance(loss, type) else loss
