"""Extreme settings, data and weights: every family of models gives finite numbers, or one sentence
says what is wrong.

Nothing is NaN without a word, and no error comes from inside torch.
"""

import re

import pytest
import torch
from extremes import (
    FAMILIES,
    FLOW_FAMILIES,
    LATENT_FAMILIES,
    OTHER_FAMILIES,
    SHAPE,
    WITH_BATCH_NORM,
    WITH_ENCODER,
    assert_finite,
    build,
    outcome,
    pictures,
    settings_of,
    train,
    train_and_use,
)
from torch import nn

from glf_minimal import DivergenceError
from glf_minimal.evaluation.classifier import Classifier
from glf_minimal.recipes.build import MODELS

# What may go wrong in training: a term or weights, at a step; or a sample, or a mixture.
DIVERGED = (
    r"[\w.]+ is (nan|-?inf) at step \d+ \(epoch \d+\)"
    r"|the weights [\w.]+ are not finite after step \d+"
    r"|\d+ of \d+ samples have pixels"
    r"|components: no mixture can be fitted to latents of up to \S+"
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning"
)  # few samples, inexact inverses, clusters of one point


def test_every_kind_of_model_is_here():
    assert {settings_of(family)["model"]["kind"] for family in FAMILIES} == set(MODELS)


@pytest.mark.parametrize("lr", [1e-12, 10.0, 1e4, 1e30])
@pytest.mark.parametrize("family", FAMILIES)
def test_extreme_learning_rates(family, lr):
    told = outcome(train_and_use, build(family), pictures(), lr=lr)
    assert told == "finite" or (lr > 1 and re.match(DIVERGED, told)), told
    if lr == 1e30:
        assert told != "finite"


@pytest.mark.parametrize("value", [0, 1, 0.5])
@pytest.mark.parametrize("family", FAMILIES)
def test_constant_pictures(family, value):
    assert (
        outcome(train_and_use, build(family), pictures(value=value), measure=value == 0) == "finite"
    )


@pytest.mark.parametrize("family", FLOW_FAMILIES)
def test_a_flow_needs_two_dimensions(family):
    assert "dim: a coupling layer splits its input in two, so it needs dim >= 2; got 1" in outcome(
        build, family, 1
    )


