"""The Fréchet distance between Gaussians, and between sets of feature vectors."""

import warnings

import numpy as np
import torch
from torch import Tensor

from glf_minimal.errors import MetricError


class TooFewSamples(UserWarning):
    """A covariance was estimated from fewer samples than it has dimensions."""


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """Squared Fréchet (2-Wasserstein) distance between two Gaussians, as FID reports it.

    Between N(m1, C1) and N(m2, C2) it is

        d² = |m1 - m2|² + tr(C1 + C2 - 2 (C1^½ C2 C1^½)^½)

    (Dowson & Landau 1982; Heusel et al., arXiv:1706.08500.) The trace of the last root is the sum
    of the singular values of C1^½ C2^½, and is computed as that, in float64: the eigenvalues of the
    product are their squares, and rounding would take half the digits of the small ones.

    Args:
        mean1, mean2: (F,), any dtype and device; like all features here tensors or numpy's arrays.
        cov1, cov2: (F, F), symmetric, without negative eigenvalues; may be rank-deficient.

    >>> one = torch.eye(2)
    >>> frechet_distance(torch.zeros(2), one, torch.ones(2), 4 * one)  # 1 + 1 + 2 (2 - 1)²
    4.0
    """
    arguments = {"mean1": mean1, "cov1": cov1, "mean2": mean2, "cov2": cov2}
    m1, c1, m2, c2 = (_float64(tensor, name) for name, tensor in arguments.items())
    size = m1.numel()
    if (
        not size
        or m1.shape != (size,)
        or m2.shape != (size,)
        or c1.shape != (size, size)
        or c2.shape != (size, size)
    ):
        shapes = ", ".join(f"{name} {tuple(np.shape(given))}" for name, given in arguments.items())
        raise MetricError(f"expected means (F,) and covariances (F, F) of one F > 0; got {shapes}")
    return _distance(m1, _root(c1), m2, _root(c2))


class Moments:
    """Mean and covariance of feature vectors that come in batches, in float64.

    Batches are merged by their means and their scatters about them (Chan, Golub & LeVeque 1979), so
    that a large common offset costs no digits. ``n`` counts the vectors so far; ``mean`` (F,) is
    None before the first.

    >>> moments = Moments().update(torch.tensor([[1e9], [1e9 + 64]]))
    >>> moments = moments.update(torch.tensor([[1e9 + 128]]))
    >>> moments.n, moments.covariance.item()
    (3, 4096.0)
    """

    def __init__(self):
        self.n = 0
        self.mean = None
        self._scatter = 0.0

    def update(self, features: Tensor) -> "Moments":
        """Take in features (N, F), N > 0, of any dtype and device; returns itself."""
        features = checked_features(features)
        n, mean = len(features), features.mean(0)
        if self.mean is None:
            self.mean = torch.zeros_like(mean)
        if mean.shape != self.mean.shape:
            raise MetricError(
                f"expected features of length {len(self.mean)} like those before, got {len(mean)}"
            )
        delta, centred = mean - self.mean, features - mean
        self._scatter = (
            self._scatter + centred.T @ centred + delta.outer(delta) * (self.n * n / (self.n + n))
        )
        self.mean = self.mean + delta * (n / (self.n + n))
        self.n += n
        return self

    @property
    def covariance(self) -> Tensor:
        """(F, F), unbiased: the scatter divided by n - 1, as np.cov has it."""
        if self.n < 2:
            raise MetricError(f"a covariance needs at least 2 feature vectors; got {self.n}")
        return self._scatter / (self.n - 1)


