"""Extreme latents and features: flows, priors and metrics give finite numbers, or one sentence says
what is wrong.
"""

import math
import re
import warnings

import pytest
import torch
from extremes import assert_finite, outcome
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glf_minimal.evaluation import metrics
from glf_minimal.evaluation.frechet import (
    Moments,
    TooFewSamples,
    bootstrap_standard_error,
    frechet_distance,
    frechet_from_features,
)
from glf_minimal.flows import one_sided_flow, two_sided_flow
from glf_minimal.models import GaussianMixture, StandardNormal
from glf_minimal.models.wae import mmd

FORMS = {"one-sided": one_sided_flow, "two-sided": two_sided_flow}


@pytest.mark.parametrize("form", FORMS)
@given(
    dim=st.integers(2, 40),
    blocks=st.integers(1, 24),
    log_scale=st.floats(-30, 15),
    double=st.booleans(),
    n=st.integers(1, 4),
    seed=st.integers(0, 999),
)
@example(dim=5, blocks=11, log_scale=14.0, double=False, n=1, seed=0)
@settings(deadline=None, max_examples=40)
def test_flows_of_any_depth_on_latents_of_any_scale(form, dim, blocks, log_scale, double, n, seed):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        flow = FORMS[form](dim, hidden=8, blocks=blocks).eval()
        z = 10**log_scale * torch.randn(n, dim, dtype=torch.float64)
    flow, z = (flow.double(), z) if double else (flow, z.float())
    (eps, log_det), log_prob = flow(z), flow.log_prob(z)
    assert_finite([eps, log_det])
    assert not log_prob.isnan().any()
    if (
        double or log_scale + 0.87 * blocks < 17
    ):  # a block stretches by up to exp(2); 1e19 squared is too much
        assert_finite(log_prob)
    error = flow.inverse_error(z)
    assert error >= 0  # also false of NaN
    if double and form == "two-sided" and blocks <= 8:  # rounding grows with every block
        assert error < 1e-6
    if log_scale < 0:
        assert_finite(flow.inverse(flow(z)[0]))


def test_inverse_error_is_relative_and_infinite_where_the_way_back_is_not_finite():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        flow, z = one_sided_flow(20).eval(), torch.randn(8, 20)
    back = flow.inverse(flow(z)[0])[0]
    assert flow.inverse_error(z) == pytest.approx(
        ((back - z).abs().max() / max(1, z.abs().max())).item()
    )
    assert flow.inverse_error(1e-3 * z) < 1e-6  # of 1, not of 1e-3
    assert flow.inverse_error(300 * z) > 1e-3
    for bad in (math.nan, math.inf):
        assert flow.inverse_error(torch.full_like(z, bad)) == math.inf


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_priors_at_any_scale(scale):
    z = scale * torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    mixture = GaussianMixture(3, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = outcome(mixture.fit, z)
    assert told == "finite" or (
        scale == 1e8 and told.startswith("components: no mixture can be fitted to latents of")
    )
    assert_finite(
        [
            mixture.log_prob(z),
            mixture.sample(5),
            StandardNormal(3).log_prob(z),
            mmd(z, torch.randn(30, 3)),
        ]
    )


def test_a_mixture_of_latents_that_are_not_numbers():
    told = outcome(GaussianMixture(3, 2).fit, torch.full((9, 3), math.nan))
    what = "no mixture can be fitted to latents of up to nan"
    assert told == f"components: {what} (Input X contains NaN.)"


NORMAL = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
SETS = {
    "constant": (torch.ones(20, 4), torch.ones(20, 4)),
    "zero": (torch.zeros(20, 4), NORMAL),
    "identical": (NORMAL, NORMAL),
    "one dead dimension": (
        NORMAL * torch.tensor([1, 1, 1, 0]),
        NORMAL.flip(0) * torch.tensor([1, 1, 1, 0]),
    ),
    "fewer than dimensions": (NORMAL.T.repeat(2, 1), NORMAL.flip(0).T.repeat(2, 1)),
    "tiny": (1e-12 * NORMAL, 1e-12 * NORMAL.flip(1)),
    "huge": (1e15 * NORMAL, 1e15 * NORMAL.flip(1)),
    "offset": (1e6 + NORMAL, 1e6 + NORMAL.flip(1)),
    "half precision": (NORMAL.half(), NORMAL.flip(1).half()),
    "double precision": (NORMAL.double(), NORMAL.flip(1).double()),
}
MEASURES = {
    "frechet": frechet_from_features,
    "bootstrap": bootstrap_standard_error,
    "kernel": metrics.kernel_distance,
    "precision": metrics.precision_recall,
    "gaussianity": lambda real, generated: metrics.gaussianity(generated),
}


@pytest.mark.filterwarnings("ignore::glf_minimal.evaluation.frechet.TooFewSamples")
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("name", SETS)
def test_metrics_of_unusual_features(name, measure):
    def take():
        assert_finite(MEASURES[measure](*SETS[name]), measure)

    assert outcome(take) == "finite"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("measure", MEASURES)
def test_metrics_of_features_that_are_not_numbers(measure, bad):
    spoiled = NORMAL.clone()
    spoiled[3, 1] = bad
    told = outcome(MEASURES[measure], NORMAL, spoiled)
    assert re.match(r"\w+: \d+ of \d+ values are NaN or infinite", told), told


@pytest.mark.parametrize("measure", MEASURES)
def test_metrics_of_features_beyond_all_measure(measure):
    """In float64 the squares of these are no numbers."""
    huge = 1e200 * NORMAL.double()

    def take():
        assert_finite(MEASURES[measure](huge, huge.flip(1)), measure)

    told = outcome(take)
    assert re.match(r"\w+: values of up to \S+ are too large to compare", told), told


def test_the_same_set_twice_is_at_no_distance():
    """Of the order of rounding, of features of any size; and the same of constant ones."""
    for scale in (1e-8, 1.0, 1e8):
        features = scale * NORMAL
        assert frechet_from_features(features, features) < 1e-12 * scale**2
    ones = torch.ones(20, 4)
    assert frechet_from_features(ones, ones) == 0
    assert (
        frechet_distance(torch.zeros(2), torch.zeros(2, 2), torch.zeros(2), torch.zeros(2, 2)) == 0
    )
    values = metrics.precision_recall(NORMAL, NORMAL)
    assert values["precision"] == values["recall"] == values["coverage"] == 1


def test_fewer_samples_than_dimensions_is_a_warning():
    with pytest.warns(TooFewSamples, match="3 real samples for 4 feature dimensions"):
        frechet_from_features(NORMAL[:3], NORMAL)


def test_numbers_that_a_measure_cannot_be_made_of():
    assert "nll_nats: expected a finite number, got inf" in outcome(
        metrics.bits_per_dim, math.inf, 3
    )
    x = torch.full((2, 1, 4, 4), math.nan)
    assert "squared error of the reconstructions is nan" in outcome(
        metrics.reconstruction_errors, [(x, x)]
    )
    assert Moments().update(NORMAL).covariance.isfinite().all()
