"""Normalizing flows on latent vectors: affine coupling layers, permutations, and their composition.

A flow f is an invertible map between latents z and noise eps. Its forward direction is data ->
noise everywhere in this package: ``flow(z) -> (eps, log_det)`` and ``flow.inverse(eps) -> (z,
log_det)``, where log_det is the logarithm of the absolute Jacobian determinant of the direction
just computed, one number a row, in nats.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glf_minimal.networks import dtype_of, run_in_its_dtype

LOG_2PI = math.log(2 * math.pi)
# s = sigmoid(a + 2) underflows for very negative a, and y = (z + t) * 0 cannot be inverted. A floor
# of 1e-3 keeps every layer invertible in float32; in ordinary training s never comes near it.
MIN_LOG_SCALE = math.log(1e-3)


def draw_noise(
    n: int,
    dim: int,
    like: Tensor,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """temperature * eps, eps ~ N(0, I): (n, dim), on the device of ``like``.

    Its dtype is that of ``like``, or float32 where that is half precision.
    """
    device = like.device if generator is None else generator.device
    dtype = torch.promote_types(like.dtype, torch.float32)
    noise = torch.randn(n, dim, dtype=dtype, device=device, generator=generator)
    return temperature * noise.to(like.device)


class Conditioner(nn.Module):
    """The network of a coupling layer.

    Half of a vector goes in; the raw log-scale ``a`` and the shift ``t`` of the other half come
    out.

    joint=True is one MLP with both outputs (slide deck); joint=False is one MLP each (authors'
    code).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: int,
        depth: int = 2,
        *,
        joint: bool,
        batch_norm: bool,
    ):
        super().__init__()

        def mlp(out: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for width_in, width_out in pairwise([inputs] + depth * [hidden]):
                layers += [nn.Linear(width_in, width_out), nn.ReLU()]
                if batch_norm:
                    layers.append(nn.BatchNorm1d(width_out))
            return nn.Sequential(*layers, nn.Linear(hidden, out))

        self.nets = nn.ModuleList([mlp(2 * outputs)] if joint else [mlp(outputs), mlp(outputs)])

    def forward(self, passive: Tensor) -> tuple[Tensor, Tensor]:
        """(N, inputs) -> twice (N, outputs), in the dtype of the input even under autocast."""
        outputs = [run_in_its_dtype(net, passive) for net in self.nets]
        a_and_t = torch.cat(outputs, dim=1).to(passive.dtype)
        return a_and_t.chunk(2, dim=1)


class AffineCoupling(nn.Module):
    """Half of a vector moves by a scale and a shift that are computed from the other half.

    The Jacobian is triangular.

    With z = (z1, z2) and (a, t) from the conditioner of the half that stays:

    - ``scale="sigmoid"`` (slide deck): s = sigmoid(a + 2), y2 = (z2 + t) * s. As s < 1, such a
      layer only ever contracts: its log_det is never positive. For latents of scale 100 and more
      its inverse loses digits in float32, layer by layer, because a grows with z1; use float64 or
      the other form there.
    - ``scale="soft-clamp"`` (authors' code): s = exp(2 * 0.636 * atan(a)), y2 = z2 * s + t.
      |log s| < 2 whatever the network says.

    ``two_sided=False`` moves z2 given z1. ``two_sided=True`` first moves z1 given z2, then z2 given
    the new z1. For odd ``dim`` the first half is the larger one.

    Args:
        dim: length D of the latent vectors, at least 2.
        hidden: width of the hidden layers of each conditioner.
        depth: how many there are.
        scale: "sigmoid" or "soft-clamp".
        two_sided: move one half or both.
        batch_norm: batch norm after each hidden ReLU of the conditioners.
        joint: one network for scale and shift together, or one each.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        depth: int = 2,
        *,
        scale: str = "soft-clamp",
        two_sided: bool = True,
        batch_norm: bool = False,
        joint: bool = False,
    ):
        super().__init__()
        if dim < 2:
            raise ValueError(
                f"dim: a coupling layer splits its input in two, so it needs dim >= 2; got {dim}"
            )
        if scale not in ("sigmoid", "soft-clamp"):
            raise ValueError(f"scale: expected 'sigmoid' or 'soft-clamp', got {scale!r}")
        self.dim, self.scale = dim, scale
        self.sizes = [dim - dim // 2, dim // 2]
        first, second = self.sizes
        settings = {"depth": depth, "joint": joint, "batch_norm": batch_norm}
        self.move_first = Conditioner(second, first, hidden, **settings) if two_sided else None
        self.move_second = Conditioner(first, second, hidden, **settings)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, scale={self.scale!r}"

    def _scale_and_shift(self, conditioner: Conditioner, passive: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scale and shift in the common form y = z * exp(log_s) + shift."""
        a, t = conditioner(passive)
        if self.scale == "sigmoid":
            log_s = F.logsigmoid(a + 2).clamp(min=MIN_LOG_SCALE)
            return log_s, t * log_s.exp()
        return 2 * 0.636 * torch.atan(a), t

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) -> y (N, D), log_det (N,)."""
        z1, z2 = z.split(self.sizes, dim=1)
        log_det = z.new_zeros(z.shape[0])
        if self.move_first is not None:
            log_s, shift = self._scale_and_shift(self.move_first, z2)
            z1, log_det = z1 * log_s.exp() + shift, log_det + log_s.sum(1)
        log_s, shift = self._scale_and_shift(self.move_second, z1)
        z2, log_det = z2 * log_s.exp() + shift, log_det + log_s.sum(1)
        return torch.cat([z1, z2], dim=1), log_det

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) -> z (N, D), log_det (N,) of the inverse."""
        y1, y2 = y.split(self.sizes, dim=1)
        log_s, shift = self._scale_and_shift(self.move_second, y1)
        y2, log_det = (y2 - shift) * (-log_s).exp(), -log_s.sum(1)
        if self.move_first is not None:
            log_s, shift = self._scale_and_shift(self.move_first, y2)
            y1, log_det = (y1 - shift) * (-log_s).exp(), log_det - log_s.sum(1)
        return torch.cat([y1, y2], dim=1), log_det