def frechet_from_features(real: Tensor, generated: Tensor) -> float:
    """``frechet_distance`` between the moments of two sets of features, (N, F) and (M, F).

    The estimate is biased upwards, by O(F / N) for the means and O(F² / N) for the covariances: two
    sets drawn from one N(0, I) are at about (F + F (F + 1) / 4) (1 / N + 1 / M), not at 0. So
    compare only numbers from the same N and M. Warns ``TooFewSamples`` where N or M is smaller than
    F.
    """
    first, second = Moments().update(real), Moments().update(generated)
    for name, moments in (("real", first), ("generated", second)):
        if moments.n < (size := len(moments.mean)):
            warnings.warn(
                f"{moments.n} {name} samples for {size} feature dimensions leave the covariance "
                f"singular and the Fréchet distance much too large; take at least {size}, better "
                "ten times as many",
                TooFewSamples,
                stacklevel=2,
            )
    return frechet_distance(first.mean, first.covariance, second.mean, second.covariance)


def bootstrap_standard_error(
    real: Tensor, generated: Tensor, resamples: int = 20, seed: int = 0
) -> float:
    """Standard error of ``frechet_from_features`` over the draw of the generated images.

    It is the spread of the distance over resamplings of the generated set.

    The real features (N, F) stay as they are: a reported FID refers to one fixed set of real
    images, and what would differ another time is the draw of the generated ones (M, F). Only the
    spread is of use; the resampled distances themselves are too large, as a set with repeated
    vectors is less diverse. 20 resamples give it to about 16 %.

    Args:
        resamples: how many sets of M vectors are drawn from ``generated`` with replacement; at
            least 2.
        seed: of these draws; torch's global random state is not used.
    """
    if resamples < 2:
        raise MetricError(f"resamples: expected at least 2, got {resamples}")
    generated = checked_features(generated, "generated")
    reference = Moments().update(real)
    n = len(generated)
    generator = torch.Generator().manual_seed(seed)
    root = _root(reference.covariance)
    distances = []
    for _ in range(resamples):
        drawn = Moments().update(generated[torch.randint(n, (n,), generator=generator)])
        distances.append(_distance(reference.mean, root, drawn.mean, _root(drawn.covariance)))
    return torch.tensor(distances, dtype=torch.float64).std().item()


def checked_features(features: Tensor, name: str = "features") -> Tensor:
    """Features as float64 (N, F) on the CPU.

    Raises MetricError for features of another shape, that are not finite, or that are too large.
    """
    features = _float64(features, name)
    if features.ndim != 2 or not features.numel():
        raise MetricError(
            f"{name}: expected shape (N, F) with N, F > 0; got {tuple(features.shape)}"
        )
    if (size := features.abs().max()) > 1e16:  # some measures square them in float32
        raise MetricError(
            f"{name}: values of up to {size:.3g} are too large to compare; expected less than 1e16"
        )
    return features


def _float64(tensor: Tensor | np.ndarray, name: str) -> Tensor:
    try:
        tensor = torch.as_tensor(tensor).detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MetricError(
            f"{name}: expected a tensor or an array of numbers, got a {type(tensor).__name__}"
        ) from error
    if not tensor.isfinite().all():
        raise MetricError(
            f"{name}: {(~tensor.isfinite()).sum()} of {tensor.numel()} values are NaN or infinite"
        )
    return tensor


def _root(covariance: Tensor) -> Tensor:
    """A root of a covariance C: A (F, r) with A A^T = C.

    Its columns are eigenvectors times roots of their eigenvalues, of which the r that are more than
    rounding errors count.
    """
    if (covariance - covariance.T).abs().max() > 1e-5 * covariance.abs().max():
        raise MetricError("a covariance is not symmetric; expected C = C^T, as Moments gives it")
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
    return vectors[:, kept] * values[kept].sqrt()


def _distance(mean1: Tensor, root1: Tensor, mean2: Tensor, root2: Tensor) -> float:
    """The squared distance d² from roots A of the covariances.

    tr C = |A|², and A1^T A2 has the singular values of C1^½ C2^½.
    """
    traces = root1.square().sum() + root2.square().sum()
    distance = (
        (mean1 - mean2).square().sum() + traces - 2 * torch.linalg.svdvals(root1.T @ root2).sum()
    )
    return max(distance.item(), 0.0)  # for equal Gaussians it can end a rounding error below
