"""The terms of the models' losses, each computed a second time by hand."""

import pytest
import torch
import torch.nn.functional as F
from sklearn import mixture
from torch import nn

from glf_minimal import two_sided_flow
from glf_minimal.errors import RecipeError
from glf_minimal.models import (
    AAE,
    AE,
    GLANN,
    VAE,
    WAEGAN,
    AdvAE,
    FlowAE,
    GaussianMixture,
    LatentGenerator,
    StandardNormal,
    TwoStageVAE,
)
from glf_minimal.models.adversarial import gradient_penalty
from glf_minimal.models.wae import mmd
from glf_minimal.networks import mlp

N, DIM = 16, 3


class Flat(nn.Module):
    """Images to vectors and back around a layer, as encoders and decoders are."""

    def __init__(self, layer, shape):
        super().__init__()
        self.layer, self.shape = layer, shape

    def forward(self, x):
        return self.layer(x.flatten(1)).unflatten(1, self.shape)


@pytest.fixture
def auto_encoder():
    torch.manual_seed(0)
    return Flat(nn.Linear(4, DIM), (DIM,)), Flat(nn.Linear(DIM, 4), (1, 2, 2))


@pytest.fixture
def x():
    return torch.rand(N, 1, 2, 2, generator=torch.Generator().manual_seed(1))


def sum_of_squares(model, x):
    return (model.decode(model.encode(x)) - x).square().sum((1, 2, 3)).mean()


def test_the_penalty_of_an_auto_encoder(auto_encoder, x):
    model = AE(*auto_encoder, DIM, beta=3.0, latent_penalty=0.4)
    terms, penalty = model.losses(x), 0.5 * model.encode(x).square().sum(1).mean()
    assert terms["penalty"].item() == pytest.approx(penalty.item(), rel=1e-6)
    assert terms["loss"].item() == pytest.approx(
        (3 * sum_of_squares(model, x) + 0.4 * penalty).item(), rel=1e-6
    )
    assert (
        model.losses(x[:4])["penalty"].item() < 2 * penalty.item()
    )  # a mean over images, not a sum


def test_the_second_stage_of_flowae(auto_encoder, x):
    model = FlowAE(*auto_encoder, two_sided_flow(DIM, 8)).eval()
    z = model.codes(x)
    nll = -model.flow.log_prob(model.encode(x)).mean().item()
    assert {name: value.item() for name, value in model.flow_losses(z).items()} == pytest.approx(
        {"loss": nll, "nll": nll}, rel=1e-6
    )


def test_the_samples_of_a_two_stage_vae(auto_encoder):
    """u ~ N(0, I), z ~ N(second decoder(u), v I) with the learned variance v."""
    model = TwoStageVAE(*auto_encoder, DIM, hidden=(5,)).eval()
    with torch.no_grad():
        model.second.reconstruction.log_variance.fill_(0.7)
        for temperature in (1.0, 0.5):
            z = model.sample_latents(6, temperature, torch.Generator().manual_seed(3))
            generator = torch.Generator().manual_seed(3)
            u = temperature * torch.randn(6, DIM, generator=generator)
            noise = temperature * torch.randn(6, DIM, generator=generator)
            assert torch.allclose(
                z, model.second.decoder(u) + torch.tensor(0.35).exp() * noise, atol=1e-6
            )


def test_the_latent_of_a_posterior_with_a_flow(auto_encoder, x):
    """The flow maps latents to the Gaussian's draws, its inverse their mean to the latent."""
    torch.manual_seed(7)
    flow = two_sided_flow(DIM, 8).eval()
    model = VAE(
        Flat(nn.Linear(4, 2 * DIM), (2 * DIM,)), auto_encoder[1], DIM, posterior_flow=flow
    ).eval()
    mean = model.encoder(x)[:, :DIM]
    assert torch.allclose(model.encode(x), flow.inverse(mean)[0], atol=1e-6)
    assert not torch.allclose(model.encode(x), mean, atol=1e-3)
    torch.manual_seed(8)
    terms = model.losses(x)
    torch.manual_seed(8)
    z, entropy = model.reparameterize(*model.posterior(x))
    torch.manual_seed(8)
    assert torch.equal(model.draw_latents(x), z)
    nll = -StandardNormal(DIM).log_prob(z).mean()
    assert terms["nll"].item() == pytest.approx(nll.item(), rel=1e-6)
    assert terms["kl"].item() == pytest.approx((nll - entropy.mean()).item(), rel=1e-5)


