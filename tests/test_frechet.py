"""The Fréchet distance: closed forms, invariances, streaming moments, what it does at finite sample
sizes.
"""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from glf_minimal.errors import MetricError
from glf_minimal.evaluation.frechet import (
    Moments,
    TooFewSamples,
    bootstrap_standard_error,
    frechet_distance,
    frechet_from_features,
)
from glf_minimal.evaluation.metrics import gaussianity, kernel_distance

sizes, seeds = st.integers(1, 12), st.integers(0, 10_000)
quick = settings(deadline=None, max_examples=40)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def rotation(size, seed):
    return torch.linalg.qr(normal(size, size, seed=seed))[0]


def gaussian(size, seed, rank=1000):
    """A mean and a covariance with eigenvalues of order 1, at most ``rank`` of them not 0."""
    q = rotation(size, seed)
    values = torch.rand(size, generator=generator(seed + 1), dtype=torch.float64) + 0.05
    values[rank:] = 0
    return normal(size, seed=seed + 2), q @ values.diag() @ q.T


@given(size=sizes, seed=seeds, zeros=st.integers(0, 12))
@quick
def test_commuting_covariances(size, seed, zeros):
    """With common eigenvectors: |m1 - m2|² + sum (sqrt a - sqrt b)², also where some variances are
    0.
    """
    a, b = torch.rand(2, size, generator=generator(seed), dtype=torch.float64) * 3
    a[:zeros], b[zeros // 2 : zeros] = 0, 0
    q, m1, m2 = rotation(size, seed), normal(size, seed=seed + 1), normal(size, seed=seed + 2)
    expected = (m1 - m2).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    distance = frechet_distance(m1, q @ a.diag() @ q.T, m2, q @ b.diag() @ q.T)
    assert distance == pytest.approx(expected.item(), abs=1e-8)


@given(
    means=st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    stds=st.tuples(st.floats(0, 9), st.floats(0, 9)),
)
@quick
def test_one_dimension(means, stds):
    m, s = torch.tensor([means, stds], dtype=torch.float64)
    expected = (means[0] - means[1]) ** 2 + (stds[0] - stds[1]) ** 2
    distance = frechet_distance(m[:1], s[:1, None] ** 2, m[1:], s[1:, None] ** 2)
    assert distance == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_covariances_that_do_not_commute(seed):
    (m1, c1), (m2, c2) = gaussian(20, seed), gaussian(20, seed + 100)
    assert (c1 @ c2 - c2 @ c1).abs().max() > 0.01
    root = sqrtm(c1.numpy())
    trace = np.trace(sqrtm(root @ c2.numpy() @ root)).real
    expected = ((m1 - m2).square().sum() + c1.trace() + c2.trace()).item() - 2 * trace
    assert frechet_distance(m1, c1, m2, c2) == pytest.approx(expected, abs=1e-8)


def test_two_lines_in_the_plane():
    """Rank 1 each, at an angle t: tr (C1^½ C2 C1^½)^½ = |cos t|, so d² = 2 - 2 |cos t|."""
    for t in (0.0, 0.3, math.pi / 2, 2.0):
        u, v = torch.tensor([[1.0, 0.0], [math.cos(t), math.sin(t)]], dtype=torch.float64)
        distance = frechet_distance(torch.zeros(2), u.outer(u), torch.zeros(2), v.outer(v))
        assert distance == pytest.approx(2 - 2 * abs(math.cos(t)), abs=1e-8)


@given(size=sizes, seed=seeds, rank=st.integers(1, 12))
@quick
def test_symmetric_zero_for_equals_and_invariant(size, seed, rank):
    """The arguments may change places; a rotation and a shift of both changes nothing; 0 between
    equals.
    """
    (m1, c1), (m2, c2) = gaussian(size, seed, rank), gaussian(size, seed + 100)
    distance = frechet_distance(m1, c1, m2, c2)
    assert distance == pytest.approx(frechet_distance(m2, c2, m1, c1), abs=1e-8)
    assert frechet_distance(m1, c1, m1, c1) == pytest.approx(0, abs=1e-8)
    q, shift = rotation(size, seed + 200), normal(size, seed=seed + 300)
    moved = frechet_distance(q @ m1 + shift, q @ c1 @ q.T, q @ m2 + shift, q @ c2 @ q.T)
    assert moved == pytest.approx(distance, abs=1e-8)


def test_many_dimensions_few_of_them_used():
    """Rounding in 300 empty dimensions must not add up."""
    mean, covariance = gaussian(330, 0, rank=30)
    assert frechet_distance(mean, covariance, mean, covariance) < 1e-8
    assert frechet_distance(mean, covariance, mean, 4 * covariance) == pytest.approx(
        covariance.trace().item(), abs=1e-8
    )


def test_agrees_with_pytorch_fid():
    fid_score = pytest.importorskip("pytorch_fid.fid_score")
    for seed in range(3):
        real, generated = normal(200, 24, seed=seed), normal(150, 24, seed=seed + 10) * 1.3 + 0.2
        statistics = [
            f(x.numpy())
            for x in (real, generated)
            for f in (lambda x: x.mean(0), lambda x: np.cov(x.T))
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it calls sqrtm in a way that scipy is about to drop
            expected = fid_score.calculate_frechet_distance(*statistics)
        assert frechet_from_features(real, generated) == pytest.approx(expected, abs=1e-8)


def test_any_dtype():
    mean, covariance = gaussian(5, 0)
    single = frechet_distance(
        mean.float(), covariance.float(), torch.zeros(5), torch.eye(5, dtype=torch.float16)
    )
    assert single == pytest.approx(
        frechet_distance(mean, covariance, 0 * mean, torch.eye(5)), abs=1e-5
    )


@given(
    cuts=st.lists(st.integers(1, 60), max_size=4),
    seed=seeds,
    offset=st.sampled_from([0.0, 1.0, 1e5]),
)
@quick
def test_streaming_equals_all_at_once(cuts, seed, offset):
    features = normal(64, 5, seed=seed) + offset
    moments = Moments()
    for batch in features.tensor_split(sorted(set(cuts))):
        moments.update(batch)
    assert moments.n == 64
    assert torch.allclose(moments.mean, features.mean(0), rtol=1e-14, atol=1e-14)
    expected = np.cov(
        (features - offset).numpy(), rowvar=False
    )  # what the offset's rounding left of them
    assert np.allclose(moments.covariance.numpy(), expected, rtol=0, atol=1e-10)


def test_moments_do_not_change_what_they_gave():
    moments = Moments().update(normal(9, 3))
    mean, covariance = moments.mean.clone(), moments.covariance.clone()
    before = moments.mean, moments.covariance
    moments.update(normal(9, 3, seed=1))
    assert torch.equal(before[0], mean)
    assert torch.equal(before[1], covariance)


def test_small_samples_bias_upwards_as_documented():
    """Two sets of N(0, I) are at about (F + F (F + 1) / 4) (1 / N + 1 / M)."""
    size, n, m = 16, 500, 1000
    draws = [
        frechet_from_features(normal(n, size, seed=i), normal(m, size, seed=1000 + i))
        for i in range(20)
    ]
    expected = (size + size * (size + 1) / 4) * (1 / n + 1 / m)
    assert np.mean(draws) == pytest.approx(expected, rel=0.1)


def test_too_few_samples_are_warned_about():
    with pytest.warns(
        TooFewSamples, match="9 generated samples for 10 feature dimensions"
    ) as caught:
        frechet_from_features(normal(10, 10), normal(9, 10))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet_from_features(normal(10, 10), normal(10, 10))


def test_bootstrap_knows_the_standard_error():
    """One dimension: d² = (m1 - m2)² + (s1 - s2)² has a known s.e.; several: compare with
    independent draws.
    """
    n, shift, std = 400, 2.0, 1.5
    real, generated = normal(5000, 1), shift + std * normal(n, 1, seed=1)
    known = math.sqrt((2 * shift * std) ** 2 / n + (2 * (std - 1) * std) ** 2 / (2 * n))
    state = torch.get_rng_state()
    estimate = bootstrap_standard_error(real, generated, resamples=200)
    assert estimate == pytest.approx(known, rel=0.25)
    assert estimate == bootstrap_standard_error(real, generated, resamples=200)
    assert estimate != bootstrap_standard_error(real, generated, resamples=200, seed=1)
    assert torch.equal(torch.get_rng_state(), state)

    real, draws = normal(2000, 8), [0.5 + 1.2 * normal(300, 8, seed=i) for i in range(1, 61)]
    spread = np.std([frechet_from_features(real, draw) for draw in draws], ddof=1)
    for draw in draws[:3]:
        assert spread / 2 < bootstrap_standard_error(real, draw) < spread * 2


def test_errors_say_what_is_wrong():
    m, c = torch.zeros(3), torch.eye(3)
    with pytest.raises(MetricError, match=r"covariances \(F, F\).*mean2 \(2,\)"):
        frechet_distance(m, c, torch.zeros(2), torch.eye(2))
    with pytest.raises(MetricError, match=r"cov2 \(3,\)"):
        frechet_distance(m, c, m, torch.ones(3))
    with pytest.raises(MetricError, match="cov1: 1 of 9 values are NaN or infinite"):
        frechet_distance(m, torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, math.nan]]), m, c)
    with pytest.raises(MetricError, match="not symmetric"):
        frechet_distance(m, c + torch.ones(3, 3).triu(1), m, c)
    with pytest.raises(MetricError, match=r"features: expected shape \(N, F\).*got \(4, 3, 1\)"):
        Moments().update(torch.zeros(4, 3, 1))
    with pytest.raises(MetricError, match="length 3 like those before, got 4"):
        Moments().update(torch.zeros(2, 3)).update(torch.zeros(2, 4))
    with pytest.raises(MetricError, match="at least 2 feature vectors; got 1"):
        _ = Moments().update(torch.zeros(1, 3)).covariance
    with pytest.raises(MetricError, match="2 of 6 values are NaN"):
        frechet_from_features(torch.zeros(4, 3), torch.tensor([[1, 2, math.inf], [1, 2, math.nan]]))
    nothing = torch.zeros(0), torch.zeros(0, 0)
    with pytest.raises(MetricError, match=r"of one F > 0; got mean1 \(0,\), cov1 \(0, 0\)"):
        frechet_distance(*nothing, *nothing)
    large = torch.full((2, 3), 1e16, dtype=torch.float64)
    assert Moments().update(large).n == 2
    with pytest.raises(MetricError) as caught:
        Moments().update(2 * large)
    expected = "values of up to 2e+16 are too large to compare; expected less than 1e16"
    assert str(caught.value) == f"features: {expected}"
    with pytest.raises(MetricError, match=r"^generated: expected shape \(N, F\)"):
        bootstrap_standard_error(c, m)
    with pytest.raises(MetricError, match="resamples: expected at least 2, got 1"):
        bootstrap_standard_error(c, c, resamples=1)


