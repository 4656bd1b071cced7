"""Models that first train an auto-encoder and then, with it frozen, a model of its latents."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from glf_minimal.flows import Flow, draw_noise
from glf_minimal.models.base import ReconstructionLoss
from glf_minimal.models.glf import GLF
from glf_minimal.models.priors import FlowOnNoise, GaussianMixture
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


class PolishedGLF(GLF):
    """GLF, and then a stage in which its flow trains alone on the final latents.

    An epoch of that stage takes a small fraction of the time of another, as the images are encoded
    once. The noise of the flow may come from a mixture of Gaussians. Neither is in the paper.

    Args:
        encoder, decoder, flow, beta, reconstruction, flow_adam: see ``GLF``.
        polish: the part of the epochs that goes to the flow alone, in [0, 1).
        noise_components: Gaussians in a mixture that takes the place of N(0, I) as the noise that
            is drawn. It is fitted to the noise f(E(x)) of all training images when the training is
            over, and before each snapshot; until then samples come from N(0, I). 0 keeps N(0, I).
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        flow: Flow,
        beta: float = 1.0,
        reconstruction: str | ReconstructionLoss = "mse",
        flow_adam: Adam = Adam(),
        polish: float = 0.5,
        noise_components: int = 0,
    ):
        if not 0 <= polish < 1:
            raise ValueError(f"polish: expected a part of the epochs in [0, 1), got {polish}")
        super().__init__(encoder, decoder, flow, beta, reconstruction, flow_adam=flow_adam)
        self.fits_latents = noise_components > 0
        self.noise = GaussianMixture(flow.dim, noise_components) if noise_components else None
        if polish:
            (joint,) = self.stages
            self.stages = (
                replace(joint, share=1 - polish),
                flow_stage("polish", flow_adam, polish),
            )

    @property
    def prior(self) -> Flow:
        """z = f^-1(eps), eps ~ N(0, I), or eps ~ the mixture of ``noise_components``."""
        return self.flow if self.noise is None else FlowOnNoise(list(self.flow.layers), self.noise)

    def describe(self) -> dict:
        components = 0 if self.noise is None else len(self.noise.weights)
        return super().describe() | {"noise_components": components}

    @torch.no_grad()
    def fit_latents(self, z: Tensor) -> None:
        """Fit the mixture of the noise to what the flow makes of all latents (N, D)."""
        self.noise.fit(self.flow(z)[0])


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
