"""Models with a critic on latents.

A generator learns to make latents (AdvAE), or an encoder is made to match N(0, I) (AAE).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glf_minimal.models.base import LatentModel, ReconstructionLoss
from glf_minimal.models.priors import LatentGenerator, StandardNormal
from glf_minimal.models.stages import Adam, Stage, Update
from glf_minimal.networks import run_in_its_dtype

GAN_LOSSES = ("non-saturating", "wgan-gp")


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """E (|grad D(z)| - 1)^2 at random points z between real and fake latents (N, D).

    It is the penalty of a WGAN-GP (report, Eq. 7).
    """
    mix = torch.rand(len(real), 1, device=real.device, dtype=real.dtype)
    # The penalty is part of a loss, so its graph is kept; gradients are on even where the caller
    # has turned them off.
    with torch.inference_mode(False), torch.enable_grad():
        z = (mix * real + (1 - mix) * fake).detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(run_in_its_dtype(critic, z).sum(), z, create_graph=True)
    return (slope.float().norm(dim=1) - 1).square().mean()


def critic_losses(
    critic: nn.Module, real: Tensor, fake: Tensor, gan: str, weight: float
) -> dict[str, Tensor]:
    """What the critic minimizes to tell real from fake latents (N, D).

    - "non-saturating": -E log D(real) - E log(1 - D(fake)), D the sigmoid of the critic (report,
      Eq. 5). Where the two cannot be told apart it is 2 log 2; 2 log 2 minus its least value is
      twice their Jensen-Shannon divergence.
    - "wgan-gp": E D(fake) - E D(real) + weight * gradient penalty (report, Eq. 7).
    """
    on_real, on_fake = (run_in_its_dtype(critic, z).float() for z in (real, fake))
    if gan == "non-saturating":
        terms = {"real": F.softplus(-on_real).mean(), "fake": F.softplus(on_fake).mean()}
        return {"loss": terms["real"] + terms["fake"]} | terms
    terms = {
        "real": -on_real.mean(),
        "fake": on_fake.mean(),
        "penalty": gradient_penalty(critic, real, fake),
    }
    return {"loss": terms["real"] + terms["fake"] + weight * terms["penalty"]} | terms


def fooling_loss(critic: nn.Module, fake: Tensor, gan: str) -> Tensor:
    """What the maker of the fakes minimizes: -E log D(fake), or -E D(fake) for a WGAN.

    See the report, Eq. 6 and 8.
    """
    scores = run_in_its_dtype(critic, fake).float()
    return F.softplus(-scores).mean() if gan == "non-saturating" else -scores.mean()


class AdvAE(LatentModel):
    """First an auto-encoder, then a GAN on its frozen latents (FlowAE report, 4.3).

    Args:
        encoder, decoder, latent_dim, beta, reconstruction: see ``LatentModel``.
        generator: noise -> latents.
        critic: latents (N, D) -> scores (N, 1).
        gan: "wgan-gp" or "non-saturating".
        critic_steps: of the critic for one of the generator.
        penalty_weight: of the gradient penalty of "wgan-gp".
        gan_adam: optimizer settings of generator and critic.
        share: the part of the epochs that goes to the auto-encoder, in (0, 1).
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        generator: LatentGenerator,
        critic: nn.Module,
        beta: float = 1.0,
        reconstruction: str | ReconstructionLoss = "mse",
        gan: str = "wgan-gp",
        critic_steps: int = 5,
        penalty_weight: float = 10.0,
        gan_adam: Adam = Adam(betas=(0.5, 0.9)),
        share: float = 0.5,
    ):
        super().__init__(encoder, decoder, latent_dim, beta, reconstruction)
        if gan not in GAN_LOSSES:
            raise ValueError(f"gan: expected one of {', '.join(GAN_LOSSES)}; got {gan!r}")
        self.prior = generator
        self.critic = critic
        self.gan = gan
        self.penalty_weight = penalty_weight
        self.stages = (
            Stage(
                "auto-encoder", (Update(self.auto_encoder_parts(), "auto_encoder_losses"),), share
            ),
            Stage(
                "gan",
                (
                    Update({"critic": gan_adam}, "critic_losses", critic_steps, ("codes",)),
                    Update({"prior": gan_adam}, "generator_losses", inputs=("codes",)),
                ),
                1 - share,
            ),
        )

    def describe(self) -> dict:
        return super().describe() | {"gan": self.gan, "penalty_weight": self.penalty_weight}

    def critic_losses(self, z: Tensor) -> dict[str, Tensor]:
        """The critic's loss and its terms for latents (N, D) and as many generated ones."""
        with torch.no_grad():
            fake = self.prior.sample(len(z))
        return critic_losses(self.critic, z, fake, self.gan, self.penalty_weight)

    def generator_losses(self, z: Tensor) -> dict[str, Tensor]:
        """{"loss", "fooling"}: how well as many generated latents as real ones fool the critic."""
        fooling = fooling_loss(self.critic, self.prior.sample(len(z)), self.gan)
        return {"loss": fooling, "fooling": fooling}


class AAE(LatentModel):
    """Adversarial auto-encoder: a critic tells its latents from N(0, I).

    See Makhzani et al., arXiv:1511.05644.

    Three steps on every batch: encoder and decoder reconstruct; the critic learns to tell draws of
    N(0, I) from latents; the encoder learns to fool it.

    Args:
        encoder, decoder, latent_dim, beta, reconstruction: see ``LatentModel``.
        critic: latents (N, D) -> scores (N, 1).
        critic_adam: optimizer settings of the critic, and of the encoder's step against it.
    """

    gan = "non-saturating"

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        critic: nn.Module,
        beta: float = 1.0,
        reconstruction: str | ReconstructionLoss = "mse",
        critic_adam: Adam = Adam(betas=(0.5, 0.999)),
    ):
        super().__init__(encoder, decoder, latent_dim, beta, reconstruction)
        self.prior = StandardNormal(latent_dim)
        self.critic = critic
        updates = (
            Update(self.auto_encoder_parts(), "auto_encoder_losses"),
            Update({"critic": critic_adam}, "critic_losses"),
            Update({"encoder": critic_adam}, "encoder_losses"),
        )
        self.stages = (Stage("in turn", updates),)

    def critic_losses(self, x: Tensor) -> dict[str, Tensor]:
        """The critic's loss: "real" are draws of N(0, I), "fake" the latents of the images."""
        with torch.no_grad():
            z = self.encode(x)
        return critic_losses(self.critic, torch.randn_like(z), z, self.gan, 0.0)

    def encoder_losses(self, x: Tensor) -> dict[str, Tensor]:
        """{"loss", "fooling"}: how well the latents of the images fool the critic."""
        fooling = fooling_loss(self.critic, self.encode(x), self.gan)
        return {"loss": fooling, "fooling": fooling}