class Permutation(nn.Module):
    """A fixed random reordering of the D entries of a vector; log_det = 0.

    The order is drawn once from ``seed`` and kept in a buffer, so it is saved with the weights.
    """

    def __init__(self, dim: int, seed: int = 0):
        super().__init__()
        self.dim = dim
        self.register_buffer(
            "order", torch.randperm(dim, generator=torch.Generator().manual_seed(seed))
        )

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) -> (N, D), zeros (N,)."""
        return z[:, self.order], z.new_zeros(z.shape[0])

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) -> (N, D), zeros (N,)."""
        return y[:, self.order.argsort()], y.new_zeros(y.shape[0])


class Flow(nn.Module):
    """Invertible layers in sequence, from latents to noise with the distribution N(0, I).

    The density of a latent follows from the change of variables (slide deck, "Generative Latent
    Flow"):

        log p(z) = log N(f(z); 0, I) + log |det df/dz|

    Args:
        layers: modules with ``dim``, ``forward`` and ``inverse`` as in ``AffineCoupling``, all of
            one dim.

    >>> flow = two_sided_flow(dim=6, hidden=32).eval()
    >>> z = torch.randn(5, 6)
    >>> eps, log_det = flow(z)
    >>> torch.allclose(flow.inverse(eps)[0], z, atol=1e-5)
    True
    """

    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        dims = sorted({layer.dim for layer in layers})
        if len(dims) != 1:
            raise ValueError(
                f"layers: expected at least one layer, all of the same dim; got dims {dims}"
            )
        self.dim = dims[0]
        self.layers = nn.ModuleList(layers)

    def _checked(self, x: Tensor) -> Tensor:
        """x, in the type of the weights if that is more precise; ValueError for another shape."""
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"expected latents of shape (N, {self.dim}), got {tuple(x.shape)}")
        return x.to(torch.promote_types(x.dtype, dtype_of(self, x.dtype)))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (N, D) -> noise (N, D) and log |det d eps / d z| (N,), in nats."""
        z = self._checked(z)
        log_det = z.new_zeros(z.shape[0])
        for layer in self.layers:
            z, layer_log_det = layer(z)
            log_det = log_det + layer_log_det
        return z, log_det

    def inverse(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Noise (N, D) -> latents (N, D) and log |det d z / d eps| (N,), in nats."""
        eps = self._checked(eps)
        log_det = eps.new_zeros(eps.shape[0])
        for layer in reversed(self.layers):
            eps, layer_log_det = layer.inverse(eps)
            log_det = log_det + layer_log_det
        return eps, log_det

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of latents (N, D) under the flow -> (N,), in nats."""
        eps, log_det = self(z)
        return -0.5 * (eps.square() + LOG_2PI).sum(1) + log_det

    @torch.no_grad()
    def inverse_error(self, z: Tensor) -> float:
        """How exactly the inverse undoes f in this precision.

        This is the largest entry of |f^-1(f(z)) - z| on latents (N, D).

        Relative to the largest entry of |z| where that is above 1; infinite where the way back is
        not finite.
        """
        if not z.numel():
            raise ValueError(f"expected at least one latent, got the shape {tuple(z.shape)}")
        error = (self.inverse(self(z)[0])[0] - z).abs().max() / z.abs().max().clamp(min=1)
        return error.nan_to_num(nan=math.inf, posinf=math.inf).item()

    def sample(
        self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw n latents (n, D): z = f^-1(temperature * eps), eps ~ N(0, I).

        A ``generator`` makes the draw repeatable; it may live on another device than the flow.
        """
        like = next(self.parameters(), torch.empty(0))
        return self.inverse(draw_noise(n, self.dim, like, temperature, generator))[0]


