"""Equations of the models, checked in numbers."""

import math

import pytest
import torch
from torch import nn
from training_helpers import Gives

from glf_minimal import mlp_decoder, mlp_encoder, one_sided_flow, two_sided_flow
from glf_minimal.losses import GaussianLikelihood
from glf_minimal.models import GLF, VAE, WAEMMD, GaussianMixture, LatentGenerator, StandardNormal
from glf_minimal.models.adversarial import critic_losses, fooling_loss, gradient_penalty
from glf_minimal.models.wae import mmd
from glf_minimal.networks import mlp

SHAPE, DIM = (1, 8, 8), 6


def make_vae(seed=0, **arguments):
    torch.manual_seed(seed)
    return VAE(
        mlp_encoder(SHAPE, 2 * DIM, (32,)), mlp_decoder(SHAPE, DIM, (32,)), DIM, **arguments
    ).double()


@pytest.fixture
def x(digits):
    return digits.batch(slice(32)).double()


@pytest.mark.parametrize("beta", [1.0, 10.0, 400.0])
def test_elbo_is_minus_glf_without_stop_gradient_plus_entropy(x, beta):
    """For the same draw of z: ELBO = -(beta * recon + NLL of GLF) + H[q(z|x)] (slide deck)."""
    flow = one_sided_flow(DIM, 16).double()
    vae = make_vae(prior=flow, beta=beta)
    torch.manual_seed(1)
    terms = vae.losses(x)
    torch.manual_seed(1)
    z, _ = vae.reparameterize(*vae.posterior(x))
    glf = GLF(Gives(z), vae.decoder, flow, beta=beta, stop_gradient=False).losses(x)
    _, log_var = vae.posterior(x)
    entropy = 0.5 * (log_var.sum(1) + DIM * math.log(2 * math.pi * math.e)).mean()
    elbo = -terms["loss"]
    assert elbo.item() == pytest.approx((-glf["loss"] + entropy).item(), abs=1e-9)
    # and so do the gradients of everything that both of them have
    shared = [*vae.decoder.parameters(), *flow.parameters()]
    ours, theirs = (
        torch.autograd.grad(loss, shared, retain_graph=True)
        for loss in (terms["loss"], glf["loss"])
    )
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(ours, theirs, strict=True))


def test_kl_of_the_plain_vae_is_the_closed_form(x):
    vae = make_vae()
    mean, log_var = vae.posterior(x)
    normal = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    kl = (
        torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
        .sum(1)
        .mean()
    )
    assert vae.losses(x)["kl"].item() == pytest.approx(kl.item(), abs=1e-10)


def test_an_empty_flow_prior_is_the_plain_vae_on_average(x):
    """With a flow that does nothing, the one-sample estimate of the KL has the closed form as its
    mean.
    """

    class Nothing(nn.Module):
        dim = DIM

        def forward(self, z):
            return z, z.new_zeros(len(z))

        inverse = forward

    from glf_minimal import Flow

    plain, flow = make_vae(), make_vae(prior=Flow([Nothing()]))
    torch.manual_seed(0)
    estimates = torch.tensor([flow.losses(x)["kl"].item() for _ in range(400)])
    error = estimates.std() / math.sqrt(len(estimates))
    assert abs(estimates.mean().item() - plain.losses(x)["kl"].item()) < 4 * error
    assert error < 0.05


@pytest.mark.parametrize("flow", [one_sided_flow, two_sided_flow])
def test_flow_posterior_changes_variables(x, flow):
    """log q(z|x) = log N(u; mean, var) - log |det dz/du| with u = f(z), against the Jacobian by
    autograd.
    """
    torch.manual_seed(3)
    posterior_flow = flow(DIM, 16).double()
    with torch.no_grad():  # far from a mere permutation
        for parameter in posterior_flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    vae = make_vae(posterior_flow=posterior_flow).eval()
    mean, log_var = vae.posterior(x)
    torch.manual_seed(4)
    z, entropy_at_z = vae.reparameterize(mean, log_var)
    torch.manual_seed(4)
    noise = torch.randn_like(mean)
    u = mean + (0.5 * log_var).exp() * noise
    normal = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    for i in range(4):
        jacobian = torch.autograd.functional.jacobian(
            lambda row: vae.posterior_flow.inverse(row[None])[0][0], u[i]
        )
        log_q = normal.log_prob(u).sum(1)[i] - torch.linalg.slogdet(jacobian)[1]
        # the entropy of u is taken exactly, so it differs from -log q(z|x) by what the draw differs
        # from its mean
        exact = entropy_at_z[i] + 0.5 * (noise[i].square().sum() - DIM)
        assert -log_q.item() == pytest.approx(exact.item(), abs=1e-8)
        assert torch.allclose(vae.posterior_flow(z)[0][i], u[i], atol=1e-8)


