"""Models that first train an auto-encoder and then, with it frozen, a model of its latents."""

import torch
from torch import Tensor, nn

from glf_minimal.flows import Flow, draw_noise
from glf_minimal.models.base import ReconstructionLoss
from glf_minimal.models.glf import GLF
from glf_minimal.models.stages import Adam, Stage, Update
from glf_minimal.models.vae import VAE
from glf_minimal.networks import mlp


def flow_stage(name: str, flow_adam: Adam, share: float) -> Stage:
    """A stage that trains the flow alone, on the latents of a frozen encoder."""
    update = Update({"flow": flow_adam}, "flow_losses", inputs=("codes",))
    return Stage(name, (update,), share)


class FlowAE(GLF):
    """GLF in two stages: first the auto-encoder, then the flow on its frozen latents.

    See the FlowAE report, section 4.2.

    The losses are GLF's. As the stop-gradient keeps the flow from the auto-encoder in GLF, too, the
    two differ in what the flow sees: moving latents there, the final ones here.

    Args:
        encoder, decoder, flow, beta, reconstruction, flow_adam: see ``GLF``.
        share: the part of the epochs that goes to the auto-encoder, in (0, 1).
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        flow: Flow,
        beta: float = 1.0,
        reconstruction: str | ReconstructionLoss = "mse",
        flow_adam: Adam = Adam(),
        share: float = 0.5,
    ):
        super().__init__(encoder, decoder, flow, beta, reconstruction)
        self.stages = (
            Stage(
                "auto-encoder", (Update(self.auto_encoder_parts(), "auto_encoder_losses"),), share
            ),
            flow_stage("flow", flow_adam, 1 - share),
        )


class TwoStageVAE(VAE):
    """A VAE, then a second VAE on the latents that the first one draws.

    See Dai & Wipf, arXiv:1903.05789.

    Both decoders are Gaussian with a learned variance. To sample: u ~ N(0, I), z from the second
    decoder (its noise included), then the first decoder's image.

    Args:
        encoder, decoder, latent_dim, reconstruction: see ``VAE``.
        hidden: widths of the hidden layers of the second VAE's encoder and decoder.
        share: the part of the epochs that goes to the first VAE, in (0, 1).
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        reconstruction: str | ReconstructionLoss = "gaussian",
        hidden: tuple[int, ...] = (512, 512),
        share: float = 0.5,
    ):
        super().__init__(encoder, decoder, latent_dim, reconstruction=reconstruction)
        networks = mlp(latent_dim, hidden, 2 * latent_dim), mlp(latent_dim, hidden, latent_dim)
        self.second = VAE(*networks, latent_dim, reconstruction="gaussian")
        self.stages = (
            Stage("first", (Update(self.auto_encoder_parts()),), share),
            Stage(
                "second",
                (Update({"second": Adam()}, "second_losses", inputs=("codes",)),),
                1 - share,
            ),
        )

    def second_losses(self, codes: Tensor) -> dict[str, Tensor]:
        """Losses of the second VAE, for latents drawn from the posteriors of ``codes`` (N, 2D)."""
        z, _ = self.reparameterize(*codes.chunk(2, dim=1))
        return self.second.losses(z)

    def sample_latents(
        self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """z ~ N(G2(u), v2 I), u ~ N(0, I): (n, D)."""
        z = self.second.decode(self.second.sample_latents(n, temperature, generator))
        scale = (0.5 * self.second.reconstruction.log_variance).exp()
        return z + scale * draw_noise(n, self.latent_dim, z, temperature, generator)
