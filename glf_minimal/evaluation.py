"""Evaluating a model: one protocol, one set of metrics for all of them."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glf_minimal.classifiers import load_classifier
from glf_minimal.data import ImageDataset
from glf_minimal.errors import MetricError
from glf_minimal.features import InceptionFeatures, as_uint8, extract
from glf_minimal.flows import Flow
from glf_minimal.frechet import bootstrap_standard_error, frechet_from_features
from glf_minimal.metrics import bits_per_dim, gaussianity, kernel_distance, precision_recall
from glf_minimal.models.base import LatentModel
from glf_minimal.models.priors import StandardNormal

NO_INCEPTION = "not run: needs the Inception weights (glf evaluate RUN --fid)"


@dataclass(frozen=True)
class Protocol:
    """What is compared with what: part of every number.

    Args:
        samples: how many images are generated.
        reference: the split of real images that they are compared with, all of it.
        train_mode: leave batch norm in train mode when sampling, so that each sample depends on the
            ``batch_size`` - 1 others drawn with it (the authors' code does).
        stretch: stretch each sample from its least to its largest value to [0, 1] (the authors' code does).
        uint8: round samples to 256 levels, as saving them would.
        binarize: round samples and real images to 0 or 1.
        temperature: scale of the noise.
        seed: of every draw.
        batch_size: samples drawn at a time.
    """

    samples: int = 10_000
    reference: str = "test"
    train_mode: bool = False
    stretch: bool = False
    uint8: bool = True
    binarize: bool = False
    temperature: float = 1.0
    seed: int = 0
    batch_size: int = 500

    def __post_init__(self):
        for name in ("samples", "batch_size"):
            if getattr(self, name) < 2:
                raise MetricError(f"{name}: expected at least 2, got {getattr(self, name)}")

    def prepare(self, images: Tensor) -> Tensor:
        """Do to generated images (N, C, H, W) what the protocol says is done before they are looked at."""
        if self.stretch:
            low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
            images = (images - low) / (high - low).clamp(min=1e-8)
        if self.binarize:
            return (images >= 0.5).float()
        return as_uint8(images) if self.uint8 else images


def generate(model: LatentModel, protocol: Protocol) -> Iterator[Tensor]:
    """Batches of prepared samples, ``protocol.samples`` in all; the model is left as it was."""
    # Train mode moves the running statistics of batch norm, so it gets a copy.
    model = copy.deepcopy(model).train() if protocol.train_mode else model.eval()
    generator = torch.Generator().manual_seed(protocol.seed)
    for start in range(0, protocol.samples, protocol.batch_size):
        n = min(protocol.batch_size, protocol.samples - start)
        yield protocol.prepare(model.sample(n, protocol.temperature, generator))


def compare(real: Tensor, generated: Tensor, distance: str) -> dict[str, float]:
    """All measures on features (N, F) and (M, F): the Fréchet distance, called ``distance``, KID, precision, recall."""
    measures = {distance: frechet_from_features(real, generated)}
    measures[f"{distance}_se"] = bootstrap_standard_error(real, generated)
    k = min(3, len(real) - 2, len(generated) - 2)
    return measures | kernel_distance(real, generated) | precision_recall(real, generated, k)


def latent_measures(model: LatentModel, batches: Iterator[Tensor], protocol: Protocol) -> dict[str, float]:
    """How well the model's prior fits the latents of real images: densities in nats, distances between latents.

    "nll" and "bits_per_dim" of the latents under the prior, where its density is known; "frechet" between their
    moments and those of as many draws of the prior; ``metrics.gaussianity`` of the latents after the flow, or of the
    latents themselves where the prior is N(0, I).
    """
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(protocol.seed)  # a VAE draws its latents
        z = torch.cat([model.draw_latents(x) for x in batches])
    drawn = model.sample_latents(len(z), generator=torch.Generator().manual_seed(protocol.seed))
    measures = {"frechet": frechet_from_features(z, drawn)}
    if hasattr(model.prior, "log_prob"):
        nll = -model.prior.log_prob(z).mean().item()
        measures |= {"nll": nll, "bits_per_dim": bits_per_dim(nll, model.latent_dim)}
    if isinstance(model.prior, Flow | StandardNormal):
        measures |= gaussianity(model.prior(z)[0] if isinstance(model.prior, Flow) else z)
    return measures


@torch.no_grad()
def evaluate(
    model: LatentModel,
    reference: ImageDataset,
    protocol: Protocol = Protocol(),
    inception: InceptionFeatures | None = None,
    classifier: nn.Module | None = None,
    real: ImageDataset | None = None,
) -> dict[str, dict | str]:
    """Every metric of a model.

    Args:
        model: on the device to use; left in eval mode.
        reference: the real images to compare with (and to reconstruct), labels not needed.
        protocol: how.
        inception: FID's network; without it, FID is "not run".
        classifier: FCD's network; None for that of the data set of this name, if there is one.
        real: compare these images instead of samples: what a perfect model would get.

    Returns:
        {"classifier": FCD with standard error, KID, precision, recall, density, coverage on the classifier's features,
        "inception": the same on Inception's (FID), "reconstruction": squared error summed over pixels and its root per
        pixel, "latents": ``latent_measures``}; a text instead of numbers where something was not run.
    """
    model.eval()
    device = next(model.parameters()).device
    if protocol.binarize:
        reference, real = reference.binarized(), real and real.binarized()

    def batches(data: ImageDataset, n: int | None = None) -> Iterator[Tensor]:
        for index in torch.arange(n or len(data)).split(protocol.batch_size):
            yield data.batch(index).to(device)

    def measured(extractor: nn.Module, distance: str) -> dict[str, float]:
        features = extract(extractor, batches(reference), device)
        samples = generate(model, protocol) if real is None else batches(real, min(protocol.samples, len(real)))
        return compare(features, extract(extractor, samples, device), distance)

    measures: dict[str, dict | str] = {}
    try:
        classifier = classifier or load_classifier(reference.name.removesuffix(" (binary)"))[0]
    except MetricError as error:
        measures["classifier"] = f"not run: {error}"
    else:
        measures["classifier"] = measured(classifier, "fcd")
    measures["inception"] = measured(inception, "fid") if inception else NO_INCEPTION
    if real is None:
        squared = [(model.reconstruct(x) - x).square().flatten(1).sum(1).double() for x in batches(reference)]
        error = torch.cat(squared).mean().item()
        pixels = reference.pixels[0].numel()
        measures["reconstruction"] = {"mse_per_image": error, "rmse_per_pixel": (error / pixels) ** 0.5}
        measures["latents"] = latent_measures(model, batches(reference), protocol)
    return measures
