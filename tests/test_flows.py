"""Flows: invertible, with the right Jacobian, a density, equal to an independent implementation."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from FrEIA.framework import SequenceINN
from FrEIA.modules import AffineCouplingOneSided, PermuteRandom, RNVPCouplingBlock
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from glf_minimal.flows import AffineCoupling, Flow, Permutation, one_sided_flow, two_sided_flow

FORMS = {"one-sided": one_sided_flow, "two-sided": two_sided_flow}
FLOATS = {torch.float32: 1e-5, torch.float64: 1e-10}


def make_flow(form, dim, seed=0, dtype=torch.float64, spread=None, **arguments):
    """A flow in eval mode, its batch statistics and (with ``spread``) its weights far from their
    start.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        flow = FORMS[form](dim, hidden=16, **arguments).to(dtype)
        for module in flow.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        if spread is not None:
            for parameter in flow.parameters():
                nn.init.normal_(parameter, std=spread)
    return flow.eval()


def test_samples_have_the_temperature_of_the_density_by_default():
    flow = make_flow("two-sided", 4, spread=0.3)
    drawn = [
        flow.sample(3, *temperature, generator=torch.Generator().manual_seed(0))
        for temperature in ((), (1.0,), (2.0,))
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_more_precise_of_latents_and_weights_decides():
    z = torch.ones(3, 4)
    assert two_sided_flow(4).double()(z)[0].dtype == torch.float64
    assert two_sided_flow(4)(z.double())[0].dtype == torch.float64
    assert two_sided_flow(4)(z.bfloat16())[0].dtype == torch.float32
    assert Flow([Permutation(4)])(z.bfloat16())[0].dtype == torch.bfloat16  # it has no weights


@pytest.mark.parametrize("form", FORMS)
@given(
    dim=st.integers(2, 33),
    dtype=st.sampled_from(list(FLOATS)),
    seed=st.integers(0, 2**31),
    log_scale=st.floats(-6, 1),
    train=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_inverse_undoes_forward(form, dim, dtype, seed, log_scale, train):
    flow = make_flow(form, dim, seed, dtype).train(train)
    z = 10**log_scale * torch.randn(
        16, dim, dtype=dtype, generator=torch.Generator().manual_seed(seed)
    )
    eps, log_det = flow(z)
    back, inverse_log_det = flow.inverse(eps)
    scale = max(1.0, z.abs().max().item())
    assert (back - z).abs().max() < FLOATS[dtype] * scale
    assert (log_det + inverse_log_det).abs().max() < FLOATS[dtype] * dim
    assert eps.dtype == log_det.dtype == back.dtype == dtype


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [1e4, 1e-6, 0.0])
@pytest.mark.parametrize("dtype", FLOATS)
def test_extreme_latents_stay_finite(form, scale, dtype):
    flow = make_flow(form, 20, dtype=dtype)
    z = scale * torch.randn(64, 20, dtype=dtype, generator=torch.Generator().manual_seed(1))
    z.requires_grad_()
    eps, log_det = flow(z)
    (gradient,) = torch.autograd.grad(flow.log_prob(z).sum(), z)
    for values in (eps, log_det, flow.log_prob(z), gradient, *flow.inverse(eps), *flow.inverse(z)):
        assert values.isfinite().all()
    # Where the scale is sigmoid(a + 2) and a grows with z, float32 has too few digits for |z| =
    # 1e4.
    if form == "two-sided" or dtype == torch.float64 or scale < 1:
        assert (flow.inverse(eps)[0] - z).abs().max() < FLOATS[dtype] * max(1.0, 100 * scale)


def test_saturated_sigmoid_is_still_invertible():
    """Without a floor under s = sigmoid(a + 2), a = -200 would give s = 0 and the inverse 0 / 0."""
    coupling = AffineCoupling(4, 8, scale="sigmoid", two_sided=False, joint=True)
    with torch.no_grad():
        coupling.move_second.nets[0][-1].bias[:2] = -200.0
    z = torch.randn(8, 4)
    y, log_det = coupling(z)
    assert log_det.isfinite().all()
    assert torch.allclose(coupling.inverse(y)[0], z, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dim", [2, 5, 8])
def test_log_det_is_that_of_the_autograd_jacobian(form, dim):
    flow = make_flow(form, dim, seed=3, spread=0.4)
    z = torch.randn(4, dim, dtype=torch.float64)
    eps, log_det = flow(z)
    _, inverse_log_det = flow.inverse(eps)
    for row in range(len(z)):
        jacobian = torch.autograd.functional.jacobian(lambda v: flow(v[None])[0][0], z[row])
        assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(
            log_det[row].item(), abs=1e-9
        )
        jacobian = torch.autograd.functional.jacobian(
            lambda v: flow.inverse(v[None])[0][0], eps[row]
        )
        assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(
            inverse_log_det[row].item(), abs=1e-9
        )


@pytest.mark.parametrize("form", FORMS)
def test_density_integrates_to_one(form):
    flow = make_flow(form, 2, seed=5, spread=0.3)
    axis = torch.linspace(-25, 25, 501, dtype=torch.float64)
    with torch.no_grad():
        density = flow.log_prob(torch.cartesian_prod(axis, axis)).exp()
    assert density.sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1, abs=2e-3)
    assert (
        abs(density.max().item() * 2 * math.pi - 1) > 0.2
    )  # far from the standard normal's, where this is no test


def test_log_prob_of_the_identity_is_the_standard_normal():
    flow = Flow([Permutation(5, seed=2)])
    z = torch.randn(7, 5)
    expected = torch.distributions.MultivariateNormal(torch.zeros(5), torch.eye(5)).log_prob(z)
    assert torch.allclose(flow.log_prob(z), expected, atol=1e-5)


@pytest.mark.parametrize("dim", [6, 7])
def test_two_sided_coupling_equals_freia(dim):
    """FrEIA's RealNVP block (clamp 2, its atan activation) is the authors' form; same weights, same
    numbers.
    """
    ours = make_flow("two-sided", dim, seed=7, spread=0.3)

    def append_coupling(theirs, layer):
        first, second = layer.move_first.nets, layer.move_second.nets
        theirs.append(
            RNVPCouplingBlock, subnet_constructor=lambda *_: nn.Identity(), split_len=layer.sizes[0]
        )
        block = theirs[-1]
        block.subnet_s2, block.subnet_t2 = copy.deepcopy(first[0]), copy.deepcopy(first[1])
        block.subnet_s1, block.subnet_t1 = copy.deepcopy(second[0]), copy.deepcopy(second[1])

    _assert_equals_freia(ours, append_coupling)


@pytest.mark.parametrize("dim", [6, 7])
def test_one_sided_coupling_equals_freia(dim):
    """FrEIA's y2 = x2 * exp(s) + t becomes the slide deck's (z2 + t) * sigmoid(a + 2) by its
    subnet's output.
    """

    class SlideDeckSubnet(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = copy.deepcopy(net)

        def forward(self, passive):
            a, t = self.net(passive).chunk(2, 1)
            return torch.cat([F.logsigmoid(a + 2), t * torch.sigmoid(a + 2)], 1)

    ours = make_flow("one-sided", dim, seed=8, spread=0.3)

    def append_coupling(theirs, layer):
        settings = {"clamp": 1.0, "clamp_activation": lambda s: s, "split_len": layer.sizes[0]}
        theirs.append(
            AffineCouplingOneSided, subnet_constructor=lambda *_: nn.Identity(), **settings
        )
        theirs[-1].subnet = SlideDeckSubnet(layer.move_second.nets[0])

    _assert_equals_freia(ours, append_coupling)


def _assert_equals_freia(ours, append_coupling):
    """Build FrEIA's sequence from our layers; both directions and their log_dets must agree."""
    theirs = SequenceINN(ours.dim)
    for layer in ours.layers:
        if isinstance(layer, Permutation):
            theirs.append(PermuteRandom)
            theirs[-1].perm.data, theirs[-1].perm_inv.data = layer.order, layer.order.argsort()
        else:
            append_coupling(theirs, layer)
    theirs = theirs.double().eval()
    z = torch.randn(16, ours.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for backwards in (False, True):
        expected, expected_log_det = theirs(z, rev=backwards)
        got, log_det = ours.inverse(z) if backwards else ours(z)
        assert torch.allclose(got, expected, atol=1e-10)
        assert torch.allclose(log_det, expected_log_det, atol=1e-10)
    assert not torch.allclose(got, z, atol=0.1)


def test_slide_deck_formula_by_hand():
    """Slide deck, "Implementation of GLF": s = sigmoid(log_s + 2), y2 = (z2 + t) s, z1 stays."""
    coupling = AffineCoupling(4, 8, scale="sigmoid", two_sided=False, joint=True)
    z = torch.randn(3, 4)
    log_s, t = coupling.move_second.nets[0](z[:, :2]).chunk(2, 1)
    s = torch.sigmoid(log_s + 2)
    y, log_det = coupling(z)
    assert torch.equal(y[:, :2], z[:, :2])
    assert torch.allclose(y[:, 2:], (z[:, 2:] + t) * s, atol=1e-6)
    assert torch.allclose(log_det, s.log().sum(1), atol=1e-6)


@given(dim=st.integers(2, 12), spread=st.floats(0, 3), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=25)
def test_both_forms_bound_their_log_det(dim, spread, seed):
    """sigmoid scales only contract; a soft-clamped two-sided block scales each entry by at most
    e^2.
    """
    z = torch.randn(8, dim, dtype=torch.float64)
    assert (make_flow("one-sided", dim, seed, spread=spread)(z)[1] <= 0).all()
    assert (
        make_flow("two-sided", dim, seed, spread=spread, blocks=3)(z)[1].abs() <= 3 * 2 * dim
    ).all()


def test_permutation_is_fixed_saved_and_inverted():
    first, second = Permutation(9, seed=1), Permutation(9, seed=2)
    assert torch.equal(first.order, Permutation(9, seed=1).order)
    assert not torch.equal(first.order, second.order)
    assert sorted(first.order.tolist()) == list(range(9))
    z = torch.randn(4, 9)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(z)[0], first(z)[0])
    assert torch.equal(first.inverse(first(z)[0])[0], z)


def test_without_permutations_half_the_vector_never_moves():
    z = torch.randn(5, 6)
    couplings = [
        AffineCoupling(6, 8, scale="sigmoid", two_sided=False, joint=True) for _ in range(4)
    ]
    assert torch.equal(Flow(couplings)(z)[0][:, :3], z[:, :3])
    assert not torch.isclose(one_sided_flow(6, 8)(z)[0], z).any(0).all()


def test_samples_follow_the_density():
    """E[log p(z)] over samples equals minus the entropy of the noise minus E[log_det of the
    inverse].
    """
    flow = make_flow("two-sided", 4, seed=9, spread=0.3)
    with torch.no_grad():
        eps = torch.randn(
            20_000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
        )
        z, log_det = flow.inverse(eps)
        expected = -0.5 * 4 * (1 + math.log(2 * math.pi)) - log_det.mean()
        assert flow.log_prob(z).mean().item() == pytest.approx(expected.item(), abs=0.05)


def test_sampling_is_repeatable_and_scaled_by_temperature():
    flow = make_flow("two-sided", 6, dtype=torch.float32)
    state = torch.random.get_rng_state()
    draws = [flow.sample(5, 0.7, torch.Generator().manual_seed(4)) for _ in range(2)]
    assert torch.equal(*draws)
    assert torch.equal(torch.random.get_rng_state(), state)
    eps = torch.randn(5, 6, generator=torch.Generator().manual_seed(4))
    assert torch.equal(draws[0], flow.inverse(0.7 * eps)[0])
    cold = flow.sample(5, temperature=0.0)
    assert torch.allclose(cold, cold[:1].expand(5, -1), atol=1e-6)


def test_permutations_alone_can_be_sampled():
    assert Flow([Permutation(3)]).sample(4).shape == (4, 3)


@pytest.mark.parametrize("form", FORMS)
def test_conditioners_may_run_in_bf16_while_the_affine_step_does_not(form):
    flow, z = make_flow(form, 8, dtype=torch.float32), torch.randn(32, 8)
    with torch.autocast("cpu", torch.bfloat16):
        eps, log_det = flow(z)
    assert eps.dtype == log_det.dtype == torch.float32
    assert torch.allclose(eps, flow(z)[0], atol=0.1)


def test_small_init_starts_near_a_reordering():
    flow = two_sided_flow(10).eval()
    z = torch.randn(100, 10)
    eps, log_det = flow(z)
    reordered = Flow([layer for layer in flow.layers if isinstance(layer, Permutation)])(z)[0]
    assert (eps - reordered).square().mean().sqrt() < 0.4
    assert (eps - z).square().mean().sqrt() > 0.8
    assert log_det.abs().max() < 4
    values = torch.cat([parameter.flatten() for parameter in flow.parameters()])
    assert values.std().item() == pytest.approx(0.05, rel=0.05)
    assert values.mean().abs().item() < 0.005


class BackAndScore(nn.Module):
    """Latents from noise, and their log-density."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def forward(self, eps):
        z, log_det = self.flow.inverse(eps)
        return z, log_det, self.flow.log_prob(z)


def test_exported_flows_take_batches_of_any_size():
    layers = [layer for form in FORMS for layer in make_flow(form, 5, blocks=1).layers]
    flow = BackAndScore(Flow(layers).float()).eval()
    shapes = ({0: torch.export.Dim("n", min=2)},)
    exported = torch.export.export(flow, (torch.randn(3, 5),), dynamic_shapes=shapes)
    eps = torch.randn(7, 5)
    for ours, theirs in zip(flow(eps), exported.module()(eps), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AffineCoupling(1, 8), "dim >= 2; got 1"),
        (lambda: AffineCoupling(4, 8, scale="exp"), "got 'exp'"),
        (lambda: Flow([]), r"at least one layer"),
        (lambda: Flow([Permutation(3), Permutation(4)]), r"\[3, 4\]"),
        (lambda: one_sided_flow(4)(torch.zeros(2, 5)), r"\(N, 4\), got \(2, 5\)"),
        (lambda: one_sided_flow(4).inverse(torch.zeros(4)), r"\(N, 4\), got \(4,\)"),
        (
            lambda: one_sided_flow(4).inverse_error(torch.zeros(0, 4)),
            r"at least one latent, got the shape \(0, 4\)",
        ),
    ],
)
def test_misuse_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
