"""Flows to compare the paper's with: splines, and a mixture of Gaussians as the noise."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from training_helpers import assert_equal_weights, weights
from zuko.transforms import MonotonicRQSTransform

from glf_minimal.flows import AffineCoupling, Flow, Permutation, two_sided_flow
from glf_minimal.models import (
    FlowOnNoise,
    LearnedMixture,
    SplineCoupling,
    mixture_flow,
    spline_flow,
)

MAKE = {"spline": spline_flow, "mixture": mixture_flow}


def make_flow(form, dim, spread=0.2, dtype=torch.float64, **arguments):
    """A flow in eval mode whose weights are far from where they start."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        flow = MAKE[form](dim, hidden=16, blocks=2, **arguments).to(dtype)
        for parameter in flow.parameters():
            nn.init.normal_(parameter, std=spread)
    return flow.eval()


def latents(n, dim, dtype=torch.float64, scale=3.0):
    return scale * torch.randn(n, dim, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dim", [2, 5, 8])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_splines_are_inverted(dim, dtype, error):
    """Latents lie within the splines' reach and outside of it."""
    flow, z = make_flow("spline", dim, dtype=dtype), latents(64, dim, dtype)
    assert z.abs().max() > 5 > z.abs().min()
    eps, log_det = flow(z)
    back, inverse_log_det = flow.inverse(eps)
    assert (back - z).abs().max() < error * z.abs().max()
    assert (log_det + inverse_log_det).abs().max() < error * dim
    assert eps.dtype == log_det.dtype == back.dtype == dtype


@pytest.mark.parametrize("dim", [2, 5])
def test_log_det_of_splines_is_that_of_the_autograd_jacobian(dim):
    flow = make_flow("spline", dim)
    z = latents(6, dim)
    log_det = flow(z)[1]
    for row in range(len(z)):
        jacobian = torch.autograd.functional.jacobian(lambda v: flow(v[None])[0][0], z[row])
        expected = torch.linalg.slogdet(jacobian)[1].item()
        assert log_det[row].item() == pytest.approx(expected, abs=1e-9)


def test_splines_start_as_the_identity():
    coupling, z = SplineCoupling(6, 8), latents(7, 6)
    y, log_det = coupling.double()(z)
    assert torch.allclose(y, z, atol=1e-9)
    assert torch.allclose(log_det, torch.zeros(7).double(), atol=1e-9)
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        authors = two_sided_flow(6, 8).double().eval()
        torch.manual_seed(3)
        flow = spline_flow(6, 8).double().eval()
    assert torch.allclose(flow.log_prob(z), authors.log_prob(z), atol=1e-9)


def test_a_spline_moves_what_is_within_its_reach_alone():
    flow = make_flow("spline", 4, spread=1.0)
    (coupling, *_) = (layer for layer in flow.layers if isinstance(layer, SplineCoupling))
    z = torch.tensor([[1.0, 7.0, -6.0, 2.0]], dtype=torch.float64)
    y = coupling(z)[0]
    assert y[0, 1:3].tolist() == [7.0, -6.0]
    assert (y - z)[0, [0, 3]].abs().min() > 0.01


@pytest.mark.parametrize("form", MAKE)
def test_density_integrates_to_one(form):
    flow = make_flow(form, 2)
    axis = torch.linspace(-25, 25, 501, dtype=torch.float64)
    with torch.no_grad():
        density = flow.log_prob(torch.cartesian_prod(axis, axis)).exp()
    assert density.sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1, abs=2e-3)
    assert abs(density.max().item() * 2 * math.pi - 1) > 0.2  # far from the standard normal's


def test_the_density_of_the_noise_is_that_of_a_mixture():
    flow = make_flow("mixture", 3, components=4)
    noise, z = flow.noise, latents(9, 3)
    components = Independent(Normal(noise.means, noise.log_scales.exp()), 1)
    expected = MixtureSameFamily(Categorical(logits=noise.logits), components)
    eps, log_det = flow(z)
    assert torch.allclose(flow.log_prob(z), expected.log_prob(eps) + log_det, atol=1e-10)


def test_one_component_at_0_is_the_authors_flow():
    flow, z = make_flow("mixture", 4, components=1), latents(9, 4)
    nn.init.zeros_(flow.noise.means)
    nn.init.zeros_(flow.noise.log_scales)
    assert torch.allclose(flow.log_prob(z), Flow(list(flow.layers)).log_prob(z), atol=1e-10)
    draws = [
        f.sample(5, 0.7, torch.Generator().manual_seed(4)) for f in (flow, Flow(list(flow.layers)))
    ]
    assert draws[0].shape == draws[1].shape


