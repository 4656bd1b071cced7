"""What every model of this package has in common, and how a model says how it is to be trained."""

from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import Tensor, nn

from glf_minimal.errors import DivergenceError, RecipeError, finite_number, first_line, whole_number
from glf_minimal.flows import Flow
from glf_minimal.losses import reconstruction_loss
from glf_minimal.models.stages import Adam, Stage
from glf_minimal.networks import at_least_float32, run_in_its_dtype

ReconstructionLoss = Callable[[Tensor, Tensor], Tensor]


def unwrapped(model: nn.Module) -> "Trainable":
    """The model itself, also of what ``torch.compile`` gave; ValueError for anything else.

    Compiling a whole model speeds up its ``forward`` alone, which no model here has; compile the
    encoder and the decoder instead.
    """
    model = getattr(model, "_orig_mod", model)
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise ValueError(
            f"model: expected the model itself, got a {type(model).__name__} around it; give its "
            "'module', and start several processes with torchrun to train on several GPUs"
        )
    if not isinstance(model, Trainable):
        raise ValueError(
            f"model: expected a Trainable, such as GLF(encoder, decoder, flow); got a "
            f"{type(model).__name__}"
        )
    return model


def image_dtype(model: nn.Module) -> torch.dtype:
    """The type of a model's images: float64 where all its weights are, else float32.

    Each part gets them in the type of its own weights.
    """
    types = {parameter.dtype for parameter in model.parameters()}
    return torch.float64 if types == {torch.float64} else torch.float32


def require_flow(flow: object, name: str) -> None:
    """ValueError where what was given as a flow is none."""
    if not all(hasattr(flow, method) for method in ("dim", "inverse", "log_prob", "sample")):
        what = f"{name}: expected a Flow, such as two_sided_flow(dim=16); got "
        if hasattr(flow, "inverse"):
            what += f"a {type(flow).__name__}, which is a layer of one: give Flow([layer])"
        else:
            what += repr(flow) if isinstance(flow, int) else f"a {type(flow).__name__}"
        raise ValueError(what)


class Trainable(nn.Module):
    """What ``fit`` needs of a model: its stages, its losses, and what to call it."""

    stages: tuple[Stage, ...]

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """Images -> {"loss": the scalar to minimize, and its named terms}, in nats per image."""
        raise NotImplementedError(f"{type(self).__name__} does not define its losses")

    def describe(self) -> dict:
        """What, besides its networks, makes this model.

        This is JSON-able and kept with a run, to tell trainings apart.
        """
        stages = {
            stage.name: {"share": stage.share}
            | {str(i): asdict(update) for i, update in enumerate(stage.updates)}
            for stage in self.stages
        }
        return {"class": type(self).__name__, "stages": stages}