@pytest.mark.parametrize("gan", ["non-saturating", "wgan-gp"])
def test_what_critic_and_generator_minimize(auto_encoder, x, gan):
    """-log D of the fakes, or minus the WGAN's score of them; a penalty only where there is one."""
    critic = mlp(DIM, (8,), 1)
    model = AdvAE(*auto_encoder, DIM, LatentGenerator(DIM, (8,)), critic, gan=gan)
    torch.manual_seed(2)
    terms = model.generator_losses(model.codes(x))
    torch.manual_seed(2)
    scores = critic(model.prior(torch.randn(N, DIM)))
    expected = F.softplus(-scores).mean() if gan == "non-saturating" else -scores.mean()
    assert set(terms) == {"loss", "fooling"}
    assert (
        terms["loss"].item() == terms["fooling"].item() == pytest.approx(expected.item(), rel=1e-6)
    )
    names = {"loss", "real", "fake"} | ({"penalty"} if gan == "wgan-gp" else set())
    assert set(model.critic_losses(model.codes(x))) == names


def test_glann_finds_the_latents_of_new_images(auto_encoder, x):
    """Adam at a rate of 0.05 from the nearest of the first 256 decoded latents, each image for
    itself.
    """
    decoder = auto_encoder[1]
    model = GLANN(257, decoder, DIM, LatentGenerator(DIM, (8,)), encode_steps=3)
    with torch.no_grad():
        x[0] = decoder(F.normalize(model.latents.weight[256:]))[
            0
        ]  # the nearest one is out of reach
    known = F.normalize(model.latents.weight.detach()[:256])
    z = known[
        (decoder(known).detach()[None] - x[:, None]).square().sum((2, 3, 4)).argmin(1)
    ].requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        (decoder(F.normalize(z)) - x).square().sum().backward()
        optimizer.step()
    assert torch.allclose(model.encode(x), F.normalize(z), atol=1e-5)


@pytest.mark.parametrize("model", [AAE, WAEGAN])
def test_encoders_against_a_critic(auto_encoder, x, model):
    model = model(*auto_encoder, DIM, mlp(DIM, (8,), 1))
    fooling = F.softplus(-model.critic(model.encode(x))).mean().item()
    if isinstance(model, WAEGAN):
        terms = model.losses(x)
        assert terms["loss"].item() == pytest.approx(
            sum_of_squares(model, x).item() + 10 * fooling, rel=1e-6
        )
    else:
        terms = model.encoder_losses(x)
        assert terms["loss"].item() == pytest.approx(fooling, rel=1e-6)
        assert set(terms) == {"loss", "fooling"}
    assert terms["fooling"].item() == pytest.approx(fooling, rel=1e-6)
    torch.manual_seed(4)
    terms = model.critic_losses(x)
    torch.manual_seed(4)
    real = F.softplus(-model.critic(torch.randn(N, DIM))).mean().item()
    fake = F.softplus(model.critic(model.encode(x))).mean().item()
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        {"loss": real + fake, "real": real, "fake": fake}, rel=1e-6
    )


def test_the_gradient_penalty_is_taken_between_the_points():
    """Of D(z) = |z|^2 / 2, whose gradient is z itself: E (|z| - 1)^2 at z = u real + (1 - u) fake,
    a u for each.
    """

    class Bowl(nn.Module):
        def forward(self, z):
            return 0.5 * z.square().sum(1, keepdim=True)

    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(N, DIM, dtype=torch.float64, generator=generator) for _ in range(2))
    torch.manual_seed(5)
    penalty = gradient_penalty(Bowl(), real, fake)
    torch.manual_seed(5)
    u = torch.rand(N, 1, dtype=torch.float64)
    z = u * real + (1 - u) * fake
    # The slope is measured in single precision, whatever the latents are.
    assert penalty.item() == pytest.approx(
        (z.float().norm(dim=1) - 1).square().mean().item(), rel=1e-12
    )


def test_nearest_of_the_generated_latents(auto_encoder, x):
    """IMLE: each image's latent on the sphere, and the nearest of ``candidates`` times as many
    generated ones.
    """
    model = GLANN(
        40, auto_encoder[1], DIM, LatentGenerator(DIM, (8,), noise_dim=2).double(), candidates=5
    ).double()
    index = torch.arange(N) + 7
    torch.manual_seed(6)
    terms = model.imle_losses(x, index)
    torch.manual_seed(6)
    noise = torch.randn(5 * N, 2, dtype=torch.float64)
    generated = F.normalize(model.prior(noise))
    z = F.normalize(model.latents.weight[index])
    squared = (z[:, None] - generated[None]).square().sum(2)
    assert terms["distance"].item() == terms["loss"].item()
    assert terms["distance"].item() == pytest.approx(squared.min(1).values.mean().item(), rel=1e-9)


