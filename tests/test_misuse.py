"""What a user may do wrong with parts and data of their own: it is said at once and in one line."""

import numpy as np
import pytest
import torch
from torch import nn
from training_helpers import quick

from glf_minimal import (
    AE,
    GLF,
    DataError,
    Flow,
    MetricError,
    MixtureGLF,
    RecipeError,
    RunError,
    fit,
    two_sided_flow,
)
from glf_minimal.evaluation import fcd
from glf_minimal.models.priors import GaussianMixture, TooFewLatents
from glf_minimal.training.checks import NoPixels

SHAPE = (1, 8, 8)


class Encoder(nn.Module):
    def __init__(self, activation=torch.relu, scale=1.0):
        super().__init__()
        self.linear = nn.Linear(64, 4)
        self.activation = activation
        self.scale = scale

    def forward(self, x):
        return self.scale * self.activation(self.linear(x.flatten(1)))


def decoder(shape=SHAPE):
    pixels = int(np.prod(shape))
    return nn.Sequential(nn.Linear(4, pixels), nn.Sigmoid(), nn.Unflatten(1, shape))


def flow():
    return two_sided_flow(4, hidden=8)


def pictures(n=40, shape=SHAPE):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))


def test_another_pretrained_encoder_is_not_overwritten(tmp_path):
    def frozen(seed):
        torch.manual_seed(seed)
        return Encoder().requires_grad_(False), decoder().requires_grad_(False)

    fit(GLF(*frozen(1), flow()), pictures(), quick(epochs=1), tmp_path / "run")
    fit(GLF(*frozen(1), flow()), pictures(), quick(epochs=1), tmp_path / "run")  # is loaded
    encoder, other = frozen(2)
    before = encoder.linear.weight.clone()
    with pytest.raises(RunError, match="the frozen weights of its encoder, the frozen weights of"):
        fit(GLF(encoder, other, flow()), pictures(), quick(epochs=1), tmp_path / "run")
    assert torch.equal(encoder.linear.weight, before)


@pytest.mark.parametrize("change", [{"activation": torch.sin}, {"scale": 50.0}])
def test_another_attribute_makes_another_model(change, tmp_path):
    fit(GLF(Encoder(), decoder(), flow()), pictures(), quick(epochs=1), tmp_path / "run")
    with pytest.raises(RunError, match="the attributes of its encoder changed"):
        fit(
            GLF(Encoder(**change), decoder(), flow()), pictures(), quick(epochs=1), tmp_path / "run"
        )


def test_a_mixture_of_noise_goes_through_the_whole_flow():
    """Also through what a subclass of Flow adds to its layers."""

    class Standardizing(Flow):
        def forward(self, z):
            eps, log_det = super().forward((z - 3) / 0.1)
            return eps, log_det - 4 * np.log(0.1)

        def inverse(self, eps):
            z, log_det = super().inverse(eps)
            return 0.1 * z + 3, log_det + 4 * np.log(0.1)

    model = MixtureGLF(Encoder(), decoder(), Standardizing(list(flow().layers)), components=1)
    z = 3 + 0.1 * torch.randn(500, 4, generator=torch.Generator().manual_seed(1))
    model.eval().fit_latents(z)
    drawn = model.sample_latents(500, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(drawn.mean(0), z.mean(0), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MixtureGLF(Encoder(), decoder(), flow()),
        lambda: AE(Encoder(), decoder(), 4, components=20),
    ],
)
def test_too_few_images_for_a_mixture_are_named_before_the_training(make, tmp_path):
    with pytest.raises(RecipeError, match="20 Gaussians needs at least as many images, got 19"):
        fit(make(), pictures(19), quick(epochs=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_mixture_that_may_learn_by_heart_warns():
    z = torch.randn(24, 4)
    with pytest.warns(TooFewLatents, match="24 latents are few .* take at most 4 components"):
        GaussianMixture(4, 5).fit(z)


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e5])
def test_a_mixture_fits_latents_of_any_scale(scale):
    z = scale * torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    mixture = GaussianMixture(4, 2)
    mixture.fit(z)
    drawn = mixture.sample(5000, generator=torch.Generator().manual_seed(1))
    assert drawn.std().item() == pytest.approx(z.std().item(), rel=0.1)