def test_arrays_of_numpy_are_features_too():
    real, generated = normal(40, 3), normal(30, 3, seed=1)
    arrays = real.numpy(), generated.numpy().astype(np.float32)
    distance = frechet_from_features(real, generated)
    assert frechet_from_features(*arrays) == pytest.approx(distance, rel=1e-6)
    error = bootstrap_standard_error(real, generated)
    assert bootstrap_standard_error(*arrays) == pytest.approx(error, rel=1e-5)
    assert gaussianity(arrays[0]) == gaussianity(real)
    assert kernel_distance(real.numpy(), real.numpy()) == kernel_distance(real, real)
    mean, covariance = np.zeros(3), np.eye(3)
    assert frechet_distance(mean, covariance, mean + 1, covariance) == pytest.approx(3)
    with pytest.raises(MetricError, match=r"cov2 \(2, 2\)"):
        frechet_distance(mean, covariance, mean, np.eye(2))
    with pytest.raises(MetricError, match=r"features: expected a tensor or an array.*got a str"):
        Moments().update("features.npy")


def test_the_standard_error_of_two_resamples():
    """The least number of them; 20 by default; in double precision."""
    real, generated = (
        torch.randn(40, 3, generator=torch.Generator().manual_seed(i)) for i in range(2)
    )
    assert bootstrap_standard_error(real, generated, 2) > 0
    error = bootstrap_standard_error(real, generated)
    assert (
        error
        == bootstrap_standard_error(real, generated, 20, 0)
        != bootstrap_standard_error(real, generated, 21)
    )
    assert torch.tensor(error).item() != error  # float32 has no such number


