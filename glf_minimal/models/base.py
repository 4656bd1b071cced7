"""What every model of this package has in common, and how a model says how it is to be trained."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from glf_minimal.losses import RECONSTRUCTION_LOSSES

ReconstructionLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Adam:
    """Settings of Adam for one part of a model. The rate is ``lr_factor`` times the training's ``lr``."""

    lr_factor: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self):
        first, second = self.betas
        if not (0 <= first < 1 and 0 <= second < 1 and self.lr_factor > 0 and self.eps > 0 and self.weight_decay >= 0):
            raise ValueError(f"expected lr_factor > 0, betas in [0, 1), eps > 0 and weight_decay >= 0; got {self}")


@dataclass(frozen=True)
class Update:
    """One backward pass and one optimizer step.

    Args:
        parts: which sub-modules move, by attribute name, each with its optimizer settings. Gradients
            reach these parts and no others. A part whose parameters are all frozen stays in eval mode.
        losses: name of the model's method that maps a batch to {"loss": ..., further terms}.
        repeats: how many times in a row, on the same batch (a critic's extra steps).
    """

    parts: dict[str, Adam]
    losses: str = "losses"
    repeats: int = 1


@dataclass(frozen=True)
class Stage:
    """A span of epochs with its own updates, made in turn on every batch.

    Args:
        name: how the history calls it.
        updates: at least one. Sub-modules that appear in none are frozen, in eval mode, for this stage.
        share: its part of the training's epochs, relative to the other stages.
    """

    name: str
    updates: tuple[Update, ...]
    share: float = 1.0


class LatentModel(nn.Module):
    """An auto-encoder that can generate: the interface shared by training, sampling and metrics.

    A subclass gives ``sample_latents``, ``losses`` and ``stages``; it overrides ``encode`` where a latent is more than
    the encoder's output, and extends ``describe`` by the settings of its own.

    Args:
        encoder: any module, images (N, C, H, W) in [0, 1] -> (N, latent_dim).
        decoder: any module, (N, latent_dim) -> images (N, C, H, W) in [0, 1].
        latent_dim: D, the length of a latent vector.
        beta: weight of the reconstruction term.
        reconstruction: "mse", "l1", "bce", or a function of (reconstruction, images) -> scalar.
    """

    stages: tuple[Stage, ...]

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        beta: float = 1.0,
        reconstruction: str | ReconstructionLoss = "mse",
    ):
        super().__init__()
        if isinstance(reconstruction, str):
            if reconstruction not in RECONSTRUCTION_LOSSES:
                raise ValueError(
                    f"reconstruction: expected one of {sorted(RECONSTRUCTION_LOSSES)}, got {reconstruction!r}"
                )
            reconstruction = RECONSTRUCTION_LOSSES[reconstruction]
        self.encoder, self.decoder = encoder, decoder
        self.latent_dim, self.beta = latent_dim, beta
        self.reconstruction = reconstruction

    def encode(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) -> latents (N, D), in float32 at least, under autocast too."""
        z = self._call("encoder", x)
        if z.shape != (len(x), self.latent_dim):
            raise ValueError(
                f"encoder: expected latents of shape {(len(x), self.latent_dim)} for {len(x)} images, "
                f"got {tuple(z.shape)}; make its output as long as latent_dim"
            )
        return z.to(torch.promote_types(z.dtype, torch.float32))

    def decode(self, z: Tensor) -> Tensor:
        """Latents (N, D) -> images (N, C, H, W) in [0, 1]."""
        return self._call("decoder", z)

    def _call(self, part: str, x: Tensor) -> Tensor:
        """Run the encoder or the decoder; where it cannot take ``x``, say which one and what it was given."""
        try:
            output = getattr(self, part)(x)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            given = f"{x.dtype} input of shape {tuple(x.shape)}"
            raise ValueError(f"{part}: cannot take {given} ({str(error).splitlines()[0]})") from error
        if not isinstance(output, Tensor):
            raise ValueError(f"{part}: expected it to return a tensor, got a {type(output).__name__}")
        return output

    def describe(self) -> dict:
        """What, besides its networks, makes this model: JSON-able, kept with a run to tell trainings apart."""
        loss = getattr(self.reconstruction, "__name__", type(self.reconstruction).__name__)
        facts = {"class": type(self).__name__, "latent_dim": self.latent_dim, "beta": self.beta, "reconstruction": loss}
        stages = {
            stage.name: {"share": stage.share} | {str(i): asdict(update) for i, update in enumerate(stage.updates)}
            for stage in self.stages
        }
        return facts | {"stages": stages}

    def reconstruct(self, x: Tensor) -> Tensor:
        """Images -> decode(encode(images))."""
        return self.decode(self.encode(x))

    def reconstruction_loss(self, z: Tensor, x: Tensor) -> Tensor:
        """Loss of decode(z) against x, in nats per image, not weighted by beta."""
        x_hat = self.decode(z)
        if x_hat.shape != x.shape:
            raise ValueError(
                f"decoder: expected images of shape {tuple(x.shape)} like the data, got {tuple(x_hat.shape)}"
            )
        return self.reconstruction(x_hat, x)

    def sample_latents(self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw n latents (n, D) from the model's own distribution of latents."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to sample its latents")

    @torch.no_grad()
    def sample(self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw n images (n, C, H, W) in [0, 1].

        ``temperature`` scales the noise: 0 gives one central image, 1 the model's distribution. Call ``eval()``
        first: in train mode batch norm would use the statistics of the batch drawn.
        """
        return self.decode(self.sample_latents(n, temperature, generator))

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """Images -> {"loss": the scalar to minimize, and the named terms it is made of}, in nats per image."""
        raise NotImplementedError(f"{type(self).__name__} does not define its losses")
