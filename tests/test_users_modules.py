"""``fit`` leaves a reader's modules as it found them but for the values of their weights, and takes
them as they come: in their own memory format, precision and wrapping.
"""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from training_helpers import Gives, assert_equal_weights, conv_glf, quick, weights

from glf_minimal import (
    AE,
    GLANN,
    GLF,
    VAE,
    AdvAE,
    AffineCoupling,
    FlowAE,
    Protocol,
    TrainConfig,
    conv_decoder,
    conv_encoder,
    evaluate,
    fit,
    load_dataset,
    mlp_decoder,
    mlp_encoder,
    two_sided_flow,
)
from glf_minimal.evaluation import generate
from glf_minimal.files import read_tensors
from glf_minimal.models import LatentGenerator
from glf_minimal.networks import mlp
from glf_minimal.training.folder import WEIGHTS

ONE_EPOCH = quick(1, batch_size=16)


class ViewEncoder(nn.Module):
    """The commonest encoder of all: convolutions, and a view as vectors."""

    def __init__(self, channels, side, latent_dim=4):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, 2, 1)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(side * side, latent_dim)

    def forward(self, x):
        h = self.norm(self.conv(x))
        return self.linear(h.view(len(h), -1))


def view_model(channels=3, side=8):
    shape = (channels, side, side)
    return GLF(ViewEncoder(channels, side), mlp_decoder(shape, 4, (8,)), two_sided_flow(4, 8, 1))


def is_as_it_was(model):
    """All but values: which modules and tensors there are, and what kind of tensors."""
    tensors = {
        name: (id(tensor), tensor.dtype, tensor.shape, tensor.stride(), tensor.requires_grad)
        for name, tensor in model.state_dict(keep_vars=True).items()
    }
    modules = {
        name: (id(module), type(module), len(module._forward_hooks), len(module._buffers))
        for name, module in model.named_modules()
    }
    return tensors, modules


def test_only_values_change():
    model = view_model()
    model.encoder.conv.requires_grad_(False)
    model.encoder.linear.bias.requires_grad_(False)
    model.decoder = mlp_decoder((3, 8, 8), 4, (8,)).to(torch.float64)
    model.encoder.norm.register_forward_hook(lambda *_: None)
    wide = nn.Conv2d(4, 4, 3, padding=1).to(memory_format=torch.channels_last)  # a reader's choice
    model.encoder.norm = nn.Sequential(model.encoder.norm, wide)
    model.encoder.linear.register_buffer("strided", torch.arange(6.0).view(2, 3).T)
    model.decoder[0].weight.grad = torch.ones_like(model.decoder[0].weight)

    class Reshaped(nn.Module):  # as a view would fail behind a convolution in channels_last
        def forward(self, h):
            return h.contiguous()

    model.encoder.norm.append(Reshaped())
    before, values = is_as_it_was(model), weights(model)
    fit(model, torch.rand(64, 3, 8, 8), ONE_EPOCH)
    assert is_as_it_was(model) == before
    assert not torch.equal(model.decoder[0].weight, values["decoder.0.weight"])
    assert torch.equal(model.encoder.conv.weight, values["encoder.conv.weight"])
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", ["glf", "classifier"])
def test_the_packages_own_networks_are_left_alone_too(name, classifier_run):
    from glf_minimal.recipes.run import load_run

    if name == "glf":
        model, data = conv_glf(0), torch.rand(32, 1, 8, 8)
    else:
        model, _ = load_run(classifier_run)
        data = load_dataset("digits")
    before = is_as_it_was(model)
    fit(model, data, ONE_EPOCH)
    assert is_as_it_was(model) == before
    assert all(parameter.is_contiguous() for parameter in model.parameters())


