"""Numbers from features: they move the right way, repeat exactly, and touch nothing."""

import math
import sys
import warnings
from itertools import pairwise

import pytest
import torch
from torch import nn
from torchvision.transforms.functional import gaussian_blur

from glf_minimal import load_dataset
from glf_minimal.errors import GLFError, MetricError
from glf_minimal.evaluation import metrics
from glf_minimal.evaluation.features import extract
from glf_minimal.evaluation.frechet import frechet_from_features
from glf_minimal.evaluation.metrics import (
    bits_per_dim,
    gaussianity,
    kernel_distance,
    precision_recall,
    reconstruction_errors,
)
from glf_minimal.losses import mse


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def mnist(data_root):
    return load_dataset("mnist-5k", "train", data_root)


@pytest.fixture(scope="module")
def halves(mnist):
    """Places of two random thousands of digits that share none."""
    return torch.randperm(len(mnist), generator=torch.Generator().manual_seed(0))[:2000].split(1000)


@pytest.fixture(scope="module")
def features():
    """A fixed random convolution network: images (N, 1, 28, 28) -> (N, 128)."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        layers = (
            nn.Conv2d(1, 16, 5, 2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 5, 2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
        )
        extractor = nn.Sequential(*layers, nn.Flatten())
    return lambda images: extract(extractor, images.split(250))


def all_of(real, generated):
    kid = kernel_distance(real, generated, subsets=10, subset_size=500)["kid"]
    return {"frechet": frechet_from_features(real, generated), "kid": kid} | precision_recall(
        real, generated
    )


def falls(values):
    return all(a > b for a, b in pairwise(values))


def test_noise_worsens_everything(mnist, halves, features):
    real, other = (mnist.batch(half) for half in halves)
    noise = normal(*other.shape)
    levels = [
        all_of(features(real), features((other + s * noise).clamp(0, 1)))
        for s in (0.0, 0.1, 0.2, 0.4, 0.8)
    ]
    assert falls([-level["frechet"] for level in levels])
    assert falls([-level["kid"] for level in levels])
    assert falls([level["precision"] for level in levels[1:]])
    assert levels[0]["precision"] > 0.8 > 0.05 > levels[-1]["precision"]


def test_blur_costs_distance_and_recall_but_not_precision(mnist, halves, features):
    """Blurred digits lie between real ones: inside their balls, but all in the middle."""
    real, other = (mnist.batch(half) for half in halves)
    levels = [
        all_of(features(real), features(gaussian_blur(other, 9, s))) for s in (0.4, 0.7, 1.0, 2.0)
    ]
    assert falls([-level["frechet"] for level in levels])
    assert falls([-level["kid"] for level in levels])
    assert falls([level["recall"] for level in levels])
    assert min(level["precision"] for level in levels) > 0.8


def test_dropped_classes_cost_recall_but_not_precision(mnist, halves, features):
    real = features(mnist.batch(halves[0]))
    free = torch.ones(len(mnist), dtype=torch.bool)
    free[halves[0]] = False
    levels = []
    for classes in (10, 5, 2, 1):
        kept = (free & (mnist.labels < classes)).nonzero().flatten()
        kept = kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(1))[:300]]
        levels.append(all_of(real, features(mnist.batch(kept))))
    assert falls([-level["frechet"] for level in levels])
    assert falls([level["recall"] for level in levels])
    assert levels[0]["recall"] > 0.8 > 0.3 > levels[-1]["recall"]
    assert min(level["precision"] for level in levels) > levels[0]["precision"] - 0.05


def test_precision_recall_of_one_distribution(capsys):
    """Near 1 for two sets from it, exactly 1 for a set and itself, 0 for what lies far away."""
    values = precision_recall(normal(500, 2), normal(500, 2, seed=1))
    assert set(values) == {"precision", "recall", "density", "coverage"}
    assert all(type(value) is float for value in values.values())
    assert values == pytest.approx(
        {"precision": 0.9, "recall": 0.9, "density": 1, "coverage": 1 - 2**-3}, abs=0.1
    )
    assert values == precision_recall(normal(500, 2), normal(500, 2, seed=1))
    same = precision_recall(normal(50, 2), normal(50, 2))
    assert same["precision"] == same["recall"] == same["coverage"] == 1
    far = precision_recall(normal(50, 2), normal(60, 2) + 100)
    assert set(far.values()) == {0.0}
    assert capsys.readouterr() == ("", "")


def test_precision_recall_keeps_warnings_as_they_were(monkeypatch, recwarn):
    """Whatever the threads below do to the process's filters."""
    filters = list(warnings.filters)

    def noisy(*_):
        warnings.resetwarnings()
        warnings.warn("from below", stacklevel=1)
        return {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}

    monkeypatch.setattr("prdc.compute_prdc", noisy)
    precision_recall(normal(10, 3), normal(10, 3))
    assert warnings.filters == filters
    assert not recwarn.list


