"""Encoders and decoders: the published sizes, shapes and ranges."""

import pytest
import torch

from glf_minimal import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder, two_sided_flow
from glf_minimal.networks import ToImage


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(  # counts that follow from the authors' released code
    ("shape", "latent_dim", "flow_hidden", "encoder", "decoder", "flow"),
    [
        ((1, 28, 28), 20, 64, 6_578_644, 6_597_185, 92_320),
        ((3, 32, 32), 64, 256, 8_591_872, 8_616_131, 1_335_808),
        ((3, 64, 64), 64, 256, 33_757_696, 33_855_683, 1_335_808),
    ],
)
def test_parameter_counts_of_the_paper(shape, latent_dim, flow_hidden, encoder, decoder, flow):
    with torch.device("meta"):
        assert count(conv_encoder(shape, latent_dim)) == encoder
        assert count(conv_decoder(shape, latent_dim)) == decoder
    assert count(two_sided_flow(latent_dim, flow_hidden)) == flow


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 8, 12)])
@pytest.mark.parametrize(
    ("encoder", "decoder", "sizes"),
    [
        (conv_encoder, conv_decoder, {"width": 4, "hidden": 16}),
        (mlp_encoder, mlp_decoder, {"hidden": (16, 24)}),
        (mlp_encoder, mlp_decoder, {"hidden": (16,), "activation": "ELU", "batch_norm": True}),
    ],
)
def test_shapes_and_range(shape, encoder, decoder, sizes):
    x = torch.rand(3, *shape)
    z = encoder(shape, 5, **sizes)(x)
    assert z.shape == (3, 5)
    images = decoder(shape, 5, **sizes)(100 * z)
    assert images.shape == x.shape
    assert 0 <= images.min() <= images.max() <= 1


def test_slide_deck_mlp_layers():
    shapes = [tuple(p.shape) for p in mlp_encoder((1, 28, 28), 40).parameters()]
    assert shapes == [(200, 784), (200,), (200, 200), (200,), (40, 200), (40,)]


def test_mlp_decoder_mirrors_its_encoder():
    shapes = [
        tuple(p.shape) for p in mlp_decoder((1, 4, 4), 3, (10, 7)).parameters() if p.ndim == 2
    ]
    assert shapes == [(7, 3), (10, 7), (16, 10)]


def test_infogan_initialisation():
    weights = torch.cat(
        [p.flatten() for n, p in conv_encoder((1, 28, 28), 20).named_parameters() if p.ndim > 1]
    )
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)


def test_pixels_keep_float32_under_autocast():
    logits = torch.tensor([[7.0]], dtype=torch.bfloat16)
    for squash in ("sigmoid", "tanh"):
        pixel = ToImage(squash)(logits)
        assert pixel.dtype == torch.float32
    assert ToImage("sigmoid")(logits).item() < 1  # sigmoid(7) = 0.9991 is 1 in bfloat16


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: conv_encoder((1, 30, 28), 4), "30x28"),
        (lambda: conv_decoder((1, 28, 27), 4), "28x27"),
        (lambda: mlp_encoder((1, 8, 8), 4, activation="Sigmoid"), "'Sigmoid'"),
        (lambda: ToImage("relu"), "'relu'"),
    ],
)
def test_misuse_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