def one_sided_flow(
    dim: int, hidden: int = 200, blocks: int = 4, seed: int = 0, depth: int = 2
) -> Flow:
    """The slide deck's flow: one-sided sigmoid couplings with permutations between them.

    Its log_det is never positive, so no latent has an NLL below D/2 log 2 pi: latents much narrower
    than N(0, I) are out of its reach. Standardize such latents first, or take ``two_sided_flow``.

    The permutations are drawn from ``seed``, not chosen. With few blocks some entries may be in the
    half that stays in all of them, each with a probability of 2^-blocks; they pass the flow
    unchanged, as one of 40 does by default.
    """
    layers: list[nn.Module] = []
    for block in range(blocks):
        if block > 0:
            layers.append(Permutation(dim, seed + block))
        layers.append(
            AffineCoupling(dim, hidden, depth, scale="sigmoid", two_sided=False, joint=True)
        )
    return Flow(layers)


def two_sided_flow(
    dim: int,
    hidden: int = 64,
    blocks: int = 4,
    seed: int = 0,
    *,
    batch_norm: bool = True,
    small_init: bool = True,
    both_sides: bool = True,
) -> Flow:
    """The authors' flow: two-sided soft-clamped couplings, each followed by a permutation.

    ``both_sides=False`` takes the second half of every coupling away, to see what it is worth: each
    then moves only one half of the entries.

    ``small_init`` draws every parameter, the gains of batch norm too, from 0.05 * N(0, 1), as the
    authors do: the flow then starts not far from a mere reordering of the entries. The draws come
    from torch's global random state.
    """
    layers: list[nn.Module] = []
    for block in range(blocks):
        coupling = AffineCoupling(dim, hidden, two_sided=both_sides, batch_norm=batch_norm)
        layers += [coupling, Permutation(dim, seed + block)]
    flow = Flow(layers)
    if small_init:
        for parameter in flow.parameters():
            nn.init.normal_(parameter, std=0.05)
    return flow
