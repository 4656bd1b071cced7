"""Plain and regularized auto-encoders, a Gaussian mixture fitted to their latents afterwards."""

from torch import Tensor, nn

from glf_minimal.models.base import LatentModel, ReconstructionLoss
from glf_minimal.models.priors import GaussianMixture, StandardNormal
from glf_minimal.models.stages import Adam, Stage, Update


class AE(LatentModel):
    """A deterministic auto-encoder that samples from a Gaussian mixture of its latents.

    The mixture is fitted to the latents at the end of the training.

        L = beta * recon + latent_penalty * |z|^2 / 2

    With a penalty and a weight decay of the decoder this is the regularized auto-encoder RAE-L2
    (Ghosh et al., arXiv:1903.12436). Without a mixture (``components=0``) the decoder is fed N(0,
    I), which the latents do not follow: the baseline that shows what is missing.

    Args:
        encoder, decoder, latent_dim, beta, reconstruction: see ``LatentModel``.
        components: Gaussians in the mixture; 0 for none. Until it is fitted, at the end
            and before each snapshot, samples come from N(0, I).
        latent_penalty: weight of half the squared norm of a latent.
        decoder_decay: weight decay of the decoder.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        beta: float = 1.0,
        reconstruction: str | ReconstructionLoss = "mse",
        components: int = 0,
        latent_penalty: float = 0.0,
        decoder_decay: float = 0.0,
    ):
        super().__init__(encoder, decoder, latent_dim, beta, reconstruction)
        self.latent_penalty = latent_penalty
        self.fits_latents = components > 0
        self.prior = (
            GaussianMixture(latent_dim, components) if components else StandardNormal(latent_dim)
        )
        self.stages = (
            Stage(
                "auto-encoder", (Update(self.auto_encoder_parts(Adam(weight_decay=decoder_decay))),)
            ),
        )

    @property
    def fewest_images(self) -> int:
        return len(self.prior.weights) if self.fits_latents else 1

    def describe(self) -> dict:
        return super().describe() | {"latent_penalty": self.latent_penalty}

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """Images -> {"loss", "recon", "penalty"}.

        loss = beta * recon + latent_penalty * penalty
        """
        z = self.encode(x)
        recon, penalty = self.reconstruction_loss(z, x), 0.5 * z.square().sum(1).mean()
        return {
            "loss": self.beta * recon + self.latent_penalty * penalty,
            "recon": recon,
            "penalty": penalty,
        }

    def fit_latents(self, z: Tensor) -> None:
        """Fit the mixture to the latents (N, D) of all training images."""
        self.prior.fit(z)