@pytest.mark.parametrize("channels", [2, 5])
def test_images_of_any_number_of_channels_are_trained_on(channels, tmp_path):
    shape = (channels, 8, 4)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(32 * channels, 4))
    model = GLF(encoder, decoder(shape), flow())
    fit(model, pictures(shape=shape), quick(epochs=1), tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert (tmp_path / "run" / "samples.png").exists()


def test_channels_at_the_end_are_named():
    with pytest.raises(
        DataError, match=r"looks like \(N, H, W, C\), so call \.permute\(0, 3, 1, 2"
    ):
        fit(GLF(Encoder(), decoder(), flow()), pictures(shape=(28, 28, 1)), quick(epochs=1))


def test_a_classifier_refuses_images_of_another_size():
    with pytest.raises(MetricError, match="judges images of 1x28x28, got 1x32x32; resize them"):
        fcd(pictures(shape=(1, 32, 32)), pictures(shape=(1, 32, 32)), "mnist")


def test_files_of_others_stay(tmp_path):
    config = tmp_path / "config.json"
    config.write_text('{"model_type": "another"}', encoding="utf-8")
    with pytest.raises(RunError, match="belongs to something else; give another folder"):
        fit(GLF(Encoder(), decoder(), flow()), pictures(), quick(epochs=1), tmp_path)
    assert config.read_text(encoding="utf-8") == '{"model_type": "another"}'


@pytest.mark.parametrize("config", [50, {"epochs": 5}, "runs/x"])
def test_a_config_of_another_type_is_named(config):
    with pytest.raises(RecipeError, match=r"config: expected a TrainConfig, such as TrainConfig\("):
        fit(GLF(Encoder(), decoder(), flow()), pictures(), config)


def test_settings_that_are_not_json_are_named(tmp_path):
    model = GLF(Encoder(), decoder(), flow())
    with pytest.raises(RecipeError, match="settings: expected numbers, words, lists and dicts"):
        fit(model, pictures(), quick(epochs=1), tmp_path / "run", {"a": torch.ones(2)})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((-1,), "n: expected a whole number, at least 1, got -1"),
        ((4, "0.8"), "temperature: expected a finite number, got '0.8'"),
        ((4, float("nan")), "temperature: expected a finite number, got nan"),
        ((4, 1.0, 0), r"generator: expected a torch\.Generator"),
    ],
)
def test_what_a_sampler_cannot_take_is_named(arguments, told):
    with pytest.raises(RecipeError, match=told):
        GLF(Encoder(), decoder(), flow()).eval().sample(*arguments)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"beta": "1"}, "beta: expected a finite number, at least 0, got '1'"),
        ({"beta": -1}, "beta: expected a finite number, at least 0, got -1"),
        ({"beta": float("nan")}, "beta: expected a finite number"),
        ({"reconstruction": None}, "reconstruction: expected a name or a function"),
        ({"components": 2.5}, r"components: expected a whole number, at least 1, got 2\.5"),
    ],
)
def test_settings_of_a_model_are_checked(settings, told):
    with pytest.raises(ValueError, match=told):
        MixtureGLF(Encoder(), decoder(), flow(), **settings)


def test_numbers_of_numpy_are_kept_with_a_run(tmp_path):
    model = GLF(Encoder(), decoder(), flow(), beta=np.float32(2.0))
    fit(model, pictures(), quick(epochs=1), tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_one_picture_is_too_few_for_batch_norm():
    with pytest.raises(RecipeError, match=r"data: this model has batch norm, .* got 1 \(two_sided"):
        fit(GLF(Encoder(), decoder(), flow()), pictures(1), quick(epochs=1))


def test_a_decoder_that_leaves_the_range_warns(tmp_path):
    last = nn.Linear(4, 64)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 0.5)
    model = GLF(Encoder(), nn.Sequential(last, nn.Unflatten(1, SHAPE)), flow())
    black_or_white = (pictures(200) > 0.5).float()
    with pytest.warns(NoPixels, match="and not from 0 to 1; end the decoder with a sigmoid"):
        fit(model, black_or_white, quick(epochs=20, lr=0.03), tmp_path / "run")