class LatentModel(Trainable):
    """An auto-encoder that can generate: the interface shared by training, sampling and metrics.

    A subclass gives ``stages``, ``losses`` and, as ``prior``, the distribution that it draws
    latents from (or its own ``sample_latents``); it overrides ``encode`` where a latent is more
    than the encoder's output, and extends ``describe`` by the settings of its own.

    Args:
        encoder: any module, images (N, C, H, W) in [0, 1] -> (N, latent_dim).
        decoder: any module, (N, latent_dim) -> images (N, C, H, W) in [0, 1].
        latent_dim: D, the length of a latent vector.
        beta: weight of the reconstruction term.
        reconstruction: a name that ``glf_minimal.losses.reconstruction_loss`` knows, or a function
            of (reconstruction, images) -> scalar.
    """

    # With sample(n, temperature, generator) and, where the density is known, log_prob(z).
    prior: nn.Module
    fits_latents = False

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        beta: float = 1.0,
        reconstruction: str | ReconstructionLoss = "mse",
    ):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.latent_dim = whole_number("latent_dim", latent_dim, 1)
        self.beta = finite_number("beta", beta, 0)
        self.reconstruction = reconstruction_loss(reconstruction)

    @property
    def fewest_images(self) -> int:
        """How many training images ``fit_latents`` needs at least."""
        return 1

    def encode(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) -> latents (N, D), in float32 at least, under autocast too."""
        return self._encoder_output(x, 1)

    def codes(self, x: Tensor) -> Tensor:
        """All that a stage with a frozen encoder needs to know of images (N, C, H, W): (N, K).

        For most models these are the latents, K = D; a VAE's are means and log-variances.
        """
        return self.encode(x)

    def _encoder_output(self, x: Tensor, per_latent: int) -> Tensor:
        """The encoder's numbers (N, per_latent * D): a VAE's has two per latent."""
        z = self._call("encoder", x)
        width = per_latent * self.latent_dim
        # Not len(x), which would fix the size of the batch in torch.export.
        if z.ndim != 2 or z.shape[0] != x.shape[0] or z.shape[1] != width:
            wanted = "latent_dim" if per_latent == 1 else f"{per_latent} * latent_dim"
            raise ValueError(
                f"encoder: expected latents of shape {(len(x), width)} for {len(x)} images, "
                f"got {tuple(z.shape)}; make its output as long as {wanted}"
            )
        return at_least_float32(z)

    def draw_latents(self, x: Tensor) -> Tensor:
        """A draw of the aggregated posterior: images -> latents (N, D).

        The decoder sees such latents in training.
        """
        return self.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Latents (N, D) -> images (N, C, H, W) in [0, 1], in float32 at least."""
        return at_least_float32(self._call("decoder", z))

    def _call(self, part: str, x: Tensor) -> Tensor:
        """Run the encoder or the decoder.

        Where it cannot take ``x``, the error says which one and what it was given.
        """
        try:
            output = run_in_its_dtype(getattr(self, part), x)
        except torch.OutOfMemoryError:
            raise
        # Batch norm raises a ValueError, for one image in train mode.
        except (RuntimeError, ValueError) as error:
            given = f"{x.dtype} input of shape {tuple(x.shape)}"
            raise ValueError(f"{part}: cannot take {given} ({first_line(error)})") from error
        if not isinstance(output, Tensor):
            raise ValueError(
                f"{part}: expected it to return a tensor, got a {type(output).__name__}"
            )
        return output

    def describe(self) -> dict:
        loss = getattr(self.reconstruction, "__name__", type(self.reconstruction).__name__)
        return super().describe() | {
            "latent_dim": self.latent_dim,
            "beta": self.beta,
            "reconstruction": loss,
        }

    def auto_encoder_parts(self, decoder: Adam = Adam()) -> dict[str, Adam]:
        """The parts that an update of the auto-encoder moves.

        A reconstruction loss with parameters of its own is one of them.
        """
        parts = {"encoder": Adam(), "decoder": decoder}
        loss = self.reconstruction
        if isinstance(loss, nn.Module) and list(loss.parameters()):
            # A variance, alone, has a long way to go.
            parts["reconstruction"] = Adam(lr_factor=10.0)
        return parts

    def auto_encoder_losses(self, x: Tensor) -> dict[str, Tensor]:
        """The reconstruction alone: {"loss", "recon"} in nats per image; loss = beta * recon."""
        recon = self.reconstruction_loss(self.encode(x), x)
        return {"loss": self.beta * recon, "recon": recon}

    def reconstruct(self, x: Tensor) -> Tensor:
        """Images -> decode(encode(images))."""
        return self.decode(self.encode(x))

    def reconstruction_loss(self, z: Tensor, x: Tensor) -> Tensor:
        """Loss of decode(z) against x, in nats per image, not weighted by beta."""
        x_hat = self.decode(z)
        if x_hat.shape != x.shape:
            raise ValueError(
                f"decoder: expected images of shape {tuple(x.shape)} like the data, got "
                f"{tuple(x_hat.shape)}"
            )
        x = at_least_float32(x)
        return self.reconstruction(x_hat.to(x.dtype), x)

    def sample_latents(
        self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw n latents (n, D) from the model's own distribution of latents."""
        if not hasattr(self, "prior"):
            raise NotImplementedError(
                f"{type(self).__name__} does not say how to sample its latents"
            )
        return self.prior.sample(n, temperature, generator)

    def flows(self) -> list[Flow]:
        """The flows on this model's latents; training watches that their inverses are exact."""
        return [
            part
            for part in self.children()
            if isinstance(part, Flow) and part.dim == self.latent_dim
        ]

    def fit_latents(self, z: Tensor) -> None:
        """Learn from the latents (N, D) of all training images, once, when the last epoch is over.

        Called only where ``fits_latents`` is True: for what is not learned by gradients, such as a
        Gaussian mixture.
        """

    @torch.no_grad()
    def sample(
        self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw n images (n, C, H, W) in [0, 1].

        ``temperature`` scales the noise: 0 gives one central image, 1 the model's distribution.
        Call ``eval()`` first: in train mode batch norm would use the statistics of the batch drawn.
        DivergenceError where pixels are not finite numbers.
        """
        n, temperature = whole_number("n", n, 1), finite_number("temperature", temperature)
        if not isinstance(generator, torch.Generator | None):
            raise RecipeError(f"generator: expected a torch.Generator, got {generator!r}")
        if (
            n == 1
            and self.training
            and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.modules())
        ):
            raise ValueError(
                "n: batch norm in train mode needs at least 2 samples, got 1; call eval() first"
            )
        images = self.decode(self.sample_latents(n, temperature, generator))
        if not (finite := images.flatten(1).isfinite().all(1)).all():
            raise DivergenceError(
                f"{(~finite).sum()} of {n} samples have pixels that are NaN; train with a "
                "smaller lr"
            )
        return images
