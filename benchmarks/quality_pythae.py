"""The contenders of "time to quality" from pythae (Chadebec, Vincent & Allassonnière 2022), trained
by pythae itself.

Runs in the environment that `benchmarks.quality` makes for it. pythae's training pipelines,
trainers, losses and samplers are used as they come; this file gives them the networks, the rate,
the batch size and the number of epochs, and takes its snapshots in a callback, with the watch
stopped.
"""

import copy
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from pythae.models import AE, RAE_L2, AEConfig, BaseAE, RAE_L2_Config
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.pipelines import TrainingPipeline
from pythae.samplers import GaussianMixtureSampler, MAFSampler
from pythae.samplers.base import BaseSampler
from pythae.trainers import BaseTrainerConfig, CoupledOptimizerTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback

from benchmarks.quality_points import BudgetSpent, Protocol, Stopwatch, contender_main, write_point
from glf_minimal.recipes.build import build_auto_encoder

DRAWN_AT_A_TIME = 500


class Encoder(BaseEncoder):
    """Our encoder, as pythae wants it."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> ModelOutput:
        return ModelOutput(embedding=self.network(x))


class Decoder(BaseDecoder):
    """Our decoder, as pythae wants it."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(z))


class Snapshots(TrainingCallback):
    """Times pythae's epochs, and hands the model over after some of them.

    Args:
        take: (model, epoch, watch of the training) -> None, with the watch stopped.
        epochs: after which.
    """

    def __init__(self, take: Callable[[BaseAE, int, Stopwatch], None], epochs: tuple[int, ...]):
        self.take, self.epochs, self.watch, self.epoch = take, epochs, Stopwatch(), 0

    def on_epoch_begin(self, training_config, **_) -> None:
        self.watch.__enter__()

    def on_epoch_end(self, training_config, model: BaseAE, **_) -> None:
        self.watch.__exit__()
        self.epoch += 1
        self.take(model, self.epoch, self.watch)


def make_points(
    kind: type[AE],
    config: type[AEConfig],
    trainer: Callable[[Protocol, Path], BaseTrainerConfig],
    fit_sampler: Callable[[BaseAE, torch.Tensor, Protocol, Path], BaseSampler],
    folder: Path,
    protocol: Protocol,
) -> None:
    """Train with pythae's pipeline; after each epoch that the protocol names, fit a sampler to a
    copy and draw.
    """
    for leftover in folder.glob("epoch-*"):  # of a training that was stopped: this one begins anew
        leftover.unlink()
    data, settings = protocol.data(), protocol.settings()
    images = data.batch(slice(None))
    latent_dim = settings["networks"]["latent_dim"]
    torch.manual_seed(protocol.seed)  # the same first weights as our own contenders'
    encoder, decoder = build_auto_encoder(settings, data.image_shape)
    model = kind(
        config(input_dim=data.image_shape, latent_dim=latent_dim),
        Encoder(encoder),
        Decoder(decoder),
    )
    sampler_watch = Stopwatch()

    def take(model: BaseAE, epoch: int, train: Stopwatch) -> None:
        nonlocal sampler_watch
        if train.cpu_seconds + sampler_watch.cpu_seconds > protocol.budget:
            raise BudgetSpent
        if epoch not in protocol.epochs:
            return
        sampler_watch, draw = Stopwatch(), Stopwatch()
        with torch.random.fork_rng([]):  # the training goes on as if nothing had been drawn
            torch.manual_seed(protocol.seed)
            np.random.seed(protocol.seed)  # noqa: NPY002 (the mixture is scikit-learn's, and draws from this one)
            with sampler_watch:
                sampler = fit_sampler(copy.deepcopy(model), images, protocol, folder)
            with draw, torch.no_grad():
                drawn = sampler.sample(num_samples=protocol.samples, batch_size=DRAWN_AT_A_TIME)
        parameters = sampling_parameters(model, sampler)
        write_point(folder, epoch, train, sampler_watch, draw, drawn, parameters)

    callback = Snapshots(take, protocol.epochs)
    pipeline = TrainingPipeline(model=model, training_config=trainer(protocol, folder))
    pipeline(train_data=images, callbacks=[callback])


def common(protocol: Protocol, folder: Path) -> dict:
    return {
        "output_dir": str(folder / "pythae"),
        "per_device_train_batch_size": protocol.batch_size,
        "seed": protocol.seed,
        "no_cuda": True,
    }


def trainer(protocol: Protocol, folder: Path) -> BaseTrainerConfig:
    return BaseTrainerConfig(
        num_epochs=max(protocol.epochs), learning_rate=protocol.lr, **common(protocol, folder)
    )


def coupled_trainer(protocol: Protocol, folder: Path) -> BaseTrainerConfig:
    """The trainer that pythae insists on for RAE-L2: one optimizer for the encoder, one for the
    decoder.
    """
    return CoupledOptimizerTrainerConfig(
        num_epochs=max(protocol.epochs),
        encoder_learning_rate=protocol.lr,
        decoder_learning_rate=protocol.lr,
        **common(protocol, folder),
    )


def flow_sampler(
    model: BaseAE, images: torch.Tensor, protocol: Protocol, folder: Path
) -> MAFSampler:
    """pythae's masked autoregressive flow on the latents, its form that of pythae's defaults."""
    sampler = MAFSampler(model)
    config = BaseTrainerConfig(
        num_epochs=protocol.sampler_epochs, learning_rate=protocol.lr, **common(protocol, folder)
    )
    sampler.fit(images, training_config=config)
    sampler.maf_model.eval()
    return sampler


def mixture_sampler(
    model: BaseAE, images: torch.Tensor, protocol: Protocol, folder: Path
) -> GaussianMixtureSampler:
    """pythae's Gaussian mixture, with its default of 10 components."""
    sampler = GaussianMixtureSampler(model)
    sampler.fit(images)
    return sampler


def sampling_parameters(model: BaseAE, sampler: BaseSampler) -> int:
    """How many numbers a sample depends on: those of the decoder, and of the flow or mixture."""
    if isinstance(sampler, GaussianMixtureSampler):
        mixture = sampler.gmm
        fitted = mixture.weights_.size + mixture.means_.size + mixture.covariances_.size
    else:
        fitted = _floats(sampler.maf_model)
    return _floats(model.decoder) + fitted


def _floats(module: torch.nn.Module) -> int:
    tensors = module.state_dict().values()
    return sum(tensor.numel() for tensor in tensors if tensor.is_floating_point())


PYTHAE = {
    "pythae-ae-maf": lambda *where: make_points(AE, AEConfig, trainer, flow_sampler, *where),
    "pythae-rae-l2-gmm": lambda *where: make_points(
        RAE_L2, RAE_L2_Config, coupled_trainer, mixture_sampler, *where
    ),
}

if __name__ == "__main__":
    contender_main(PYTHAE, {name: version(name) for name in ("pythae", "pydantic")})