def test_learned_variance_is_a_gaussian_likelihood_and_is_best_at_the_mean_squared_error(x):
    likelihood, x_hat = GaussianLikelihood().double(), torch.rand_like(x)
    with torch.no_grad():
        likelihood.log_variance.fill_(-0.7)
    normal = torch.distributions.Normal(x_hat, math.exp(-0.35))
    assert likelihood(x_hat, x).item() == pytest.approx(
        -normal.log_prob(x).sum((1, 2, 3)).mean().item(), abs=1e-9
    )
    with torch.no_grad():
        likelihood.log_variance.copy_((x_hat - x).square().mean().log())
    (slope,) = torch.autograd.grad(likelihood(x_hat, x), likelihood.log_variance)
    assert abs(slope.item()) < 1e-9


def test_mse_with_beta_is_a_gaussian_decoder_of_variance_one_over_two_beta(x):
    beta, x_hat = 5.0, torch.rand_like(x)
    normal = torch.distributions.Normal(x_hat, math.sqrt(1 / (2 * beta)))
    constant = 32 / 32 * 64 * 0.5 * math.log(2 * math.pi / (2 * beta))
    recon = beta * (x_hat - x).square().sum() / len(x)
    assert -normal.log_prob(x).sum((1, 2, 3)).mean().item() == pytest.approx(
        (recon + constant).item(), abs=1e-9
    )


def test_mmd_vanishes_when_the_aggregated_posterior_is_the_prior():
    """The unbiased estimate averages to 0 for equal distributions, and not for others."""
    torch.manual_seed(0)
    same = torch.stack([mmd(torch.randn(100, 8), torch.randn(100, 8)) for _ in range(200)])
    assert abs(same.mean()) < 4 * same.std() / math.sqrt(200)
    assert (same < 0).any()
    for other in (
        lambda: torch.randn(100, 8) + 1,
        lambda: 3 * torch.randn(100, 8),
        lambda: torch.zeros(100, 8),
    ):
        assert mmd(other(), torch.randn(100, 8)) > 20 * same.std()


def test_mmd_by_hand():
    a, b = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)

    def kernel(x, y):
        return sum(6 * s / (6 * s + ((x - y) ** 2).sum()) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10))

    within = (
        sum(kernel(s[i], s[j]) for s in (a, b) for i in range(5) for j in range(5) if i != j) / 20
    )
    between = sum(kernel(p, q) for p in a for q in b) / 25
    assert mmd(a, b).item() == pytest.approx((within - 2 * between).item(), abs=1e-12)


def test_wae_mmd_of_an_encoder_that_gives_the_prior_is_about_zero(x):
    torch.manual_seed(0)
    model = WAEMMD(
        Gives(torch.randn(32, DIM, dtype=torch.float64)),
        mlp_decoder(SHAPE, DIM, (32,)).double(),
        DIM,
    )
    far = WAEMMD(Gives(torch.full((32, DIM), 2.0, dtype=torch.float64)), model.decoder, DIM)
    assert abs(model.losses(x)["mmd"].item()) < 0.1 * far.losses(x)["mmd"].item()


def trained_critic(real, fake, steps=300):
    critic = mlp(2, (32, 32), 1)
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        critic_losses(critic, real(), fake(), "non-saturating", 0.0)["loss"].backward()
        optimizer.step()
    return critic


