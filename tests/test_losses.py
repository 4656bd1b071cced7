"""Reconstruction losses: their values by hand, their names, what they do with odd input."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from glf_minimal.losses import GaussianLikelihood, bce, l1, mse, reconstruction_loss
from glf_minimal.perceptual import PerceptualLoss


@pytest.fixture
def pair():
    """A reconstruction and its images: three of two channels and four pixels."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 2, 2, 2, generator=generator).unbind()


def test_sums_over_pixels_and_channels_are_averaged_over_images(pair):
    x_hat, x = pair
    assert mse(x_hat, x).item() == pytest.approx((x_hat - x).square().sum().item() / 3, rel=1e-6)
    assert l1(x_hat, x).item() == pytest.approx((x_hat - x).abs().sum().item() / 3, rel=1e-6)
    by_hand = -(x * x_hat.log() + (1 - x) * (1 - x_hat).log()).sum() / 3
    assert bce(x_hat, x).item() == pytest.approx(by_hand.item(), rel=1e-6)
    black = torch.zeros_like(x)
    assert bce(black, black).item() == 0


def test_cross_entropy_in_half_precision_is_computed_in_the_type_of_the_images(pair, monkeypatch):
    x_hat, x = pair[0].bfloat16(), pair[1]
    torchs, under_autocast = F.binary_cross_entropy, []

    def watched(*arguments, **named):
        under_autocast.append(torch.is_autocast_enabled("cpu"))
        return torchs(*arguments, **named)

    monkeypatch.setattr(F, "binary_cross_entropy", watched)
    with torch.autocast("cpu", torch.bfloat16):
        assert bce(x_hat, x).dtype == torch.float32
    assert under_autocast == [False]  # torch has none for half precision on a GPU
    assert bce(x_hat, x).item() == F.binary_cross_entropy(x_hat.float(), x, reduction="sum") / 3


def test_cross_entropy_of_nan_is_nan_and_else_torchs(pair):
    x_hat, x = pair[0].clone().requires_grad_(), pair[1]
    with torch.no_grad():
        x_hat[0, 0, 0] = torch.tensor([0.0, 1.0])
    expected = F.binary_cross_entropy(x_hat, x, reduction="sum") / 3
    assert torch.equal(bce(x_hat, x), expected)
    assert torch.equal(*(torch.autograd.grad(loss, x_hat)[0] for loss in (bce(x_hat, x), expected)))
    spoiled = x_hat.detach().clone()
    spoiled[1, 0, 1, 1] = math.nan
    assert bce(spoiled, x).isnan()


def test_a_gaussian_likelihood_begins_with_a_small_variance(pair):
    x_hat, x = pair
    variance = math.exp(-3.0)
    for loss in (GaussianLikelihood(), GaussianLikelihood(-3.0)):
        assert loss.log_variance.item() == -3.0
        assert loss.log_variance.requires_grad
        squares = (x_hat - x).square().sum((1, 2, 3)) / (2 * variance)
        by_hand = squares.mean() + 8 / 2 * math.log(2 * math.pi * variance)
        assert loss(x_hat, x).item() == pytest.approx(by_hand.item(), rel=1e-6)
        assert loss(x_hat[:1], x[:1]).item() == pytest.approx(
            squares[0].item() + 8 / 2 * math.log(2 * math.pi * variance), rel=1e-6
        )
    assert GaussianLikelihood(0.5).log_variance.item() == 0.5


def test_losses_by_name():
    assert [reconstruction_loss(name) for name in ("mse", "l1", "bce")] == [mse, l1, bce]
    first, second = (reconstruction_loss("gaussian") for _ in range(2))
    assert isinstance(first, GaussianLikelihood)
    assert first is not second
    for own in (nn.MSELoss(), max, first):
        assert reconstruction_loss(own) is own
    for name, weights in {"vgg16": None, "squeezenet": None, "vgg16:a:b.pth": "a:b.pth"}.items():
        loss = reconstruction_loss(name)
        assert isinstance(loss, PerceptualLoss)
        assert (loss.network, loss.weights) == (name.partition(":")[0], weights)


@pytest.mark.parametrize("name", ["msee", "mse:1", ""])
def test_an_unknown_loss_is_named(name):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        reconstruction_loss(name)
    assert str(error.value) == (
        "reconstruction: expected one of mse, l1, bce, gaussian, vgg16[:PATH], squeezenet[:PATH]; "
        f"got {name!r}"
    )
