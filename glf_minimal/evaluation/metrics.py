"""Numbers that say how good samples, latents and reconstructions are."""

import contextlib
import io
import math
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from glf_minimal.data import ImageDataset
from glf_minimal.errors import MetricError
from glf_minimal.evaluation.classifier import load_classifier
from glf_minimal.evaluation.features import InceptionFeatures, extract, image_batches, require
from glf_minimal.evaluation.frechet import (
    Moments,
    checked_features,
    frechet_distance,
    frechet_from_features,
)
from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures

Images = Tensor | ImageDataset | str | Path


def fid(
    real: Images,
    generated: Images,
    weights: str | Path | None = None,
    dims: int = 2048,
    batch_size: int = 50,
    device: torch.device | str = "cpu",
) -> float:
    """Fréchet Inception Distance, as ``python -m pytorch_fid`` computes it.

    Source: Heusel et al., arXiv:1706.08500.

    It depends on how many images there are; see ``frechet_from_features``.

    Args:
        real, generated: images (N, C, H, W) in [0, 1], or a folder, all of whose pictures are read.
            Images in memory are rounded to 256 levels, and so give the number that their PNG files
            give.
        weights, dims: see ``InceptionFeatures``.
        batch_size: images at a time on a GPU, where it changes the number by rounding errors only;
            a CPU takes at most 25.
    """
    extractor = InceptionFeatures(dims, weights)
    return frechet_from_features(
        *(extract(extractor, image_batches(x, batch_size), device) for x in (real, generated))
    )


def fcd(real: Images, generated: Images, data: str, device: torch.device | str = "cpu") -> float:
    """Fréchet classifier distance: on the features of the classifier of a data set.

    Lower is better. It depends on how many images there are; see ``frechet_from_features``.

    Args:
        real, generated: images as for ``fid``, of the shape of the data set.
        data: the data set whose classifier judges: "mnist", "fashion-mnist", "cifar10", "celeba".
        device: where the features are computed.

    Raises:
        MetricError: there is no classifier for this data set.
    """
    classifier, _ = load_classifier(data)
    return _distance(classifier, real, generated, device)


def fsd(
    real: Images,
    generated: Images,
    weights: str | Path | None = None,
    device: torch.device | str = "cpu",
) -> float:
    """Fréchet SqueezeNet distance: on ImageNet features, see ``SqueezeNetFeatures`` for them.

    Args:
        real, generated: images as for ``fid``.
        weights: path of SqueezeNet's weights; None for torch's cache.
        device: where the features are computed.
    """
    return _distance(SqueezeNetFeatures(weights), real, generated, device)


def _distance(
    extractor: nn.Module, real: Images, generated: Images, device: torch.device | str
) -> float:
    features = [extract(extractor, image_batches(x), device) for x in (real, generated)]
    return frechet_from_features(*features)


def precision_recall(
    real_features: Tensor, generated_features: Tensor, k: int = 3
) -> dict[str, float]:
    """Fidelity and diversity of generated images, from nearest neighbours among features.

    Each vector has a ball around it that reaches to its k-th neighbour in the same set.

    Precision: the share of generated vectors inside a ball of a real one; recall: the share of real
    vectors inside a ball of a generated one (Kynkäänniemi et al., arXiv:1904.06991). Density: in
    how many real balls a generated vector lies, divided by k, may exceed 1; coverage: the share of
    real balls that hold a generated vector (Naeem et al., arXiv:2002.09797). Two large sets of one
    size and distribution have density 1 and coverage 1 - 2^-k on average. All distances are kept at
    once: about 20 N² bytes for two sets of N.

    Takes features (N, F) and (M, F), N and M > k + 1; returns {"precision", "recall", "density",
    "coverage"}.
    """
    real, generated = _pair(real_features, generated_features)
    if not 1 <= k < min(len(real), len(generated)) - 1:
        raise MetricError(
            f"k: expected 1 <= k < N - 1; got {k} for sets of {len(real)} and {len(generated)} "
            "vectors"
        )
    # It prints the sizes, and its threads reset the process's warning filters.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True):
        values = require("prdc", "prdc").compute_prdc(
            real.float().numpy(), generated.float().numpy(), k
        )
    return {name: float(value) for name, value in values.items()}


