"""Evaluating a model: one protocol, one set of metrics for all of them."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glf_minimal.data import ImageDataset
from glf_minimal.errors import MetricError
from glf_minimal.evaluation.classifier import load_classifier
from glf_minimal.evaluation.features import InceptionFeatures, as_uint8, extract
from glf_minimal.evaluation.frechet import bootstrap_standard_error, frechet_from_features
from glf_minimal.evaluation.metrics import (
    bits_per_dim,
    gaussianity,
    kernel_distance,
    precision_recall,
    reconstruction_errors,
)
from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures
from glf_minimal.flows import Flow
from glf_minimal.models.base import LatentModel
from glf_minimal.models.priors import StandardNormal

FEWEST = 5  # images on either side: precision and recall look at the third neighbour
NO_SQUEEZENET = "not run: needs SqueezeNet's ImageNet weights (glf evaluate RUN --squeezenet PATH)"
NO_INCEPTION = "not run: needs the Inception weights (glf evaluate RUN --fid)"


@dataclass(frozen=True)
class Protocol:
    """What is compared with what, and how: part of every number.

    Args:
        samples: how many images are generated.
        reference: the split of real images that they are compared with, all of it.
        train_mode: leave batch norm in train mode when sampling, so that each sample depends on the
            ``batch_size`` - 1 others drawn with it (the authors' code does).
        stretch: stretch each sample from its least to its largest value to [0, 1] (the authors'
            code does).
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
        for name, smallest in {"samples": FEWEST, "batch_size": 2}.items():
            if getattr(self, name) < smallest:
                raise MetricError(
                    f"{name}: expected at least {smallest}, got {getattr(self, name)}"
                )

    def prepare(self, images: Tensor) -> Tensor:
        """Do to generated images (N, C, H, W) what the protocol says is done before they are looked
        at.
        """
        if self.stretch:
            low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
            images = (images - low) / (high - low).clamp(min=1e-8)
        if self.binarize:
            return (images >= 0.5).float()
        return as_uint8(images) if self.uint8 else images


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Make draws from torch's global random state repeat, and leave that state as it was."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def generate(model: LatentModel, protocol: Protocol) -> Iterator[Tensor]:
    """Batches of prepared samples, ``protocol.samples`` in all; the model's weights are left as
    they were.
    """
    # Train mode moves the running statistics of batch norm, so it gets a copy.
    model = copy.deepcopy(model).train() if protocol.train_mode else model.eval()
    generator = torch.Generator().manual_seed(protocol.seed)
    for start in range(0, protocol.samples, protocol.batch_size):
        # Batches are drawn whole, the last one too, so that in train mode all samples have equally
        # many companions.
        images = model.sample(protocol.batch_size, protocol.temperature, generator)
        yield protocol.prepare(images[: protocol.samples - start])


def compare(real: Tensor, generated: Tensor, distance: str) -> dict[str, float]:
    """All measures on features (N, F) and (M, F): the Fréchet distance, called ``distance``, KID,
    precision, recall.
    """
    measures = {distance: frechet_from_features(real, generated)}
    measures[f"{distance}_se"] = bootstrap_standard_error(real, generated)
    return measures | kernel_distance(real, generated) | precision_recall(real, generated)


def latent_measures(
    model: LatentModel, batches: Iterable[Tensor], protocol: Protocol
) -> dict[str, float]:
    """How well what a model draws its latents from fits those of real images: densities in nats.

    "frechet" between the moments of the latents and of as many drawn ones. Where the drawn ones are
    those of ``model.prior``, also "nll" and "bits_per_dim" of the latents under it, if its density
    is known; and ``metrics.gaussianity`` of the latents after the flow, or of the latents
    themselves where the prior is N(0, I).
    """
    z = torch.cat([model.draw_latents(x) for x in batches])
    drawn = model.sample_latents(
        len(z), protocol.temperature, torch.Generator().manual_seed(protocol.seed)
    )
    measures = {"frechet": frechet_from_features(z, drawn)}
    if type(model).sample_latents is not LatentModel.sample_latents:
        return measures
    if hasattr(model.prior, "log_prob"):
        nll = -model.prior.log_prob(z).mean().item()
        measures |= {"nll": nll, "bits_per_dim": bits_per_dim(nll, model.latent_dim)}
    if isinstance(model.prior, Flow | StandardNormal):
        measures |= gaussianity(model.prior(z)[0] if isinstance(model.prior, Flow) else z)
    return measures


def _batches(
    data: ImageDataset, places: Tensor, protocol: Protocol, model: LatentModel
) -> Iterator[Tensor]:
    like = next(model.parameters())
    return (
        data.batch(index).to(like.device, like.dtype) for index in places.split(protocol.batch_size)
    )


def _reconstruct(
    model: LatentModel, batches: Iterable[Tensor], protocol: Protocol, kept: list[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches with their reconstructions, which ``kept`` keeps as samples are prepared."""
    for x in batches:
        x_hat = model.reconstruct(x)
        kept.append(protocol.prepare(x_hat).to("cpu", torch.float32))
        yield x, x_hat


@torch.no_grad()
def learning_curve(
    model: LatentModel,
    weights: Iterable[dict[str, Tensor]],
    reference: ImageDataset,
    protocol: Protocol,
    classifier: nn.Module,
) -> Iterator[dict[str, float]]:
    """FCD and reconstruction error of a model with one set of weights after the other, the last of
    which it keeps.

    Yields {"fcd", "mse_per_image"}, computed as ``evaluate`` does.
    """
    device, everything = next(model.parameters()).device, torch.arange(len(reference))
    reference = reference.binarized() if protocol.binarize else reference
    real = extract(classifier, _batches(reference, everything, protocol, model), device)
    for state in weights:
        model.load_state_dict(state)
        model.eval()
        with _seeded(protocol.seed):
            generated = extract(classifier, generate(model, protocol), device)
        with _seeded(protocol.seed):
            pairs = (
                (x, model.reconstruct(x)) for x in _batches(reference, everything, protocol, model)
            )
            error = reconstruction_errors(pairs)["mse_per_image"]
        yield {"fcd": frechet_from_features(real, generated), "mse_per_image": error}


@torch.no_grad()
def evaluate(
    model: LatentModel,
    reference: ImageDataset | Tensor,
    protocol: Protocol = Protocol(),
    inception: InceptionFeatures | None = None,
    classifier: nn.Module | None = None,
    real: ImageDataset | Tensor | None = None,
    squeezenet: SqueezeNetFeatures | None = None,
) -> dict[str, dict | str]:
    """Every metric of a model.

    Args:
        model: on the device to use; left in eval mode.
        reference: the real images to compare with (and to reconstruct), labels not needed; a data
            set, or a tensor (N, C, H, W) as for ``fit``.
        protocol: how.
        inception: FID's network; without it, FID is "not run".
        classifier: FCD's network; None for that of the data set of this name, if there is one.
        real: compare these images instead of samples, at most ``protocol.samples`` of them, chosen
            at random: what a perfect model would get.
        squeezenet: the judge that knows ImageNet; without it, its distance is "not run".

    Returns:
        {"classifier": FCD with standard error, KID, precision, recall, density, coverage on the
        classifier's features,
        "inception": the same on Inception's (FID), "squeezenet": the Fréchet distance on
        SqueezeNet's features (FSD) with standard error, "reconstruction":
        ``metrics.reconstruction_errors``, and the distances of the reconstructions from the
        reference images, below which no density on the latents can bring the samples; "latents":
        ``latent_measures``}; a text instead of numbers where something was not run. The last two
        only of a model's own images, without ``real``.

    Raises:
        MetricError: too few images to compare, or features or latents that are not finite numbers.
        DivergenceError: samples that are not.
    """
    model.eval()
    device = next(model.parameters()).device
    reference, real = (
        d if d is None or isinstance(d, ImageDataset) else ImageDataset(d)
        for d in (reference, real)
    )
    if protocol.binarize:
        reference, real = reference.binarized(), real and real.binarized()
    for data in filter(None, (reference, real)):
        if len(data) < FEWEST:
            raise MetricError(
                f"{data.name}: expected at least {FEWEST} images to compare, got {len(data)}"
            )

    def reference_batches() -> Iterator[Tensor]:
        return _batches(reference, torch.arange(len(reference)), protocol, model)

    def samples() -> Iterator[Tensor]:
        if real is None:
            return generate(model, protocol)
        shuffled = torch.randperm(len(real), generator=torch.Generator().manual_seed(protocol.seed))
        return _batches(
            real, shuffled[: protocol.samples], protocol, model
        )  # the images may be sorted by class

    def measured(extractor: nn.Module, distance: str) -> dict[str, float]:
        with _seeded(protocol.seed):
            features = (
                extract(extractor, images, device) for images in (reference_batches(), samples())
            )
            return compare(*features, distance)

    measures: dict[str, dict | str] = {}
    try:
        if classifier is None:
            classifier, _ = load_classifier(reference.name)
    except MetricError as error:
        measures["classifier"] = f"not run: {error}"
    else:
        measures["classifier"] = measured(classifier, "fcd")
    measures["inception"] = NO_INCEPTION if inception is None else measured(inception, "fid")
    if squeezenet is None:
        measures["squeezenet"] = NO_SQUEEZENET
    else:
        known = squeezenet.of_reference(reference.digest, reference_batches(), device)
        with _seeded(protocol.seed):
            drawn = extract(squeezenet, samples(), device)
        measures["squeezenet"] = {
            "fsd": frechet_from_features(known, drawn),
            "fsd_se": bootstrap_standard_error(known, drawn),
        }
    if real is None:
        reconstructions: list[Tensor] = []
        with _seeded(protocol.seed):
            pairs = _reconstruct(model, reference_batches(), protocol, reconstructions)
            measures["reconstruction"] = reconstruction_errors(pairs)
        if isinstance(measures["classifier"], dict):
            known = extract(classifier, reference_batches(), device)
            rebuilt = extract(classifier, reconstructions, device)
            measures["reconstruction"]["fcd"] = frechet_from_features(known, rebuilt)
        if squeezenet is not None:
            known = squeezenet.of_reference(reference.digest, reference_batches(), device)
            rebuilt = extract(squeezenet, reconstructions, device)
            measures["reconstruction"]["fsd"] = frechet_from_features(known, rebuilt)
        with _seeded(protocol.seed):  # a VAE draws its latents
            measures["latents"] = latent_measures(model, reference_batches(), protocol)
    return measures
