"""GLANN: latents without an encoder, and a generator of latents trained by nearest neighbours."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glf_minimal.models.base import LatentModel, ReconstructionLoss
from glf_minimal.models.priors import LatentGenerator
from glf_minimal.models.stages import Adam, Stage, Update
from glf_minimal.networks import at_least_float32


class GLANN(LatentModel):
    """Generative latent nearest neighbours (Hoshen, Li & Malik, arXiv:1812.08985), kept small.

    Stage 1, latent optimization: every training image has a latent of its own on the unit sphere,
    learned together with the decoder; in each step, first the batch's latents move a few times,
    then the decoder once. Stage 2, IMLE: for each of these latents, the nearest of many generated
    ones is moved towards it, so that none is left without a generated neighbour.

    As there is no encoder, ``encode`` finds the latent of a new image by gradient descent on its
    reconstruction.

    Args:
        images: how many training images there are; each has its latent, by its place in the data
            set.
        decoder, latent_dim, beta, reconstruction: see ``LatentModel``.
        generator: noise -> latents; its output is scaled to the unit sphere.
        candidates: how many times as many latents as images are generated for a batch, to choose
            the nearest from.
        latent_steps: of a batch's latents for one of the decoder.
        encode_steps: steps of gradient descent in ``encode``.
        latents_adam: optimizer settings of the latents. Each meets its image once an epoch, and
            Adam's second moment should have forgotten the last time by then: hence the small second
            beta.
        share: the part of the epochs that goes to the first stage, in (0, 1).
    """

    def __init__(
        self,
        images: int,
        decoder: nn.Module,
        latent_dim: int,
        generator: LatentGenerator,
        beta: float = 1.0,
        reconstruction: str | ReconstructionLoss = "mse",
        candidates: int = 32,
        latent_steps: int = 4,
        encode_steps: int = 30,
        latents_adam: Adam = Adam(lr_factor=60.0, betas=(0.5, 0.9)),
        share: float = 0.5,
    ):
        super().__init__(None, decoder, latent_dim, beta, reconstruction)
        self.latents = nn.Embedding(images, latent_dim)
        self.prior = generator
        self.candidates = candidates
        self.encode_steps = encode_steps
        parts = {
            name: adam for name, adam in self.auto_encoder_parts().items() if name != "encoder"
        }
        inputs = ("images", "index")
        self.stages = (
            Stage(
                "latents",
                (
                    Update({"latents": latents_adam}, repeats=latent_steps, inputs=inputs),
                    Update(parts, inputs=inputs),
                ),
                share,
            ),
            Stage("imle", (Update({"prior": Adam()}, "imle_losses", inputs=inputs),), 1 - share),
        )

    def describe(self) -> dict:
        return super().describe() | {
            "candidates": self.candidates,
            "encode_steps": self.encode_steps,
        }

    def _latents_of(self, index: Tensor) -> Tensor:
        return F.normalize(at_least_float32(self.latents(index)))

    def losses(self, x: Tensor, index: Tensor) -> dict[str, Tensor]:
        """Images and their places -> {"loss", "recon"} in nats per image; loss = beta * recon."""
        recon = self.reconstruction_loss(self._latents_of(index), x)
        return {"loss": self.beta * recon, "recon": recon}

    def imle_losses(self, x: Tensor, index: Tensor) -> dict[str, Tensor]:
        """{"loss", "distance"}: how far the images' latents are from the generated ones.

        This is the mean squared distance from a latent to the nearest generated one.
        """
        z = self._latents_of(index).detach()
        # Without autocast: it would keep half-precision weights from here, without gradients, for
        # the pass below.
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            noise = torch.randn(
                self.candidates * len(z), self.prior.noise_dim, device=z.device, dtype=z.dtype
            )
            nearest = torch.cdist(z, F.normalize(self.prior(noise)).to(z.dtype)).argmin(dim=1)
        distance = (F.normalize(self.prior(noise[nearest])) - z).square().sum(1).mean()
        return {"loss": distance, "distance": distance}

    def encode(self, x: Tensor) -> Tensor:
        """Images -> latents (N, D) on the unit sphere whose decoded images are near.

        Starts from the nearest among the decoded latents of up to 256 training images.
        """
        x = at_least_float32(x)
        with torch.no_grad():
            known = F.normalize(at_least_float32(self.latents.weight[:256]))
            decoded = self.decode(known).flatten(1).to(x.dtype)
            z = known[torch.cdist(x.flatten(1), decoded).argmin(dim=1)]
        with torch.inference_mode(False), torch.enable_grad():
            # Copies, as tensors that were made in inference mode know no gradients.
            x, z = x.clone(), z.detach().clone().requires_grad_()
            optimizer = torch.optim.Adam([z], lr=0.05)
            for _ in range(self.encode_steps):
                # One image's latent does not depend on the others in the batch: sum, not mean.
                loss = len(x) * self.reconstruction_loss(F.normalize(z), x)
                (z.grad,) = torch.autograd.grad(loss, z)
                optimizer.step()
        return F.normalize(z.detach())

    def sample_latents(
        self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """The generator's latents, scaled to the unit sphere: (n, D)."""
        return F.normalize(self.prior.sample(n, temperature, generator))