def test_the_nearest_are_chosen_in_single_precision(auto_encoder, x):
    """Under autocast, too, where the loss itself is computed in half precision."""
    model = GLANN(200, auto_encoder[1], DIM, LatentGenerator(DIM, (8,)))
    torch.manual_seed(6)
    with torch.autocast("cpu", torch.bfloat16):
        distance = model.imle_losses(x, torch.arange(200))["distance"]
    torch.manual_seed(6)
    noise = torch.randn(32 * 200, DIM)
    z = F.normalize(model.latents.weight)
    nearest = torch.cdist(z, F.normalize(model.prior(noise))).argmin(dim=1)
    with torch.autocast("cpu", torch.bfloat16):
        generated = F.normalize(model.prior(noise[nearest]))
    assert distance.item() == pytest.approx((generated - z).square().sum(1).mean().item(), rel=1e-6)


def test_glann_with_networks_in_double_precision(auto_encoder, x):
    """They are compared with images and latents in the type of these."""
    generator = LatentGenerator(DIM, (8,)).double()
    model = GLANN(N, auto_encoder[1].double(), DIM, generator, encode_steps=1)
    assert model.encode(x).dtype == torch.float32
    assert model.imle_losses(x, torch.arange(N))["loss"].isfinite()


def test_losses_stay_on_the_device_of_the_images(auto_encoder, x):
    """On the "meta" device, which knows shapes only, a tensor made elsewhere would be refused."""
    model = AdvAE(*auto_encoder, DIM, LatentGenerator(DIM, (8,)), mlp(DIM, (8,), 1)).to("meta")
    assert model.critic_losses(model.codes(x.to("meta")))["penalty"].device.type == "meta"


def test_the_mmd_in_half_precision_is_that_of_single_precision():
    torch.manual_seed(0)
    first, second = torch.randn(50, 8), 1.3 * torch.randn(50, 8)
    with torch.autocast("cpu", torch.bfloat16):
        half = mmd(first, second)
    assert half.item() == pytest.approx(
        mmd(first.double(), second.double()).item(), rel=1e-4
    )  # never autocast
    assert mmd(first[:2], second[:2]).isfinite()
    with pytest.raises(RecipeError) as caught:
        mmd(first[:1], second[:1])
    assert str(caught.value) == "batch_size: the MMD of a batch needs at least 2 latents; got 1"


@pytest.mark.filterwarnings("ignore::glf_minimal.models.priors.TooFewLatents")
def test_a_mixture_before_and_after_its_fit():
    """N(0, I) at first, whatever the number of components; then what scikit-learn finds from its
    seed 0.
    """
    z = torch.rand(60, DIM, generator=torch.Generator().manual_seed(0))
    for components in (1, 4):
        own = GaussianMixture(DIM, components)
        assert torch.allclose(own.log_prob(z), StandardNormal(DIM).log_prob(z), atol=1e-5)
    own.fit(z)
    other = mixture.GaussianMixture(4, covariance_type="full", random_state=0).fit(
        z.double().numpy()
    )
    assert torch.allclose(own.means, torch.from_numpy(other.means_).float(), atol=1e-3)
    assert torch.allclose(own.weights, torch.from_numpy(other.weights_).float(), atol=1e-3)
    drawn = own.sample(5, 0.5, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    which = torch.multinomial(own.weights, 5, replacement=True, generator=generator)
    noise = 0.5 * torch.randn(5, DIM, generator=generator)
    by_hand = [own.means[k] + own.roots[k] @ eps for k, eps in zip(which, noise, strict=True)]
    assert torch.allclose(drawn, torch.stack(by_hand), atol=1e-6)
    GaussianMixture(DIM, 2).fit(z[:2])  # as many as there are components
    model = AE(nn.Identity(), nn.Identity(), DIM, components=4)
    model.fit_latents(z)
    assert torch.equal(model.prior.means, own.means)


@pytest.mark.parametrize(
    ("own", "given", "expected"),
    [
        (torch.float32, torch.float32, torch.float32),
        (torch.float32, torch.float64, torch.float64),
        (torch.float64, torch.float32, torch.float64),
        (torch.bfloat16, torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.float32, torch.float32),
    ],
)
def test_the_precision_of_a_mixture(own, given, expected):
    """A density in the finer of the two types, draws in that of the weights; float32 at least."""
    mixture = GaussianMixture(DIM, 2).to(own)
    assert mixture.log_prob(torch.zeros(4, DIM, dtype=given)).dtype == expected
    assert mixture.sample(4).dtype == torch.promote_types(own, torch.float32)