def test_precision_by_hand():
    """Points on a line, k = 1: the balls reach to the nearest neighbour."""
    real, generated = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[0.5], [4.0], [20.0]])
    values = precision_recall(real, generated, k=1)
    # The real balls have the radii 1, 1, 4: two of them hold 0.5, one holds 4. The generated ones
    # have 3.5, 3.5, 16.
    assert values["precision"] == pytest.approx(2 / 3)
    assert values["recall"] == pytest.approx(1)
    assert values["density"] == pytest.approx((2 + 1) / 3)
    assert values["coverage"] == pytest.approx(1)


def test_kernel_distance_is_deterministic_and_leaves_no_trace():
    real, generated = normal(300, 8), normal(250, 8, seed=1) + 0.5
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = kernel_distance(real, generated, subsets=20, subset_size=100)
        assert values == kernel_distance(real, generated, subsets=20, subset_size=100)
        assert values != kernel_distance(real, generated, subsets=20, subset_size=100, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert values["kid"] > 5 * values["kid_std"] / math.sqrt(20) > 0


def test_kernel_distance_by_hand_and_for_small_sets():
    """The unbiased MMD² of the cubic kernel; a set smaller than the subsets is taken whole."""
    real, generated = normal(40, 3).double(), normal(40, 3, seed=1).double() + 1
    kernel = lambda a, b: (a @ b.T / 3 + 1) ** 3  # noqa: E731
    off_diagonal = ~torch.eye(40, dtype=torch.bool)
    within = (
        kernel(real, real)[off_diagonal].mean() + kernel(generated, generated)[off_diagonal].mean()
    )
    values = kernel_distance(real, generated, subsets=3)
    assert values["kid"] == pytest.approx(
        (within - 2 * kernel(real, generated).mean()).item(), rel=1e-6
    )
    assert values["kid_std"] == pytest.approx(0, abs=1e-9)
    unbiased = kernel_distance(
        normal(2000, 4), normal(2000, 4, seed=1), subsets=40, subset_size=200
    )
    assert abs(unbiased["kid"]) < 3 * unbiased["kid_std"] / math.sqrt(10)


def test_a_subset_has_no_more_vectors_than_the_smaller_set():
    few, many = normal(20, 3), normal(40, 3, seed=1)
    for real, generated in ((few, many), (many, few)):
        whole = kernel_distance(real, generated, 5, 100)
        assert whole == kernel_distance(real, generated, 5, 20)


def test_gaussianity_of_noise_and_of_what_is_not():
    n, dim = 2000, 10
    noise = gaussianity(normal(n, dim))
    assert noise["frechet_to_normal"] == pytest.approx(dim / n + dim * (dim + 1) / 4 / n, rel=0.4)
    assert noise["ks_mean"] == pytest.approx(0.87 / math.sqrt(n), rel=0.25)
    assert noise["ks_mean"] <= noise["ks_max"] < 2.2 / math.sqrt(n)
    assert noise["mean_squared_norm_over_d"] == pytest.approx(1, abs=0.03)
    scaled = gaussianity(2 * normal(n, dim))
    assert scaled["frechet_to_normal"] == pytest.approx(dim, rel=0.1)
    assert scaled["mean_squared_norm_over_d"] == pytest.approx(4, rel=0.03)
    signs = normal(n, dim)
    signs[:, 3] = signs[
        :, 3
    ].sign()  # the right moments, another distribution: only the KS distance sees it
    assert gaussianity(signs)["frechet_to_normal"] < 2 * noise["frechet_to_normal"]
    assert gaussianity(signs)["ks_max"] == pytest.approx(0.34, abs=0.03)


def test_bits_per_dim_of_a_uniform_density():
    assert bits_per_dim(math.log(256) * 7, 7) == pytest.approx(8)
    assert bits_per_dim(-math.log(2) * 3, 3) == pytest.approx(-1)


def test_reconstruction_errors():
    """In batches of any size, each image counts once."""
    x, x_hat = torch.full((4, 3, 2, 2), 0.5), torch.full((4, 3, 2, 2), 0.6)
    errors = reconstruction_errors([(x, x_hat)])
    assert errors == pytest.approx(
        {"mse_per_image": 0.12, "rmse_per_pixel": 0.1, "psnr": 20}, rel=1e-5
    )
    assert errors["mse_per_image"] == pytest.approx(mse(x_hat, x).item(), rel=1e-5)
    assert reconstruction_errors([(x, x)])["psnr"] == math.inf
    x, x_hat = (
        torch.rand(7, 1, 3, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)
    )
    streamed = reconstruction_errors(zip(x.split(3), x_hat.split(3), strict=True))
    assert streamed == pytest.approx(reconstruction_errors([(x, x_hat)]))


def test_errors_say_what_is_wrong():
    a, b = normal(10, 3), normal(10, 4)
    for metric in (precision_recall, kernel_distance):
        with pytest.raises(MetricError, match=r"one length, got 3 \(real\) and 4"):
            metric(a, b)
        with pytest.raises(
            MetricError, match=r"generated_features: expected shape \(N, F\).*got \(10, 3, 1\)"
        ):
            metric(a, a[..., None])
        with pytest.raises(MetricError, match="real_features: 3 of 30 values are NaN"):
            metric(torch.cat([a[:9], a[:1] / 0]), a)
    for k in (0, 9):
        with pytest.raises(
            MetricError, match=f"k: expected 1 <= k < N - 1; got {k} for sets of 10 and 10 vectors"
        ):
            precision_recall(a, a, k=k)
    precision_recall(a, a, k=8)
    with pytest.raises(MetricError, match="at least 1 subset of 2 vectors; got 100 of 1"):
        kernel_distance(a[:1], a)
    with pytest.raises(MetricError, match="dim: expected at least 1, got 0"):
        bits_per_dim(1.0, 0)
    with pytest.raises(MetricError, match=r"one shape, got \(10, 3\) and \(10, 4\)"):
        reconstruction_errors([(a, a), (a, b)])
    with pytest.raises(MetricError, match="at least one pair of batches"):
        reconstruction_errors([])
    with pytest.raises(MetricError, match="eps: 1 of 30 values"):
        gaussianity(a.clone().index_put((torch.tensor(0), torch.tensor(0)), torch.tensor(math.nan)))
    assert issubclass(MetricError, GLFError)


def test_missing_packages_are_named(monkeypatch):
    for module in ("prdc", "torchmetrics.image.kid"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MetricError, match="pip install prdc"):
        precision_recall(normal(10, 3), normal(10, 3))
    with pytest.raises(MetricError, match="pip install torchmetrics"):
        kernel_distance(normal(10, 3), normal(10, 3))


def test_what_fid_takes_by_default(monkeypatch):
    """2048 features, 50 images at a time, on the CPU; both sets go through one extractor."""
    made, asked = [], []
    monkeypatch.setattr(
        metrics,
        "InceptionFeatures",
        lambda dims, weights: made.append((dims, weights)) or "network",
    )
    monkeypatch.setattr(metrics, "image_batches", lambda images, n: (images, n))
    monkeypatch.setattr(
        metrics, "extract", lambda *arguments: asked.append(arguments) or torch.rand(9, 2)
    )
    metrics.fid("real", "generated")
    assert made == [(2048, None)]
    assert asked == [("network", ("real", 50), "cpu"), ("network", ("generated", 50), "cpu")]
    metrics.fid("real", "generated", "file", 64, 7, "cuda")
    assert made[1] == (64, "file")
    assert asked[3] == ("network", ("generated", 7), "cuda")


def test_what_fcd_and_fsd_take_by_default(monkeypatch):
    """Both sets go through one network, on the CPU; FSD's weights are those in torch's cache."""
    asked = []
    sets = {"real": normal(9, 2), "generated": normal(9, 2, seed=1)}

    def extract_once(network, images, device):
        asked.append((network, images, device))
        return sets[images]

    monkeypatch.setattr(metrics, "load_classifier", lambda data: (f"classifier of {data}", {}))
    monkeypatch.setattr(metrics, "SqueezeNetFeatures", lambda path: f"SqueezeNet of {path}")
    monkeypatch.setattr(metrics, "image_batches", lambda images: images)
    monkeypatch.setattr(metrics, "extract", extract_once)
    distance = frechet_from_features(sets["real"], sets["generated"])
    for network, device, measured in (
        ("classifier of mnist", "cpu", metrics.fcd(*sets, "mnist")),
        ("classifier of celeba", "cuda", metrics.fcd(*sets, "celeba", "cuda")),
        ("SqueezeNet of None", "cpu", metrics.fsd(*sets)),
        ("SqueezeNet of file", "cuda", metrics.fsd(*sets, "file", "cuda")),
    ):
        assert measured == distance > 0
        assert asked[:2] == [(network, name, device) for name in sets]
        del asked[:2]


def test_one_dimension_and_no_pairs():
    assert bits_per_dim(math.log(2), dim=1) == pytest.approx(1)
    with pytest.raises(MetricError) as caught:
        reconstruction_errors([])
    assert str(caught.value) == "pairs: expected at least one pair of batches, got none"
    with pytest.raises(MetricError) as caught:
        reconstruction_errors([(torch.zeros(1, 2), torch.full((1, 2), math.inf))])
    expected = "the squared error of the reconstructions is inf; expected a finite number"
    assert str(caught.value) == f"pairs: {expected}"
    with pytest.raises(MetricError) as caught:
        bits_per_dim(math.nan, dim=1)
    assert str(caught.value) == "nll_nats: expected a finite number, got nan"


def test_neighbours_and_subsets_by_default(capsys):
    """Three neighbours, subsets of 1,000; the least that can be compared is two vectors in one
    subset.
    """
    real, generated = normal(1200, 4), normal(1100, 4, seed=1) + 0.3
    assert precision_recall(real[:50], generated[:50]) == precision_recall(
        real[:50], generated[:50], 3
    )
    assert precision_recall(real[:50], generated[:50]) != precision_recall(
        real[:50], generated[:50], 4
    )
    assert kernel_distance(real, generated, 2) == kernel_distance(real, generated, 2, 1000)
    assert kernel_distance(real, generated, 2) != kernel_distance(real, generated, 2, 1001)
    assert math.isfinite(kernel_distance(real[:2], generated[:2], 1)["kid"])
    assert capsys.readouterr() == ("", "")
