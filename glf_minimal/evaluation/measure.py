"""Evaluating a model: one protocol, one set of metrics for all of them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from glf_minimal.data import ImageDataset
from glf_minimal.errors import MetricError
from glf_minimal.evaluation.classifier import Classifier, load_classifier
from glf_minimal.evaluation.features import FrozenFeatures, InceptionFeatures, extract
from glf_minimal.evaluation.frechet import bootstrap_standard_error, frechet_from_features
from glf_minimal.evaluation.metrics import (
    bits_per_dim,
    gaussianity,
    kernel_distance,
    precision_recall,
    reconstruction_errors,
)
from glf_minimal.evaluation.protocol import FEWEST, Protocol
from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures
from glf_minimal.flows import Flow
from glf_minimal.models.base import LatentModel, image_dtype, unwrapped
from glf_minimal.models.priors import FlowOnNoise, StandardNormal

NO_SQUEEZENET = "not run: needs SqueezeNet's ImageNet weights (glf evaluate RUN --squeezenet PATH)"
NO_INCEPTION = "not run: needs the Inception weights (glf evaluate RUN --fid)"


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Make draws from torch's global random state repeat, and leave that state as it was."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@contextmanager
def _train_mode(model: nn.Module) -> Iterator[None]:
    """Train mode while the block lasts; then eval mode, and statistics as they were before."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()
    try:
        yield
    finally:
        model.eval()
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])


def generate(model: LatentModel, protocol: Protocol) -> Iterator[Tensor]:
    """Draw ``protocol.samples`` images, prepared, in batches; the model's weights stay."""
    model = unwrapped(model).eval()
    generator = torch.Generator().manual_seed(protocol.seed)
    for start in range(0, protocol.samples, protocol.batch_size):
        # Batches are drawn whole, the last one too, so that in train mode all samples have equally
        # many companions.
        with _train_mode(model) if protocol.train_mode else nullcontext():
            images = model.sample(protocol.batch_size, protocol.temperature, generator)
        yield protocol.prepare(images[: protocol.samples - start])