@pytest.mark.parametrize(
    ("family", "dim"),
    [(family, 1) for family in OTHER_FAMILIES if family != "classifier"]
    + [(family, dim) for family in LATENT_FAMILIES for dim in (2, 20)],
)
def test_few_and_many_latent_dimensions(family, dim):
    """More than the 16 pixels, too."""
    assert outcome(train_and_use, build(family, dim), pictures(), measure=dim == 1) == "finite"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_in_half_precision_are_refused(family, dtype):
    told = outcome(train, build(family).to(dtype), pictures())
    assert re.match(
        r"the weights [\w.]+ are in half precision.*model\.float\(\).*precision='bf16'", told
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_double_precision(family):
    model = build(family).double()
    assert outcome(train_and_use, model, pictures(), measure=True) == "finite"
    assert all(tensor.dtype != torch.float32 for tensor in model.state_dict().values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_pictures_in_any_precision(dtype):
    assert outcome(train_and_use, build("glf"), pictures(dtype=dtype), measure=True) == "finite"


@pytest.mark.parametrize("networks", ["slides", "small"])
@pytest.mark.parametrize("family", FAMILIES)
def test_autocast(family, networks):
    model = build(family, networks=networks)
    assert outcome(train_and_use, model, pictures(), precision="bf16") == "finite"
    assert all(tensor.dtype != torch.bfloat16 for tensor in model.state_dict().values())


@pytest.mark.parametrize("networks", ["slides", "small"])
@pytest.mark.parametrize("family", FAMILIES)
def test_batches_of_one(family, networks):
    """Where a model has batch norm, or compares the latents of a batch, one image is too few, and
    that is said.
    """
    told = outcome(train_and_use, build(family, networks=networks), pictures(6), batch_size=1)
    if networks == "small" or family in WITH_BATCH_NORM:
        assert told.startswith(
            "batch_size: this model has batch norm, which needs at least 2 images"
        )
    elif family == "wae-mmd":
        assert told == "batch_size: the MMD of a batch needs at least 2 latents; got 1"
    else:
        assert told == "finite"


@pytest.mark.parametrize("family", LATENT_FAMILIES)
def test_one_picture_at_a_time_in_eval_and_in_train_mode(family):
    model = build(family, networks="small")
    train(model, pictures())
    assert_finite([model.sample(1), model.reconstruct(pictures(1).batch(slice(1)))])
    model.train()
    assert (
        outcome(model.sample, 1)
        == "n: batch norm in train mode needs at least 2 samples, got 1; call eval() first"
    )
    if family != "glann":  # which has no encoder
        told = outcome(model.reconstruct, pictures(1).batch(slice(1)))
        assert re.match(
            r"encoder: cannot take .* \(1, 1, 4, 4\) \(Expected more than 1 value per channel", told
        ), told


@pytest.mark.parametrize("family", FAMILIES)
def test_fewer_pictures_than_a_batch(family):
    model = build(family, images=5)
    assert (
        outcome(
            train_and_use, model, pictures(5), measure=family in ("glf", "ae-gmm"), batch_size=64
        )
        == "finite"
    )


@pytest.mark.parametrize("scale", [1e-8, 1e8, 1e20, 1e30])
@pytest.mark.parametrize("family", WITH_ENCODER)
def test_tiny_and_huge_latents(family, scale):
    model = build(family)
    with torch.no_grad():
        for parameter in model.encoder[-1].parameters():
            parameter *= scale
    told = outcome(train_and_use, model, pictures(), measure=family in ("glf", "aae"))
    too_much = (
        DIVERGED
        + r"|[\w.]+: (the squared error|\d+ of \d+ values are NaN"
        + r"|expected a finite number|values of up to)"
    )
    assert told == "finite" or (scale > 1 and re.match(too_much, told)), told


class Dead(nn.Module):
    """Sets the first two of an encoder's outputs to a constant."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x):
        z = self.encoder(x)
        return torch.cat([torch.full_like(z[:, :2], 0.5), z[:, 2:]], dim=1)


@pytest.mark.parametrize("family", WITH_ENCODER)
def test_dead_latents(family):
    model = build(family)
    model.encoder = Dead(model.encoder)
    assert outcome(train_and_use, model, pictures(), measure=True) == "finite"


@pytest.mark.parametrize("form", ["one-sided", "two-sided"])
@pytest.mark.parametrize("family", FLOW_FAMILIES)
def test_very_deep_flows(family, form):
    flow = {"flow.form": form, "flow.blocks": 30}
    networks = "slides" if form == "one-sided" else "small"
    told = outcome(train_and_use, build(family, networks=networks, **flow), pictures())
    assert told == "finite" or re.match(DIVERGED, told), told


def test_samples_that_are_not_numbers_are_an_error():
    model = build("glf").eval()
    with torch.no_grad():
        model.decoder[0].weight[0, 0] = float("nan")
    assert "samples have pixels that are NaN" in outcome(model.sample, 5)


def test_a_loss_that_torch_refuses_is_named():
    """One that cannot compare what it is given, say."""
    model = build("glf")
    model.reconstruction = lambda x_hat, x: (x_hat.flatten(1) @ x.flatten(1)).sum()
    assert re.match(r"GLF\.losses: mat1 and mat2 shapes", outcome(train, model, pictures()))


@pytest.mark.parametrize("width", [2, 4, 6])
def test_narrow_strided_convolutions_keep_their_memory_format(width):
    """In channels_last their backward pass corrupts memory on some CPUs; the process dies, or does
    so later.
    """
    model = Classifier(SHAPE, width=width)
    assert_finite(train(model, pictures(), epochs=3))
    formats = {}
    for width_of, network in ((width, model), (8, Classifier(SHAPE, width=8))):
        hook = network.body[3].register_forward_hook(
            lambda _, __, maps, width=width_of: formats.update({width: maps.is_contiguous()})
        )
        train(network, pictures())
        hook.remove()
    assert formats == {width: True, 8: False}


def test_the_error_of_a_diverged_training_is_a_divergence_error():
    with pytest.raises(DivergenceError, match=r"at step 2 \(epoch 1\)"):
        train(build("vae"), pictures(), lr=1e30)
