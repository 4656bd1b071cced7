"""Flows that are not the paper's, to compare its own with.

One has splines in place of straight lines, the other a mixture of Gaussians in place of N(0, I).
"""

import torch
from torch import Tensor, nn

from glf_minimal.flows import AffineCoupling, Flow, two_sided_flow
from glf_minimal.models.priors import FlowOnNoise, LearnedMixture
from glf_minimal.networks import mlp, run_in_its_dtype


class SplineCoupling(nn.Module):
    """Each half of z moves by monotonic splines whose knots are computed from the other half.

    The splines are rational-quadratic (Durkan et al., "Neural Spline Flows", arXiv:1906.04032) on
    [-5, 5] and the identity outside; zuko computes them. First z1 moves given z2, then z2 given the
    new z1. The last layers start at 0, and with them every spline as the identity.

    Args:
        dim: length D of the latent vectors, at least 2.
        hidden: width of the two hidden layers that compute the knots.
        bins: pieces K of each spline.
        batch_norm: batch norm in the hidden layers.
    """

    def __init__(self, dim: int, hidden: int, bins: int = 8, *, batch_norm: bool = True):
        super().__init__()
        if dim < 2:
            raise ValueError(
                f"dim: a coupling layer splits its input in two, so it needs dim >= 2; got {dim}"
            )
        if bins < 2:
            raise ValueError(f"bins: a spline needs at least 2 pieces, got {bins}")
        self.dim, self.bins = dim, bins
        self.sizes = [dim - dim // 2, dim // 2]
        first, second = self.sizes
        # For each entry K widths, K heights, and the slopes at the K - 1 knots between them.
        each = 3 * bins - 1
        hidden_layers = (hidden, hidden)
        self.move_first = mlp(second, hidden_layers, first * each, batch_norm=batch_norm)
        self.move_second = mlp(first, hidden_layers, second * each, batch_norm=batch_norm)
        for network in (self.move_first, self.move_second):
            nn.init.zeros_(network[-1].weight)
            nn.init.zeros_(network[-1].bias)

    def _splines(self, network: nn.Module, passive: Tensor):
        """The splines of the half that moves, as zuko's transform, in the dtype of ``passive``."""
        from zuko.transforms import MonotonicRQSTransform

        knots = run_in_its_dtype(network, passive).to(passive.dtype)
        knots = knots.unflatten(1, (-1, 3 * self.bins - 1))
        return MonotonicRQSTransform(*knots.split([self.bins, self.bins, self.bins - 1], dim=2))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) -> y (N, D), log_det (N,)."""
        z1, z2 = z.split(self.sizes, dim=1)
        y1, first = self._splines(self.move_first, z2).call_and_ladj(z1)
        y2, second = self._splines(self.move_second, y1).call_and_ladj(z2)
        return torch.cat([y1, y2], dim=1), first.sum(1) + second.sum(1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) -> z (N, D), log_det (N,) of the inverse."""
        y1, y2 = y.split(self.sizes, dim=1)
        splines = self._splines(self.move_second, y1)
        z2 = splines.inv(y2)
        log_det = splines.log_abs_det_jacobian(z2, y2).sum(1)
        splines = self._splines(self.move_first, z2)
        z1 = splines.inv(y1)
        log_det = log_det + splines.log_abs_det_jacobian(z1, y1).sum(1)
        return torch.cat([z1, z2], dim=1), -log_det


def spline_flow(
    dim: int,
    hidden: int = 64,
    blocks: int = 4,
    seed: int = 0,
    *,
    bins: int = 8,
    batch_norm: bool = True,
    small_init: bool = True,
) -> Flow:
    """The authors' flow with a ``SplineCoupling`` after each of its affine couplings.

    The affine couplings bring the latents into the reach of the splines; whatever the authors' flow
    can represent, this one can, too. For the other arguments see ``two_sided_flow``.
    """
    layers: list[nn.Module] = []
    authors = two_sided_flow(
        dim, hidden, blocks, seed, batch_norm=batch_norm, small_init=small_init
    )
    for layer in authors.layers:
        layers.append(layer)
        if isinstance(layer, AffineCoupling):
            layers.append(SplineCoupling(dim, hidden, bins, batch_norm=batch_norm))
    return Flow(layers)


def mixture_flow(
    dim: int,
    hidden: int = 64,
    blocks: int = 4,
    seed: int = 0,
    *,
    components: int = 10,
    batch_norm: bool = True,
    small_init: bool = True,
) -> FlowOnNoise:
    """The authors' flow with a mixture of Gaussians as its noise; see ``two_sided_flow``."""
    authors = two_sided_flow(
        dim, hidden, blocks, seed, batch_norm=batch_norm, small_init=small_init
    )
    return FlowOnNoise(list(authors.layers), LearnedMixture(dim, components))