def compare(real: Tensor, generated: Tensor, distance: str) -> dict[str, float]:
    """All measures on features (N, F) and (M, F).

    They are the Fréchet distance, called ``distance``, its standard error, KID, precision, recall,
    density and coverage.
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
    if isinstance(model.prior, FlowOnNoise):  # whose noise is not to be Gaussian
        return measures
    if isinstance(model.prior, Flow | StandardNormal):
        measures |= gaussianity(model.prior(z)[0] if isinstance(model.prior, Flow) else z)
    return measures


class ReferenceImages:
    """The real images of an evaluation, and what its networks make of them.

    Each network looks at them once, however often its features are asked for.

    Args:
        data: the images, rounded to 0 or 1 if the protocol says so.
        protocol: of the evaluation.
        model: to whose device and type the images go.
    """

    def __init__(self, data: ImageDataset, protocol: Protocol, model: LatentModel):
        self.data = data.binarized() if protocol.binarize else data
        self.batch_size = protocol.batch_size
        self.device = next(model.parameters()).device
        self.dtype = image_dtype(model)
        self._features: dict[nn.Module, Tensor] = {}

    def batches(self) -> Iterator[Tensor]:
        """The images, (B, C, H, W) in [0, 1]."""
        return self.batches_of(self.data, torch.arange(len(self.data)))

    def batches_of(self, data: ImageDataset, indices: Tensor) -> Iterator[Tensor]:
        """Some images of another set, in the same batches."""
        return (
            data.batch(index).to(self.device, self.dtype)
            for index in indices.split(self.batch_size)
        )

    def features(self, network: nn.Module) -> Tensor:
        """What a network makes of them, (N, F)."""
        if network not in self._features:
            if isinstance(network, FrozenFeatures):  # which keeps them for the next model, too
                found = network.of_reference(self.data.digest, self.batches(), self.device)
            else:
                found = extract(network, self.batches(), self.device)
            self._features[network] = found
        return self._features[network]


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
    reference: ImageDataset | ReferenceImages,
    protocol: Protocol,
    classifier: nn.Module,
) -> Iterator[dict[str, float]]:
    """FCD and reconstruction error of a model with one set of weights after the other.

    Yields {"fcd", "mse_per_image"} for each, computed as ``evaluate`` does. The model keeps the
    last weights.
    """
    model = unwrapped(model)
    if not isinstance(reference, ReferenceImages):
        reference = ReferenceImages(reference, protocol, model)
    device = reference.device
    for state in weights:
        model.load_state_dict(state)
        model.eval()
        with _seeded(protocol.seed):
            generated = extract(classifier, generate(model, protocol), device)
        with _seeded(protocol.seed):
            pairs = ((x, model.reconstruct(x)) for x in reference.batches())
            error = reconstruction_errors(pairs)["mse_per_image"]
        distance = frechet_from_features(reference.features(classifier), generated)
        yield {"fcd": distance, "mse_per_image": error}


@torch.no_grad()
def evaluate(
    model: LatentModel,
    reference: ImageDataset | Tensor | ReferenceImages,
    protocol: Protocol = Protocol(),
    inception: InceptionFeatures | None = None,
    classifier: nn.Module | None = None,
    real: ImageDataset | Tensor | None = None,
    squeezenet: SqueezeNetFeatures | None = None,
) -> dict[str, dict | str]:
    """Every metric of a model.

    Args:
        model: on the device to use; left in eval mode.
        reference: the real images to compare with (and to reconstruct), labels not needed: a data
            set, a tensor (N, C, H, W) as for ``fit``, or ``ReferenceImages`` that later calls use,
            too.
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
    model = unwrapped(model).eval()
    device = next(model.parameters()).device
    if not isinstance(reference, ReferenceImages):
        data = reference if isinstance(reference, ImageDataset) else ImageDataset(reference)
        reference = ReferenceImages(data, protocol, model)
    if real is not None:
        real = real if isinstance(real, ImageDataset) else ImageDataset(real)
        real = real.binarized() if protocol.binarize else real
    for data in filter(None, (reference.data, real)):
        if len(data) < FEWEST:
            raise MetricError(
                f"{data.name}: expected at least {FEWEST} images to compare, got {len(data)}"
            )

    def samples() -> Iterator[Tensor]:
        if real is None:
            return generate(model, protocol)
        shuffled = torch.randperm(len(real), generator=torch.Generator().manual_seed(protocol.seed))
        chosen = shuffled[: protocol.samples]  # the images may be sorted by class
        return reference.batches_of(real, chosen)

    def sample_features(network: nn.Module) -> Tensor:
        with _seeded(protocol.seed):
            return extract(network, samples(), device)

    measures: dict[str, dict | str] = {}
    try:
        if classifier is None:
            classifier, _ = load_classifier(reference.data.name)
        if isinstance(classifier, Classifier):
            classifier.require_shape(reference.data.image_shape)
    except MetricError as error:
        measures["classifier"] = f"not run: {error}"
    else:
        known, drawn = reference.features(classifier), sample_features(classifier)
        measures["classifier"] = compare(known, drawn, "fcd")
    measures["inception"] = NO_INCEPTION
    if inception is not None:
        known, drawn = reference.features(inception), sample_features(inception)
        measures["inception"] = compare(known, drawn, "fid")
    measures["squeezenet"] = NO_SQUEEZENET
    if squeezenet is not None:
        known, drawn = reference.features(squeezenet), sample_features(squeezenet)
        measures["squeezenet"] = {
            "fsd": frechet_from_features(known, drawn),
            "fsd_se": bootstrap_standard_error(known, drawn),
        }
    if real is None:
        reconstructions: list[Tensor] = []
        with _seeded(protocol.seed):
            pairs = _reconstruct(model, reference.batches(), protocol, reconstructions)
            measures["reconstruction"] = reconstruction_errors(pairs)
        for network, distance in ((classifier, "fcd"), (squeezenet, "fsd")):
            if network is not None:
                rebuilt = extract(network, reconstructions, device)
                found = frechet_from_features(reference.features(network), rebuilt)
                measures["reconstruction"][distance] = found
        with _seeded(protocol.seed):  # a VAE draws its latents
            measures["latents"] = latent_measures(model, reference.batches(), protocol)
    return measures