def test_samples_come_from_the_mixture():
    """Two components far apart: each gets its share of the samples, its mean and its scale."""
    flow = FlowOnNoise([Permutation(2, seed=1)], LearnedMixture(2, components=2))
    flow.noise.means.data = torch.tensor([[-10.0, 0.0], [10.0, 5.0]])
    flow.noise.logits.data = torch.tensor([0.2, 0.8]).log()
    flow.noise.log_scales.data = torch.tensor([[1.0, 1.0], [0.5, 2.0]]).log()
    z = flow.sample(4000, generator=torch.Generator().manual_seed(0))
    eps = flow(z)[0]
    right = eps[eps[:, 0] > 0]
    assert len(right) / len(eps) == pytest.approx(0.8, abs=0.03)
    assert right.mean(0).tolist() == pytest.approx([10.0, 5.0], abs=0.15)
    assert right.std(0).tolist() == pytest.approx([0.5, 2.0], rel=0.06)
    assert torch.equal(z, flow.sample(4000, generator=torch.Generator().manual_seed(0)))
    drawn = flow.noise.sample(5, 0.5, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    which = torch.multinomial(torch.tensor([0.2, 0.8]), 5, replacement=True, generator=generator)
    noise = 0.5 * torch.randn(5, 2, generator=generator)
    by_hand = flow.noise.means[which] + flow.noise.log_scales[which].exp() * noise
    assert torch.allclose(drawn, by_hand)
    cold = flow(flow.sample(50, temperature=0.0))[0]
    assert {tuple(row) for row in cold.tolist()} <= {(-10.0, 0.0), (10.0, 5.0)}


def test_a_mixture_learns_two_clusters_that_a_normal_noise_tears_apart():
    """With no flow but a reordering the mixture alone must do it: it finds both, and its NLL is
    that of the clusters.
    """
    generator = torch.Generator().manual_seed(0)
    cluster = torch.randint(2, (512,), generator=generator)
    z = 0.3 * torch.randn(512, 2, generator=generator) + 4.0 * (cluster[:, None] - 0.5)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        flow = FlowOnNoise([Permutation(2)], LearnedMixture(2, components=2))
    adam = torch.optim.Adam(flow.parameters(), lr=0.05)
    for _ in range(200):
        loss = -flow.log_prob(z).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    true = math.log(2) + 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.3))
    assert loss.item() == pytest.approx(true, abs=0.06)
    assert sorted(flow.noise.means[:, 0].tolist()) == pytest.approx([-2.0, 2.0], abs=0.1)


def test_settings_of_the_authors_flow_arrive():
    """Batch norm in the networks of both couplings, permutations by the seed."""
    for make in MAKE.values():
        for batch_norm in (True, False):
            flow = make(6, hidden=8, blocks=3, seed=5, batch_norm=batch_norm)
            assert any(isinstance(m, nn.BatchNorm1d) for m in flow.modules()) == batch_norm
        authors = two_sided_flow(6, hidden=8, blocks=3, seed=5)
        orders = [
            [layer.order.tolist() for layer in one.layers if isinstance(layer, Permutation)]
            for one in (flow, authors)
        ]
        assert orders[0] == orders[1]
        assert len(orders[0]) == 3


def seeded(make, *arguments, **named):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return make(*arguments, **named)


@pytest.mark.parametrize(
    ("form", "own"), [("spline", {"bins": 8}), ("mixture", {"components": 10})]
)
def test_what_the_flows_are_where_nothing_is_asked_of_them(form, own):
    own |= {"hidden": 64, "blocks": 4, "seed": 0, "batch_norm": True, "small_init": True}
    default, given = seeded(MAKE[form], 5), seeded(MAKE[form], 5, **own)
    assert str(default) == str(given)
    assert_equal_weights(weights(default), weights(given))


@pytest.mark.parametrize("form", MAKE)
@pytest.mark.parametrize("small_init", [True, False])
def test_the_affine_couplings_are_those_of_the_authors_flow(form, small_init):
    """From the same seed they have the same weights: whatever else there is comes after them."""
    told = {"hidden": 8, "blocks": 2, "small_init": small_init}
    ours, theirs = (
        [layer for layer in seeded(make, 5, **told).layers if isinstance(layer, AffineCoupling)]
        for make in (MAKE[form], two_sided_flow)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert_equal_weights(weights(one), weights(other))


def test_the_networks_of_a_spline_coupling():
    """Two hidden layers, and 3 K - 1 numbers for each entry that moves; K = 8 by default."""
    for told, each in (({}, 23), ({"bins": 2}, 5)):
        coupling = SplineCoupling(5, 7, **told)
        for network, widths in (
            (coupling.move_first, [2, 7, 7, 3 * each]),
            (coupling.move_second, [3, 7, 7, 2 * each]),
        ):
            first, *others = (layer for layer in network if isinstance(layer, nn.Linear))
            assert [first.in_features, first.out_features] == widths[:2]
            assert [layer.out_features for layer in others] == widths[2:]
            assert sum(isinstance(layer, nn.BatchNorm1d) for layer in network) == 2
        assert coupling(latents(4, 5).float())[0].shape == (4, 5)


def test_a_learned_mixture_begins_near_the_normal():
    """Equal weights, the spread of N(0, I), and means drawn from 0.5 * N(0, I)."""
    mixture = seeded(LearnedMixture, 3, components=4)
    assert torch.equal(mixture.means, 0.5 * seeded(torch.randn, 4, 3))
    assert torch.equal(mixture.logits, torch.zeros(4))
    assert torch.equal(mixture.log_scales, torch.zeros(4, 3))


def test_networks_may_run_in_bf16_while_splines_do_not():
    flow, z = make_flow("spline", 8, dtype=torch.float32), latents(32, 8, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        eps, log_det = flow(z)
    assert eps.dtype == log_det.dtype == torch.float32
    assert torch.allclose(eps, flow(z)[0], atol=0.2)


def test_splines_are_computed_in_the_type_of_the_latents():
    """Whatever the type of the network that gives their knots."""
    coupling, z = make_flow("spline", 4, dtype=torch.bfloat16).layers[1], latents(9, 4).float()
    knots = coupling.move_first(z[:, 2:].bfloat16()).float().unflatten(1, (-1, 23))
    splines = MonotonicRQSTransform(*knots.split([8, 8, 7], dim=2))
    assert torch.allclose(coupling(z)[0][:, :2], splines(z[:, :2]), atol=1e-6)


def test_misuse_is_named():
    with pytest.raises(ValueError, match="bins: a spline needs at least 2 pieces, got 1"):
        spline_flow(4, bins=1)
    with pytest.raises(ValueError, match="components: expected at least 1, got 0"):
        LearnedMixture(4, 0)
    with pytest.raises(ValueError, match=r"^dim: a coupling layer .* needs dim >= 2; got 1$"):
        SplineCoupling(1, 8)