def test_a_failed_training_leaves_no_gradients_and_eval_mode():
    model = view_model()
    model.reconstruction = lambda x_hat, x: (
        (x_hat - x).square().sum() * (float("nan") if model.training else 1.0)
    )
    with pytest.raises(ArithmeticError):
        fit(model, torch.rand(64, 3, 8, 8), ONE_EPOCH)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("data", ["colour", "channels_last", "digits"])
def test_what_views_its_features_trains(data, data_root, tmp_path):
    """Encoder, loss and decoder may call view before ``fit``, in it, and after it."""
    if data == "digits":
        images = load_dataset("digits", "train", data_root)
        x = images.batch(slice(0, 20))
        nn.Conv2d(1, 2, 3)(images.pixels[:2] / 255).view(2, -1)
    else:
        images = torch.rand(64, 3, 8, 8)
        x = images[:20]
        if data == "channels_last":
            images = images.to(memory_format=torch.channels_last)
    shape = tuple(x.shape[1:])
    model = GLF(
        ViewEncoder(shape[0], 8),
        conv_decoder(shape, 4, 8, 16),
        two_sided_flow(4, 8, 1),
        reconstruction=lambda x_hat, x: nn.functional.mse_loss(
            nn.functional.conv2d(x_hat, torch.ones(2, shape[0], 1, 1)).view(len(x), -1),
            nn.functional.conv2d(x, torch.ones(2, shape[0], 1, 1)).view(len(x), -1),
        ),
    )
    for _ in range(2):
        model.encode(x)
        model.losses(x)
        fit(model, images, ONE_EPOCH)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "mine.safetensors")
    evaluate(model, images, Protocol(samples=32))


def test_convolutions_of_this_package_run_in_the_fast_format_and_return_the_usual_one():
    for channels in (1, 3):
        shape = (channels, 8, 8)
        encoder, decoder = conv_encoder(shape, 4, 4, 8), conv_decoder(shape, 4, 4, 8)
        formats = []

        def note(_, __, maps, formats=formats):
            formats.append(maps.is_contiguous())

        for layer in (encoder[2], decoder[7]):  # with 8 and 4 channels
            layer.register_forward_hook(note)
        z = encoder(torch.rand(5, *shape))
        assert decoder(z).stride() == torch.empty(5, *shape).stride()
        assert formats == [False, False]


def test_modules_that_are_frozen_within_a_part_do_not_move():
    """Neither their weights nor the statistics of their batch norm, nor their dropout."""

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4, affine=False), nn.Dropout(0.5)
            )
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8))
            self.modes = []

        def forward(self, x):
            self.modes.append([m.training for m in (self.stem, self.stem[2], self.head[2])])
            return nn.functional.pad(self.head(self.stem(x)), (0, -4))

    encoder = Half()
    encoder.stem.requires_grad_(False)
    model = GLF(encoder, mlp_decoder((1, 8, 8), 4, (8,)), two_sided_flow(4, 8, 1))
    before = weights(encoder)
    fit(model, torch.rand(64, 1, 8, 8), ONE_EPOCH)
    after = weights(encoder)
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith("stem"), name
    assert [False, False, True] in encoder.modes
    assert all(mode[:2] == [False, False] for mode in encoder.modes)


# Precision


def parts(**changes):
    shape = (1, 8, 8)
    made = {
        "encoder": mlp_encoder(shape, 4, (8,)),
        "decoder": mlp_decoder(shape, 4, (8,)),
        "flow": two_sided_flow(4, 8, 1),
    }
    for name, dtype in changes.items():
        made[name].to(dtype)
    return made


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_frozen_encoder_in_half_precision(dtype):
    """Losses are float32 ones: those of the same encoder in float32, up to its rounding."""
    torch.manual_seed(0)
    model = GLF(**parts())
    model.encoder.requires_grad_(False)
    with torch.no_grad():
        model.encoder[-1].weight *= 20  # some squares are too large for float16
    x = 0.5 + 0.5 * torch.rand(64, 1, 8, 8)
    expected = model.losses(x)
    model.encoder.to(dtype)
    for name, value in model.losses(x).items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected[name].item(), rel=0.02), name
    history = fit(model, x, quick(3, batch_size=16))
    assert history[-1]["recon"] < history[0]["recon"]
    assert all(p.dtype == dtype for p in model.encoder.parameters())
    assert model.sample(3).dtype == torch.float32


