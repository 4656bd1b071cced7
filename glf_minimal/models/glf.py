"""Generative Latent Flow (Xiao, Yan & Amit, arXiv:1905.10485)."""

from torch import Tensor, nn

from glf_minimal.flows import Flow
from glf_minimal.models.base import LatentModel, ReconstructionLoss, require_flow
from glf_minimal.models.stages import Adam, Stage, Update


class GLF(LatentModel):
    """A deterministic auto-encoder and a flow on its latents, trained together in one stage.

        L = beta * recon(x, G(E(x))) + NLL(sg[E(x)])
        NLL(z) = -log N(f(z); 0, I) - log |det df/dz|

    sg[.] is the stop-gradient: the likelihood trains the flow f and leaves the encoder E alone.
    With ``stop_gradient=False`` this is the paper's "regularized GLF", whose latents shrink towards
    0 because that raises their likelihood.

    Args:
        encoder: any module, images (N, C, H, W) in [0, 1] -> latents (N, D).
        decoder: any module, latents (N, D) -> images (N, C, H, W) in [0, 1].
        flow: a flow on vectors of length D.
        beta: weight of the reconstruction.
        reconstruction: "mse", "l1", "bce", … (``glf_minimal.losses``), or a function of
            (reconstruction, images).
        stop_gradient: False for regularized GLF.
        flow_adam: the flow's optimizer settings; the auto-encoder has Adam's defaults.

    >>> from glf_minimal import GLF, conv_decoder, conv_encoder, two_sided_flow
    >>> shape = (1, 28, 28)
    >>> model = GLF(conv_encoder(shape, 16), conv_decoder(shape, 16), two_sided_flow(16)).eval()
    >>> model.sample(4).shape
    torch.Size([4, 1, 28, 28])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        flow: Flow,
        beta: float = 1.0,
        reconstruction: str | ReconstructionLoss = "mse",
        stop_gradient: bool = True,
        flow_adam: Adam = Adam(),
    ):
        require_flow(flow, "flow")
        super().__init__(encoder, decoder, flow.dim, beta, reconstruction)
        self.flow = flow
        self.stop_gradient = stop_gradient
        self.stages = (Stage("joint", (Update(self.auto_encoder_parts() | {"flow": flow_adam}),)),)

    @property
    def prior(self) -> Flow:
        """z = f^-1(eps), eps ~ N(0, I)."""
        return self.flow

    def describe(self) -> dict:
        return super().describe() | {"stop_gradient": self.stop_gradient}

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, C, H, W) -> {"loss", "recon", "nll"}, scalars in nats per image.

        loss = beta * recon + nll.
        """
        z = self.encode(x)
        recon = self.reconstruction_loss(z, x)
        nll = -self.flow.log_prob(z.detach() if self.stop_gradient else z).mean()
        return {"loss": self.beta * recon + nll, "recon": recon, "nll": nll}

    def flow_losses(self, z: Tensor) -> dict[str, Tensor]:
        """Latents (N, D) -> {"loss", "nll"}: their negative log-likelihood, in nats per image."""
        nll = -self.flow.log_prob(z).mean()
        return {"loss": nll, "nll": nll}