def test_shapes_that_do_not_fit_are_all_named():
    mean, covariance = torch.zeros(2), torch.eye(2)
    for wrong in (0, 1, 2, 3):
        arguments = [mean, covariance, mean, covariance]
        arguments[wrong] = torch.zeros(3) if wrong % 2 == 0 else torch.eye(3)
        shapes = zip(
            ("mean1", "cov1", "mean2", "cov2"), (tuple(a.shape) for a in arguments), strict=True
        )
        with pytest.raises(MetricError) as caught:
            frechet_distance(*arguments)
        named = ", ".join(f"{name} {shape}" for name, shape in shapes)
        assert (
            str(caught.value)
            == f"expected means (F,) and covariances (F, F) of one F > 0; got {named}"
        )


def test_how_symmetric_a_covariance_has_to_be():
    """To one part in 100,000 of its largest entry, whatever that is."""
    for size in (1e-3, 1e3):
        for asymmetry, fine in ((1e-6, True), (1e-4, False)):
            covariance = size * torch.tensor([[1.0, asymmetry], [0.0, 1.0]])
            arguments = torch.zeros(2), covariance, torch.zeros(2), size * torch.eye(2)
            if fine:
                assert frechet_distance(*arguments) < 1e-3 * size
            else:
                with pytest.raises(MetricError) as caught:
                    frechet_distance(*arguments)
                expected = "a covariance is not symmetric; expected C = C^T, as Moments gives it"
                assert str(caught.value) == expected


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e3])
def test_units_do_not_matter(scale):
    """In other units of the features the distance is in their squares, however small they are."""
    (m1, c1), (m2, c2) = gaussian(6, 0), gaussian(6, 10, rank=3)
    distance = frechet_distance(m1, c1, m2, c2)
    scaled = frechet_distance(scale * m1, scale**2 * c1, scale * m2, scale**2 * c2)
    assert scaled == pytest.approx(scale**2 * distance, rel=1e-6, abs=0)


def test_as_many_samples_as_dimensions_are_not_warned_about(recwarn):
    assert frechet_from_features(torch.randn(5, 5), torch.randn(9, 5)) > 0
    assert not recwarn
    for sizes, name in (((4, 9), "real"), ((9, 4), "generated")):
        frechet_from_features(*(torch.randn(size, 5) for size in sizes))
        assert str(recwarn.pop(TooFewSamples).message) == (
            f"4 {name} samples for 5 feature dimensions leave the covariance singular and the "
            "Fréchet distance much too large; take at least 5, better ten times as many"
        )
