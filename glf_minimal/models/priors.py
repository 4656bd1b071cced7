"""Distributions of latents to draw from, as a flow is one.

Each has ``sample``, and ``log_prob`` where it is known.
"""

import warnings

import torch
from torch import Tensor, nn

from glf_minimal.errors import DivergenceError, first_line, whole_number
from glf_minimal.flows import LOG_2PI, Flow, draw_noise
from glf_minimal.networks import at_least_float32, mlp, run_in_its_dtype


class TooFewLatents(UserWarning):
    """A mixture has so many numbers to fit that it may learn single latents by heart."""


class StandardNormal(nn.Module):
    """N(0, I) on vectors of length ``dim``."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.register_buffer("like", torch.empty(0), persistent=False)  # knows dtype and device

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of latents (N, D) -> (N,), in nats."""
        return -0.5 * (z.square() + LOG_2PI).sum(1)

    def sample(
        self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw n latents (n, D)."""
        return draw_noise(n, self.dim, self.like, temperature, generator)


class GaussianMixture(nn.Module):
    """A mixture of Gaussians with full covariances, fitted by scikit-learn's EM.

    Before it is fitted, it is N(0, I).
    """

    def __init__(self, dim: int, components: int):
        super().__init__()
        components = whole_number("components", components, 1)
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, dim))
        # Lower Cholesky factors.
        self.register_buffer("roots", torch.eye(dim).repeat(components, 1, 1))

    def fit(self, z: Tensor) -> None:
        """Fit to latents (N, D); the same latents give the same mixture.

        Warns where a Gaussian has, on average, fewer than D + 1 of them, which its covariance
        needs.
        """
        from sklearn import mixture

        components, (n, dim) = len(self.weights), z.shape
        if n < components:
            raise ValueError(
                f"components: {components} Gaussians cannot be fitted to {n} latents; take fewer"
            )
        if n < components * (dim + 1):
            warnings.warn(
                f"{n} latents are few for {components} Gaussians in {dim} dimensions, which may "
                f"learn them by heart; take at most {max(1, n // (dim + 1))} components",
                TooFewLatents,
                stacklevel=2,
            )
        # In units of their own spread, since the smallest variance that EM allows is absolute.
        unit = z.double().std().cpu()
        unit = unit if unit > 0 and unit.isfinite() else torch.ones(())
        em = mixture.GaussianMixture(components, covariance_type="full", random_state=0)
        try:
            em.fit((z.cpu().double() / unit).numpy())
        except ValueError as error:
            what = f"no mixture can be fitted to latents of up to {z.abs().max():.3g}"
            raise DivergenceError(f"components: {what} ({first_line(error)})") from error
        self.weights.copy_(torch.from_numpy(em.weights_))
        self.means.copy_(unit * torch.from_numpy(em.means_))
        self.roots.copy_(unit * torch.linalg.cholesky(torch.from_numpy(em.covariances_)))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of latents (N, D) -> (N,), in nats."""
        weights, means, roots = self._in_type(z.dtype)
        components = torch.distributions.MultivariateNormal(means, scale_tril=roots)
        return torch.logsumexp(components.log_prob(z[:, None]) + weights.log(), dim=1)

    def _in_type(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, means and roots in this type, or in float32 or their own if more precise."""
        own = (self.weights, self.means, self.roots)
        dtype = torch.promote_types(dtype, torch.float32)
        return tuple(tensor.to(torch.promote_types(tensor.dtype, dtype)) for tensor in own)

    def sample(
        self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw n latents (n, D); the temperature scales each component about its mean."""
        weights, means, roots = self._in_type(self.means.dtype)
        which = _draw_components(weights, n, generator)
        noise = draw_noise(n, means.shape[1], means, temperature, generator)
        return means[which] + (roots[which] @ noise[:, :, None])[:, :, 0]


class LearnedMixture(nn.Module):
    """A mixture of Gaussians with diagonal covariances, whose parameters are learned by gradients.

    Args:
        dim: length D of a vector.
        components: how many Gaussians. All begin with the same weight and the spread of N(0, I);
            their means are drawn from 0.5 * N(0, I), as equal ones would never part.
    """

    def __init__(self, dim: int, components: int):
        super().__init__()
        if components < 1:
            raise ValueError(f"components: expected at least 1, got {components}")
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(0.5 * torch.randn(components, dim))
        self.log_scales = nn.Parameter(torch.zeros(components, dim))

    def log_prob(self, eps: Tensor) -> Tensor:
        """Log-density of vectors (N, D) -> (N,), in nats."""
        standardized = (eps[:, None] - self.means) * (-self.log_scales).exp()
        each = -0.5 * (standardized.square() + LOG_2PI).sum(2) - self.log_scales.sum(1)
        return torch.logsumexp(each + self.logits.log_softmax(0), dim=1)

    def sample(
        self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw n vectors (n, D); the temperature scales each component about its mean."""
        which = _draw_components(self.logits.softmax(0), n, generator)
        noise = draw_noise(n, self.means.shape[1], self.means, temperature, generator)
        return self.means[which] + self.log_scales[which].exp() * noise


def _draw_components(weights: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """n components of a mixture, drawn by their weights (K,): their indices (n,)."""
    device = weights.device if generator is None else generator.device
    which = torch.multinomial(weights.to(device), n, replacement=True, generator=generator)
    return which.to(weights.device)


class FlowOnNoise(Flow):
    """A flow whose noise has another distribution than N(0, I), such as a mixture of Gaussians.

        log p(z) = log p_noise(f(z)) + log |det df/dz|

    Args:
        layers: see ``Flow``.
        noise: of vectors as long as the latents, with ``log_prob`` and ``sample``.
    """

    def __init__(self, layers: list[nn.Module], noise: nn.Module):
        super().__init__(layers)
        self.noise = noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of latents (N, D) under the flow -> (N,), in nats."""
        eps, log_det = self(z)
        return self.noise.log_prob(eps) + log_det

    def sample(
        self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw n latents (n, D): z = f^-1(eps); the temperature is that of the noise."""
        return self.inverse(self.noise.sample(n, temperature, generator))[0]


class LatentGenerator(nn.Module):
    """An MLP from noise to latents: a distribution one can draw from but not evaluate.

    Args:
        dim: length D of a latent.
        hidden: widths of its hidden layers.
        noise_dim: length of the noise; D where it is not given.
        batch_norm: after each hidden layer; keeps a generator from collapsing to one mode against a
            critic.
    """

    def __init__(
        self,
        dim: int,
        hidden: tuple[int, ...] = (200, 200),
        noise_dim: int | None = None,
        batch_norm: bool = False,
    ):
        super().__init__()
        self.noise_dim = noise_dim or dim
        self.net = mlp(self.noise_dim, hidden, dim, batch_norm=batch_norm)

    def forward(self, eps: Tensor) -> Tensor:
        """Noise (N, noise_dim) -> latents (N, D), in float32 at least."""
        return at_least_float32(run_in_its_dtype(self.net, eps))

    def sample(
        self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw n latents (n, D)."""
        return self(draw_noise(n, self.noise_dim, next(self.parameters()), temperature, generator))