def kernel_distance(
    real_features: Tensor,
    generated_features: Tensor,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """KID: MMD² between two sets of features, with the kernel (x·y / F + 1)³.

    It is defined on Inception's features (Bińkowski et al., arXiv:1801.01401).

    Unlike the Fréchet distance it is unbiased: around 0, below it too, for two sets from one
    distribution.

    Takes features (N, F) and (M, F), N and M > 1; returns {"kid", "kid_std"}, mean and standard
    deviation over subsets.

    Args:
        subsets: over how many random subsets to average.
        subset_size: vectors in a subset, drawn without replacement. Where a set has fewer, all of
            the smaller set are taken, and as many of the other; then ``kid_std`` shows less than
            the uncertainty, 0 where N = M.
        seed: of these draws; torch's global random state is left as it was.
    """
    real, generated = _pair(real_features, generated_features)
    size = min(subset_size, len(real), len(generated))
    if size < 2 or subsets < 1:
        raise MetricError(f"expected at least 1 subset of 2 vectors; got {subsets} of {size}")
    kid = require("torchmetrics.image.kid", "torchmetrics")
    with warnings.catch_warnings(), torch.random.fork_rng([]):
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save")
        # torch.manual_seed would also move the GPUs' states.
        torch.default_generator.manual_seed(seed)
        distance = kid.KernelInceptionDistance(nn.Identity(), subsets, size)
        distance.update(real, real=True)
        distance.update(generated, real=False)
        mean, std = distance.compute()
    return {"kid": mean.item(), "kid_std": std.item()}


def gaussianity(eps: Tensor) -> dict[str, float]:
    """How far vectors eps (N, D) are from draws of N(0, I), such as latents after the flow.

    - "frechet_to_normal": ``frechet_distance`` of their moments from N(0, I); draws of N(0, I)
      themselves give about D / N + D (D + 1) / (4 N).
    - "ks_max", "ks_mean": largest and mean Kolmogorov-Smirnov distance of a coordinate from
      N(0, 1), in [0, 1]; draws of N(0, 1) give about 0.87 / sqrt(N) on average.
    - "mean_squared_norm_over_d": mean of the squared norm over D; draws of N(0, I) give about 1.
    """
    from scipy.stats import kstest

    eps = checked_features(eps, "eps")
    moments = Moments().update(eps)
    dim = eps.shape[1]
    ks = [float(kstest(coordinate, "norm").statistic) for coordinate in eps.T.numpy()]
    return {
        "frechet_to_normal": frechet_distance(
            moments.mean, moments.covariance, torch.zeros(dim), torch.eye(dim)
        ),
        "ks_max": max(ks),
        "ks_mean": sum(ks) / dim,
        "mean_squared_norm_over_d": eps.square().mean().item(),
    }


def bits_per_dim(nll_nats: float, dim: int) -> float:
    """NLL / (dim log 2): from nats per image or latent to bits per dimension.

    Where the density is over pixels scaled from levels 0 … 255 to [0, 1], the bits of a level are 8
    more.

    >>> bits_per_dim(30 * math.log(2), dim=10)
    3.0
    """
    if dim < 1:
        raise MetricError(f"dim: expected at least 1, got {dim}")
    if not math.isfinite(nll_nats):
        raise MetricError(f"nll_nats: expected a finite number, got {nll_nats}")
    return nll_nats / (dim * math.log(2))


def reconstruction_errors(pairs: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Errors of reconstructions.

    Takes batches of (images, reconstructions), both (B, C, H, W) in [0, 1].

    Returns "mse_per_image", summed over pixels and channels and averaged over images as in
    ``losses.mse``; "rmse_per_pixel", in [0, 1]; "psnr" = -20 log10 of that, in dB, infinite for
    equal images.
    """
    total, images, values = 0.0, 0, 0
    for x, x_hat in pairs:
        if x.shape != x_hat.shape or not x.numel():
            shapes = f"{tuple(x.shape)} and {tuple(x_hat.shape)}"
            raise MetricError(f"expected two batches of images of one shape, got {shapes}")
        squared = (x.float() - x_hat.float()).square().flatten(1).sum(1)
        total += squared.cpu().double().sum().item()  # not every GPU has float64
        images, values = images + len(x), values + x.numel()
    if not images:
        raise MetricError("pairs: expected at least one pair of batches, got none")
    if not math.isfinite(total):
        raise MetricError(
            f"pairs: the squared error of the reconstructions is {total}; expected a finite number"
        )
    mse = total / values
    psnr = -10 * math.log10(mse) if mse else math.inf
    return {"mse_per_image": total / images, "rmse_per_pixel": math.sqrt(mse), "psnr": psnr}


def _pair(real: Tensor, generated: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets as checked float64 features of one length."""
    real = checked_features(real, "real_features")
    generated = checked_features(generated, "generated_features")
    if real.shape[1] != generated.shape[1]:
        raise MetricError(
            f"expected features of one length, got {real.shape[1]} (real) and {generated.shape[1]}"
        )
    return real, generated