def test_the_critic_finds_nothing_when_the_aggregated_posterior_is_the_prior():
    """(2 log 2 - critic's loss) / 2 estimates the Jensen-Shannon divergence: 0 for equal, log 2 for
    disjoint sets.
    """
    torch.manual_seed(0)

    def prior():
        return torch.randn(512, 2)

    def far():
        return torch.randn(512, 2) + 6

    for fake, divergence in ((prior, 0.0), (far, math.log(2))):
        critic = trained_critic(prior, fake)
        loss = critic_losses(
            critic,
            torch.randn(20_000, 2),
            torch.cat([fake() for _ in range(40)]),
            "non-saturating",
            0.0,
        )
        assert (2 * math.log(2) - loss["loss"].item()) / 2 == pytest.approx(divergence, abs=0.02)
        if not divergence:  # nothing to gain for the encoder: the critic is flat
            z = torch.randn(1000, 2, requires_grad=True)
            (slope,) = torch.autograd.grad(fooling_loss(critic, z, "non-saturating") * 1000, z)
            assert slope.norm(dim=1).mean() < 0.1


def test_gradient_penalty_by_hand():
    linear = nn.Linear(3, 1)
    real, fake = torch.randn(10, 3), torch.randn(10, 3)
    expected = (linear.weight.norm() - 1) ** 2
    penalty = gradient_penalty(linear, real, fake)
    assert penalty.item() == pytest.approx(expected.item(), abs=1e-6)
    penalty.backward()  # it can be minimized
    assert linear.weight.grad.abs().sum() > 0
    with torch.no_grad():
        assert gradient_penalty(linear, real, fake).item() == pytest.approx(
            expected.item(), abs=1e-6
        )
    terms = critic_losses(linear, real, fake, "wgan-gp", 10.0)
    assert terms["real"].item() == pytest.approx(-linear(real).mean().item(), abs=1e-6)
    assert terms["fake"].item() == pytest.approx(linear(fake).mean().item(), abs=1e-6)


def test_mixture_density_sampling_and_fit():
    """Fitted to two far clusters it has their weights, means and spreads; its samples have its
    density.
    """
    torch.manual_seed(0)
    first = torch.randn(3000, 3) * torch.tensor([1.0, 0.5, 2.0]) + 10
    mixture = GaussianMixture(3, 2)
    mixture.fit(torch.cat([first, torch.randn(1000, 3) - 10]))
    order = mixture.weights.argsort(descending=True)
    assert torch.allclose(mixture.weights[order], torch.tensor([0.75, 0.25]), atol=0.01)
    assert torch.allclose(mixture.means[order], torch.tensor([[10.0] * 3, [-10.0] * 3]), atol=0.15)
    drawn = mixture.sample(20_000, generator=torch.Generator().manual_seed(0))
    assert (drawn[:, 0] > 0).float().mean().item() == pytest.approx(0.75, abs=0.02)
    assert torch.allclose(drawn[drawn[:, 0] > 0].std(0), torch.tensor([1.0, 0.5, 2.0]), rtol=0.05)
    z = drawn[:4]
    by_hand = torch.stack(
        [
            torch.distributions.MultivariateNormal(m, covariance_matrix=r @ r.T).log_prob(z)
            + w.log()
            for w, m, r in zip(mixture.weights, mixture.means, mixture.roots, strict=True)
        ]
    ).logsumexp(0)
    assert torch.allclose(mixture.log_prob(z), by_hand, atol=1e-4)
    with pytest.raises(ValueError, match="2 Gaussians cannot be fitted to 1 latents"):
        mixture.fit(torch.zeros(1, 3))


def test_standard_normal_and_generator_follow_dtype_and_seed():
    normal, generator = StandardNormal(4).double(), LatentGenerator(4, (8,), noise_dim=3).double()
    for prior in (normal, generator):
        draws = [prior.sample(5, generator=torch.Generator().manual_seed(2)) for _ in range(2)]
        assert torch.equal(*draws)
        assert draws[0].dtype == torch.float64
        assert draws[0].shape == (5, 4)
    z = torch.randn(7, 4, dtype=torch.float64)
    assert torch.allclose(
        normal.log_prob(z), torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    )
    assert not normal.state_dict()


def test_a_critic_may_be_any_function_of_latents():
    real = torch.zeros(5, 3)
    terms = critic_losses(lambda z: z.sum(1, keepdim=True), real, real + 1, "wgan-gp", 0.0)
    assert terms["loss"].item() == 3.0