HALF_MODELS = {
    "glf": lambda: GLF(**parts()),
    "vae": lambda: VAE(mlp_encoder((1, 8, 8), 8, (8,)), parts()["decoder"], 4),
    "ae": lambda: AE(parts()["encoder"], parts()["decoder"], 4, components=2),
    "glann": lambda: GLANN(64, parts()["decoder"], 4, LatentGenerator(4, (8,)), encode_steps=3),
    "advae": lambda: AdvAE(
        parts()["encoder"], parts()["decoder"], 4, LatentGenerator(4, (8,)), mlp(4, (8,), 1)
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # few samples
@pytest.mark.parametrize("name", HALF_MODELS)
def test_a_model_in_half_precision_is_used_and_measured(name):
    model = HALF_MODELS[name]().half().eval()
    x = torch.rand(64, 1, 8, 8)
    images = model.sample(5)
    assert images.dtype == torch.float32
    assert images.shape == (5, 1, 8, 8)
    for given in (x, x.half(), x.double()):
        assert model.reconstruct(given).shape == x.shape
    for stage in model.stages:
        for update in stage.updates:
            inputs = {"images": x, "index": torch.arange(64)}
            if "codes" in update.inputs:
                inputs["codes"] = model.codes(x)
            terms = getattr(model, update.losses)(*(inputs[name] for name in update.inputs))
            assert all(value.dtype == torch.float32 for value in terms.values())
    measured = evaluate(model, x, Protocol(samples=64, batch_size=32))
    assert np.isfinite(measured["reconstruction"]["mse_per_image"])
    assert np.isfinite(measured["latents"]["frechet"])


@pytest.mark.parametrize("part", ["encoder", "decoder", "flow"])
def test_one_part_in_float64(part):
    """The flow in float64 is what a warning of an inexact inverse advises."""
    model = GLF(**parts(**{part: torch.float64}))
    fit(model, torch.rand(64, 1, 8, 8), ONE_EPOCH)
    types = {name: next(p.parameters()).dtype for name, p in model.named_children()}
    assert types.pop(part) == torch.float64
    assert set(types.values()) == {torch.float32}
    assert model.sample(2).shape == (2, 1, 8, 8)
    if part == "flow":
        assert model.flow.inverse_error(model.encode(torch.rand(9, 1, 8, 8))) < 1e-12


# Wrapping, and the modes of torch around it


def test_a_compiled_model_is_trained_as_the_model_inside(tmp_path):
    torch.manual_seed(0)
    model = FlowAE(**parts())
    x = torch.rand(64, 1, 8, 8)
    compiled = torch.compile(model, backend="eager")
    fit(compiled, x, quick(2), tmp_path)
    assert (tmp_path / "samples.png").exists()
    assert read_tensors(tmp_path / WEIGHTS)[0].keys() == model.state_dict().keys()
    assert evaluate(compiled, x, Protocol(samples=16))["reconstruction"]


def test_a_compiled_part_is_the_same_training(tmp_path, capsys):
    """Its folder can be read without compiling, and a stopped training goes on either way."""
    torch.manual_seed(0)
    model = GLF(**parts())
    torch.manual_seed(0)
    other = GLF(**parts())
    other.encoder = torch.compile(other.encoder, backend="eager")
    x = torch.rand(64, 1, 8, 8)
    fit(other, x, quick(2), tmp_path)
    assert read_tensors(tmp_path / WEIGHTS)[0].keys() == model.state_dict().keys()
    fit(model, x, quick(2), tmp_path)
    assert "nothing was trained" in capsys.readouterr().out
    assert_equal_weights(weights(model), read_tensors(tmp_path / WEIGHTS)[0])
    assert_equal_weights(weights(model.decoder), weights(other.decoder))


def test_what_is_no_model_is_refused_in_one_sentence():
    x = torch.rand(8, 1, 8, 8)
    with pytest.raises(ValueError, match="got a DataParallel around it; give its 'module'"):
        fit(nn.DataParallel(GLF(**parts())), x)
    with pytest.raises(ValueError, match=r"expected a Trainable, such as GLF.*got a Linear"):
        fit(nn.Linear(2, 2), x)
    encoder, decoder, _ = parts().values()
    with pytest.raises(ValueError, match=r"flow: expected a Flow, .*; got 16"):
        GLF(encoder, decoder, 16)
    with pytest.raises(ValueError, match=r"AffineCoupling, which is a layer of one: give Flow\("):
        FlowAE(encoder, decoder, AffineCoupling(4, 8))
    with pytest.raises(ValueError, match="posterior_flow: expected a Flow"):
        VAE(encoder, decoder, 4, posterior_flow=Gives(1))
    with pytest.raises(ValueError, match="prior: expected a Flow"):
        VAE(encoder, decoder, 4, prior=False)


def test_inference_mode_around_it():
    x = torch.rand(64, 1, 8, 8)
    model, glann = GLF(**parts()), HALF_MODELS["glann"]()
    advae = HALF_MODELS["advae"]()
    before = weights(model)
    with torch.inference_mode():
        fit(model, x.clone(), ONE_EPOCH)
        fit(glann, x, quick(2, batch_size=16))
        assert glann.reconstruct(x[:3].clone()).shape == (3, 1, 8, 8)
        advae.critic_losses(advae.codes(x.clone()))
        built_inside = GLF(**parts())
        with pytest.raises(ValueError, match=r"built inside torch\.inference_mode"):
            fit(built_inside, x, ONE_EPOCH)
    assert any(not torch.equal(before[name], now) for name, now in weights(model).items())


def test_weights_that_cannot_be_copied_are_sampled_in_train_mode():
    """torch.nn.utils.weight_norm keeps a computed weight, which deepcopy refuses."""
    model = conv_glf(0)
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(model.decoder[0])
    model.decoder(torch.rand(2, 6))
    before = weights(model)
    protocol = Protocol(samples=10, batch_size=4, train_mode=True)
    images = torch.cat(list(generate(model, protocol)))
    model.eval()
    plain = torch.cat(list(generate(model, Protocol(samples=10, batch_size=4))))
    assert (images - plain).abs().max() > 0.01
    assert_equal_weights(weights(model), before)
    assert not any(module.training for module in model.modules())


# Settings as numpy and argument parsers give them


def test_settings_of_other_types(make_glf, some_digits, tmp_path):
    config = TrainConfig(
        epochs=np.int64(2),
        batch_size=np.int32(64),
        lr=np.float32(0.5),
        seed=np.uint8(3),
        device=torch.device("cpu"),
        progress=False,
    )
    assert config == TrainConfig(2, 64, 0.5, seed=3, device="cpu", progress=False)
    fit(make_glf(), some_digits, config, tmp_path)  # which writes them as JSON
    for bad in ({"lr": "1e-3"}, {"epochs": "3"}, {"epochs": True}, {"checkpoint_seconds": None}):
        ((name, value),) = bad.items()
        with pytest.raises(ValueError, match=f"^{name}: expected a .*number.*, got {value!r}"):
            TrainConfig(**bad)
    assert Protocol(samples=np.int64(7), temperature=1).samples == 7
    for bad in ({"samples": "7"}, {"temperature": "hot"}, {"seed": 1.5}, {"batch_size": None}):
        with pytest.raises(ValueError, match=f"^{next(iter(bad))}: expected a .*number"):
            Protocol(**bad)
