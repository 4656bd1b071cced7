"""Stages that train on what a frozen encoder makes of the images, encoded once."""

import pytest
import torch
from torch import nn

from glf_minimal import GLF, TrainConfig, conv_decoder, conv_encoder, fit, two_sided_flow
from glf_minimal.data import ImageDataset
from glf_minimal.files import read_csv
from glf_minimal.models import VAE, Adam, FlowAE, MixtureGLF, Stage, Update
from glf_minimal.training import batches
from glf_minimal.training.folder import HISTORY

SHAPE, DIM, N = (1, 8, 8), 3, 48


class Counting(nn.Module):
    """An encoder that knows how many images it was given each time in eval mode."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, DIM))
        self.given = []

    def forward(self, x):
        if not self.training:
            self.given.append(len(x))
        return self.network(x)


def make(model=GLF, **settings):
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(DIM, 64), nn.Sigmoid(), nn.Unflatten(1, SHAPE))
    return model(Counting(), decoder, two_sided_flow(DIM, 8), **settings)


@pytest.fixture
def images():
    torch.manual_seed(1)
    return ImageDataset(torch.rand(N, *SHAPE))


def quick(epochs, **settings):
    settings = {"precision": "float32", "device": "cpu", "progress": False} | settings
    return TrainConfig(epochs=epochs, batch_size=16, **settings)


def test_images_are_encoded_once_a_stage(images):
    model = make(FlowAE)
    fit(model, images, quick(6))
    assert model.encoder.given.count(N) == 1
    # Besides, a batch an epoch shows how exact the flow's inverse is.
    assert model.encoder.given.count(16) == 6


def test_a_function_of_all_images_is_given_some_at_a_time(images, monkeypatch):
    monkeypatch.setattr(batches, "IMAGES_AT_ONCE", 20)
    model = make().double().eval()
    latents = batches.for_all_images(model, model.encode, images)
    assert model.encoder.given == [20, 20, 8]
    assert not latents.requires_grad
    expected = model.encode(images.pixels.double())
    torch.testing.assert_close(latents, expected, rtol=0, atol=1e-12)


def test_a_stopped_second_stage_goes_on_exactly(images, tmp_path, monkeypatch):
    whole = make(FlowAE)
    fit(whole, images, quick(8))
    stopped = make(FlowAE)
    step, left = GLF.flow_losses, [2 + 2 * 3]  # the second epoch of the second stage

    def stop(self, z):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return step(self, z)

    monkeypatch.setattr(GLF, "flow_losses", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, images, quick(8, checkpoint_seconds=0), tmp_path)
    assert 4 < len(read_csv(tmp_path / HISTORY)) < 8
    monkeypatch.setattr(GLF, "flow_losses", step)
    resumed = make(FlowAE)
    fit(resumed, images, quick(8, checkpoint_seconds=0), tmp_path)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_codes_hold_all_that_a_posterior_is_made_of():
    torch.manual_seed(0)
    model = VAE(conv_encoder(SHAPE, 2 * DIM, 8, 16), conv_decoder(SHAPE, DIM, 8, 16), DIM).eval()
    x = torch.rand(4, *SHAPE)
    mean, log_var = model.posterior(x)
    assert torch.equal(model.codes(x), torch.cat([mean, log_var], dim=1))
    assert torch.equal(model.encode(x), mean)


def test_codes_of_an_encoder_that_is_trained_are_those_of_the_moment(images):
    model = make()
    expected = []
    losses = model.flow_losses

    def flow_losses(z):
        expected.append(z)
        assert not z.requires_grad
        return losses(z)

    model.flow_losses = flow_losses
    reconstruct = Update(model.auto_encoder_parts(), "auto_encoder_losses")
    follow = Update({"flow": Adam()}, "flow_losses", inputs=("codes",))
    model.stages = (Stage("in turn", (reconstruct, follow)),)
    fit(model, images, quick(1))
    assert N not in model.encoder.given
    *_, last = expected
    with torch.no_grad():
        final = model.encode(images.batch(slice(None)))
    distances = torch.cdist(last, final).amin(1)
    assert distances.max() < 1e-6  # codes of the images by the encoder after its last step


def test_a_flow_learns_the_latents_that_an_encode_of_ones_own_gives(images):
    class Standardized(FlowAE):
        def encode(self, x):
            return super().encode(x) / 10

    model = make(Standardized)
    x = images.batch(slice(None))
    assert torch.equal(model.codes(x), model.encode(x))
    assert not torch.equal(model.codes(x), model.encoder(x))


def test_a_mixture_takes_the_place_of_the_normal_noise(images):
    """It is fitted to the noise of the training images; the density of a latent follows from it by
    the change of variables.
    """
    model = make(MixtureGLF, components=2)
    fit(model, images, quick(4))
    assert model.encoder.given.count(N) == 1  # for the mixture
    with torch.no_grad():
        z = model.encode(images.batch(slice(None)))
        eps, log_det = model.flow(z)
        expected = model.noise.log_prob(eps) + log_det
        assert torch.equal(model.prior.log_prob(z), expected)
        assert not torch.allclose(expected, model.flow.log_prob(z), atol=1e-3)
        assert expected.mean() > model.flow.log_prob(z).mean()
        mean = (model.noise.weights[:, None] * model.noise.means).sum(0)
        assert torch.allclose(mean, eps.mean(0), atol=1e-3)
        drawn = model.flow(model.sample_latents(20_000, generator=torch.Generator()))[0]
        assert torch.allclose(drawn.mean(0), eps.mean(0), atol=0.05)
        assert torch.allclose(drawn.T.cov(), eps.T.cov(correction=0), atol=0.1)
    assert model.describe()["components"] == 2
