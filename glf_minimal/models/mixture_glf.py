"""GLF with a mixture of Gaussians in the place of N(0, I) as its noise."""

import torch
from torch import Tensor, nn

from glf_minimal.flows import Flow
from glf_minimal.models.base import ReconstructionLoss
from glf_minimal.models.glf import GLF
from glf_minimal.models.priors import FlowOnNoise, GaussianMixture
from glf_minimal.models.stages import Adam


class MixtureGLF(GLF):
    """GLF whose noise comes from a mixture of Gaussians; it is not in the paper.

    The mixture is fitted to the noise f(E(x)) of all training images when the training is over, and
    before each snapshot. Until then samples come from N(0, I). A GLF that is trained already needs
    no training to become one:

        mixed = MixtureGLF(glf.encoder, glf.decoder, glf.flow).eval()
        mixed.fit_latents(mixed.encode(images))

    Args:
        encoder, decoder, flow, beta, reconstruction, flow_adam: see ``GLF``.
        components: Gaussians in the mixture, at least 1.
    """

    fits_latents = True

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        flow: Flow,
        beta: float = 1.0,
        reconstruction: str | ReconstructionLoss = "mse",
        flow_adam: Adam = Adam(),
        components: int = 20,
    ):
        super().__init__(encoder, decoder, flow, beta, reconstruction, flow_adam=flow_adam)
        self.noise = GaussianMixture(flow.dim, components)

    @property
    def prior(self) -> Flow:
        """z = f^-1(eps), eps ~ the mixture."""
        return FlowOnNoise([self.flow], self.noise)

    @property
    def fewest_images(self) -> int:
        return len(self.noise.weights)

    def describe(self) -> dict:
        return super().describe() | {"components": len(self.noise.weights)}

    @torch.no_grad()
    def fit_latents(self, z: Tensor) -> None:
        """Fit the mixture to what the flow makes of all latents (N, D)."""
        self.noise.fit(self.flow(z)[0])
