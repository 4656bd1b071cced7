"""The objective: what it is made of, where its gradients go, and how misfits are reported."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from glf_minimal import GLF, Adam, Flow, one_sided_flow
from glf_minimal.losses import mse
from glf_minimal.models import LatentModel


def gradients(loss, module):
    return torch.autograd.grad(
        loss, list(module.parameters()), allow_unused=True, retain_graph=True
    )


def test_the_loss_is_the_sum_of_its_terms(make_glf, digits):
    x = digits.batch(slice(16))
    model = make_glf(beta=3.5)
    terms = model.losses(x)
    z = model.encode(x)
    assert torch.equal(terms["loss"], 3.5 * terms["recon"] + terms["nll"])
    assert torch.allclose(terms["recon"], mse(model.reconstruct(x), x))
    eps, log_det = model.flow(z)
    normal = torch.distributions.Normal(0, 1).log_prob(eps).sum(1)
    assert torch.allclose(terms["nll"], -(normal + log_det).mean(), atol=1e-5)


def test_stop_gradient_keeps_the_likelihood_from_the_encoder(make_glf, digits):
    x = digits.batch(slice(16))
    model = make_glf()
    terms = model.losses(x)
    assert all(g is None for g in gradients(terms["nll"], model.encoder))
    assert all(g is None for g in gradients(terms["nll"], model.decoder))
    assert all(g is None for g in gradients(terms["recon"], model.flow))
    assert all(g.abs().max() > 0 for g in gradients(terms["nll"], model.flow))
    for total, alone in zip(
        gradients(terms["loss"], model.encoder),
        gradients(model.beta * terms["recon"], model.encoder),
        strict=True,
    ):
        assert torch.equal(total, alone)


def test_regularized_glf_lets_the_likelihood_through(make_glf, digits):
    x = digits.batch(slice(16))
    with_stop, without = make_glf().losses(x), make_glf(stop_gradient=False)
    terms = without.losses(x)
    assert torch.equal(terms["loss"], with_stop["loss"])  # the same value, other gradients
    assert all(g.abs().max() > 0 for g in gradients(terms["nll"], without.encoder))


@given(log_c=st.floats(-8, 8), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_scaling_the_latents_shifts_the_best_nll_by_d_log_c(log_c, seed):
    """If f fits z, then f(z / c) fits c z, and its NLL differs by D log c: why small latents look
    likely.
    """

    class Scale(nn.Module):
        dim = 6

        def forward(self, z):
            return z * math.exp(-log_c), z.new_full((len(z),), -self.dim * log_c)

    torch.manual_seed(seed)
    flow = one_sided_flow(6, 8).double()
    rescaled = Flow([Scale(), *flow.layers])
    z = torch.randn(10, 6, dtype=torch.float64)
    assert torch.allclose(
        -rescaled.log_prob(math.exp(log_c) * z), -flow.log_prob(z) + 6 * log_c, atol=1e-8
    )


@pytest.mark.parametrize(
    "reconstruction", ["mse", "l1", "bce", lambda x_hat, x: (x_hat - x).abs().max()]
)
def test_every_reconstruction_trains_under_autocast(make_glf, digits, reconstruction):
    model = make_glf(reconstruction=reconstruction)
    with torch.autocast("cpu", torch.bfloat16):
        terms = model.losses(digits.batch(slice(32)))
    terms["loss"].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert terms["loss"].dtype == torch.float32


def test_sampling(make_glf):
    model = make_glf().eval()
    first, second = (model.sample(9, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == (9, 1, 8, 8)
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert 0 <= first.min() <= first.max() <= 1
    z = model.flow.inverse(torch.randn(9, 6, generator=torch.Generator().manual_seed(1)))[0]
    assert torch.equal(first, model.decode(z))


def test_double_precision(make_glf):
    model = make_glf().double()
    assert model.losses(torch.rand(4, 1, 8, 8, dtype=torch.float64))["loss"].dtype == torch.float64


class Flat(nn.Module):
    """A reader's own encoder or decoder."""

    def __init__(self, inputs, outputs, shape=None):
        super().__init__()
        self.net, self.shape = nn.Linear(inputs, outputs), shape or (outputs,)

    def forward(self, x):
        return self.net(x.flatten(1)).sigmoid().reshape(len(x), *self.shape)


def test_a_readers_own_auto_encoder():
    model = GLF(Flat(64, 6), Flat(6, 64, (1, 8, 8)), one_sided_flow(6, 16))
    assert set(model.losses(torch.rand(5, 1, 8, 8))) == {"loss", "recon", "nll"}
    assert model.sample(2).shape == (2, 1, 8, 8)


def test_parts_that_do_not_fit_are_named():
    x, decoder = torch.rand(5, 1, 8, 8), Flat(6, 64, (1, 8, 8))
    with pytest.raises(
        ValueError, match=r"encoder: expected latents of shape \(5, 6\).*got \(5, 7\)"
    ):
        GLF(Flat(64, 7), decoder, one_sided_flow(6, 16)).losses(x)
    with pytest.raises(
        ValueError, match=r"decoder: expected images of shape \(5, 1, 8, 8\).*got \(5, 64\)"
    ):
        GLF(Flat(64, 6), Flat(6, 64), one_sided_flow(6, 16)).losses(x)
    with pytest.raises(
        ValueError, match=r"encoder: cannot take torch.float32 input of shape \(5, 1, 8, 8\)"
    ):
        GLF(Flat(49, 6), decoder, one_sided_flow(6, 16)).losses(x)
    with pytest.raises(
        ValueError, match=r"decoder: cannot take torch.float32 input of shape \(5, 6\)"
    ):
        GLF(Flat(64, 6), Flat(7, 64, (1, 8, 8)), one_sided_flow(6, 16)).losses(x)
    with pytest.raises(ValueError, match="encoder: expected it to return a tensor, got a tuple"):
        GLF(nn.LSTM(8, 6), decoder, one_sided_flow(6, 16)).losses(x[:, 0])
    with pytest.raises(ValueError, match=r"betas in \[0, 1\)"):
        Adam(betas=(2.0, 0.9))
    with pytest.raises(ValueError, match=r"reconstruction: expected one of .*'ssim'"):
        GLF(Flat(64, 6), decoder, one_sided_flow(6, 16), reconstruction="ssim")


def test_the_base_class_says_what_is_missing():
    model = LatentModel(Flat(64, 6), Flat(6, 64, (1, 8, 8)), latent_dim=6)
    with pytest.raises(NotImplementedError, match="LatentModel"):
        model.sample(1)
    with pytest.raises(NotImplementedError, match="LatentModel"):
        model.losses(torch.rand(1, 1, 8, 8))
