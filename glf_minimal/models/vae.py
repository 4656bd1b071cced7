"""Variational auto-encoders: prior and posterior are each a Gaussian or a flow."""

import torch
from torch import Tensor, nn

from glf_minimal.flows import LOG_2PI, Flow
from glf_minimal.models.base import LatentModel, ReconstructionLoss, require_flow
from glf_minimal.models.priors import StandardNormal
from glf_minimal.models.stages import Adam, Stage, Update


class VAE(LatentModel):
    """A variational auto-encoder, whose prior and posterior may have a flow.

    See Kingma & Welling, arXiv:1312.6114.

        -ELBO = beta * recon + KL,   KL = E_q[-log p(z)] - H[q(z|x)] = nll - entropy

    The posterior is u ~ N(mean(x), diag(var(x))); then z = u, or z = f^-1(u) with a posterior flow
    f (latents -> noise, like every flow here), whose entropy is that of u plus E log |det dz/du|.
    The prior p(z) is N(0, I) or a flow. With a flow prior, -ELBO is GLF's objective without the
    stop-gradient, minus the entropy (slide deck, "VAEs with Flow Prior").

    The decoder is Gaussian for ``reconstruction="mse"`` (of fixed variance 1 / (2 beta)) and
    "gaussian" (of learned variance; leave beta at 1), Bernoulli for "bce".

    Args:
        encoder: any module, images (N, C, H, W) -> (N, 2 * latent_dim): means, then log-variances.
        decoder: any module, latents (N, D) -> images (N, C, H, W) in [0, 1].
        latent_dim: D.
        prior: a flow; None for N(0, I).
        posterior_flow: a flow; None for a Gaussian posterior.
        beta: weight of the reconstruction.
        reconstruction: see ``LatentModel``.
        flow_adam: optimizer settings of the flows.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        prior: Flow | None = None,
        posterior_flow: Flow | None = None,
        beta: float = 1.0,
        reconstruction: str | ReconstructionLoss = "mse",
        flow_adam: Adam = Adam(),
    ):
        super().__init__(encoder, decoder, latent_dim, beta, reconstruction)
        flows = {"prior": prior, "posterior_flow": posterior_flow}
        flows = {name: flow for name, flow in flows.items() if flow is not None}
        for name, flow in flows.items():
            require_flow(flow, name)
        self.prior = StandardNormal(latent_dim) if prior is None else prior
        self.posterior_flow = posterior_flow
        parts = self.auto_encoder_parts() | dict.fromkeys(flows, flow_adam)
        self.stages = (Stage("joint", (Update(parts),)),)

    def codes(self, x: Tensor) -> Tensor:
        """Images -> (N, 2D): the means of u, then its log-variances."""
        return self._encoder_output(x, 2)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images -> mean and log-variance of u, (N, D) each."""
        return self.codes(x).chunk(2, dim=1)

    def encode(self, x: Tensor) -> Tensor:
        """Images -> the latent of the posterior's mean (N, D), without noise."""
        mean, _ = self.posterior(x)
        return mean if self.posterior_flow is None else self.posterior_flow.inverse(mean)[0]

    def draw_latents(self, x: Tensor) -> Tensor:
        """Images -> z ~ q(z|x): (N, D)."""
        return self.reparameterize(*self.posterior(x))[0]

    def reparameterize(self, mean: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
        """Draw z ~ q(z|x): (N, D), and give the entropy of q(z|x), one number a row, in nats.

        Exact for a Gaussian posterior; with a flow, estimated at the drawn z.
        """
        u = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        entropy = 0.5 * (log_var + LOG_2PI + 1).sum(1)
        if self.posterior_flow is None:
            return u, entropy
        z, log_det = self.posterior_flow.inverse(u)
        return z, entropy + log_det

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """Images -> {"loss", "recon", "kl", "nll", "entropy"} in nats per image.

        loss = beta * recon + kl, kl = nll - entropy.
        """
        mean, log_var = self.posterior(x)
        z, entropy = self.reparameterize(mean, log_var)
        if isinstance(self.prior, StandardNormal) and self.posterior_flow is None:
            nll = 0.5 * (mean.square() + log_var.exp() + LOG_2PI).sum(1)  # the expectation, exactly
        else:
            nll = -self.prior.log_prob(z)
        recon, nll, entropy = self.reconstruction_loss(z, x), nll.mean(), entropy.mean()
        kl = nll - entropy
        return {
            "loss": self.beta * recon + kl,
            "recon": recon,
            "kl": kl,
            "nll": nll,
            "entropy": entropy,
        }
