"""Wasserstein auto-encoders.

Their latents are matched to N(0, I) by a critic (GAN) or by a kernel (MMD).
"""

import torch
from torch import Tensor, nn

from glf_minimal.errors import RecipeError
from glf_minimal.models.adversarial import AAE, fooling_loss
from glf_minimal.models.base import LatentModel, ReconstructionLoss
from glf_minimal.models.priors import StandardNormal
from glf_minimal.models.stages import Adam, Stage, Update

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def mmd(first: Tensor, second: Tensor) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy of two samples.

    Both are (N, D), N > 1.

        MMD^2 = E k(a, a') + E k(b, b') - 2 E k(a, b)
        k(a, b) = sum_s C_s / (C_s + |a - b|^2),   C_s = 2 D s

    with the inverse multiquadratic kernels of the WAE paper (arXiv:1711.01558, section 4), for N(0,
    I) as prior. About 0, and on average exactly 0, where both samples come from one distribution;
    then it is below 0 half the time.
    """

    def mean_kernel(distances: Tensor) -> Tensor:
        return sum(
            (c / (c + distances)).mean() for c in (2 * first.shape[1] * scale for scale in SCALES)
        )

    def squared_distances(a: Tensor, b: Tensor) -> Tensor:
        # Half precision would lose the distances in the rounding of the norms.
        with torch.autocast(a.device.type, enabled=False):
            return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp(min=0)

    n = len(first)
    if n < 2:
        raise RecipeError("batch_size: the MMD of a batch needs at least 2 latents; got 1")
    pairs = ~torch.eye(n, dtype=torch.bool, device=first.device)  # no point with itself
    within = (mean_kernel(squared_distances(a, a)[pairs]) for a in (first, second))
    return sum(within) - 2 * mean_kernel(squared_distances(first, second))


class WAEMMD(LatentModel):
    """Wasserstein auto-encoder with an MMD penalty.

    See Tolstikhin et al., arXiv:1711.01558, Algorithm 2.

        L = beta * recon + penalty_weight * MMD^2(E(x), N(0, I))

    Args:
        encoder, decoder, latent_dim, beta, reconstruction: see ``LatentModel``.
        penalty_weight: lambda of the paper.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        beta: float = 1.0,
        reconstruction: str | ReconstructionLoss = "mse",
        penalty_weight: float = 10.0,
    ):
        super().__init__(encoder, decoder, latent_dim, beta, reconstruction)
        self.prior = StandardNormal(latent_dim)
        self.penalty_weight = penalty_weight
        self.stages = (Stage("joint", (Update(self.auto_encoder_parts()),)),)

    def describe(self) -> dict:
        return super().describe() | {"penalty_weight": self.penalty_weight}

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """Images -> {"loss", "recon", "mmd"}; loss = beta * recon + penalty_weight * mmd."""
        z = self.encode(x)
        recon, discrepancy = self.reconstruction_loss(z, x), mmd(z, torch.randn_like(z))
        return {
            "loss": self.beta * recon + self.penalty_weight * discrepancy,
            "recon": recon,
            "mmd": discrepancy,
        }


class WAEGAN(AAE):
    """Wasserstein auto-encoder with a GAN penalty.

    See Tolstikhin et al., arXiv:1711.01558, Algorithm 1.

        L = beta * recon + penalty_weight * E[-log D(E(x))]

    The critic D is AAE's. Unlike there, one step moves encoder and decoder for both terms together.

    Args:
        encoder, decoder, latent_dim, critic, beta, reconstruction, critic_adam: see ``AAE``.
        penalty_weight: lambda of the paper.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        critic: nn.Module,
        beta: float = 1.0,
        reconstruction: str | ReconstructionLoss = "mse",
        critic_adam: Adam = Adam(betas=(0.5, 0.999)),
        penalty_weight: float = 10.0,
    ):
        super().__init__(encoder, decoder, latent_dim, critic, beta, reconstruction)
        self.penalty_weight = penalty_weight
        updates = (
            Update(self.auto_encoder_parts()),
            Update({"critic": critic_adam}, "critic_losses"),
        )
        self.stages = (Stage("joint", updates),)

    def describe(self) -> dict:
        return super().describe() | {"penalty_weight": self.penalty_weight}

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """Images -> {"loss", "recon", "fooling"}.

        loss = beta * recon + penalty_weight * fooling
        """
        z = self.encode(x)
        recon, fooling = self.reconstruction_loss(z, x), fooling_loss(self.critic, z, self.gan)
        return {
            "loss": self.beta * recon + self.penalty_weight * fooling,
            "recon": recon,
            "fooling": fooling,
        }
