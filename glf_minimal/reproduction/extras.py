"""Files that some figures need beside the record of a training."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from glf_minimal.data import ImageDataset
from glf_minimal.evaluation.classifier import load_classifier
from glf_minimal.evaluation.features import extract
from glf_minimal.evaluation.measure import generate
from glf_minimal.evaluation.protocol import Protocol
from glf_minimal.files import read_csv, write_csv
from glf_minimal.models import LatentModel
from glf_minimal.pictures import save_grid
from glf_minimal.recipes.run import FinishedRun, load_data, load_run
from glf_minimal.reproduction import plan
from glf_minimal.reproduction.small_edition import NOISE_SCALES

Run = str | Path | FinishedRun  # a finished run, or its folder


@torch.no_grad()
def write_latent_map(
    run: Run, path: Path, root: Path | None, device: str, images: int = 2000
) -> None:
    """Map the latents of a run's first test images to the plane, by t-SNE.

    The perplexity is 70, as in the report.

    Writes a CSV file with the columns x, y and label, one row per image.
    """
    from sklearn.manifold import TSNE

    model, config = load_run(run, device)
    data = load_data(config["data"], "test", root)
    batches = torch.arange(min(images, len(data))).split(500)
    z = torch.cat([model.encode(data.batch(batch).to(device)).cpu() for batch in batches])
    points = TSNE(perplexity=70, init="pca", random_state=0).fit_transform(z.double().numpy())
    labels = data.labels[: len(z)].tolist()
    rows = [
        {"x": f"{x:.2f}", "y": f"{y:.2f}", "label": k}
        for (x, y), k in zip(points, labels, strict=True)
    ]
    write_csv(path, rows)


def read_latent_maps(results: str | Path) -> dict[str, list[dict]]:
    """Read the latent maps that lie beside the first seeds of the FlowAE report's rows.

    Gives, by row, the points of its map, each with x, y and label; a row without a map is left out.
    """
    rows = [row.name for row in plan.FLOWAE_REPORT.rows["mnist"] if "map.csv" in row.extras]
    report = plan.FLOWAE_REPORT
    paths = {row: report.path(results, "mnist", row).extra("map.csv") for row in rows}
    return {row: read_csv(path) for row, path in paths.items() if path.exists()}


def silhouette(points: list[dict]) -> float:
    """How compact the classes are in a latent map, from -1 to 1 (Rousseeuw, 1987).

    For each point it compares the mean distance to its own class with that to the nearest other
    class. Larger is more compact.
    """
    from sklearn.metrics import silhouette_score

    positions = [[point["x"], point["y"]] for point in points]
    return float(silhouette_score(positions, [point["label"] for point in points]))


@torch.no_grad()
def write_interpolation(
    run: Run, path: Path, root: Path | None, device: str, rows: int = 6, steps: int = 8
) -> None:
    """Decode ``steps`` points on the way from one noise to another, through the inverse flow.

    Writes a PNG file with one row for each of ``rows`` pairs of noises. The way is
    cos(a) eps + sin(a) eps' for a from 0 to π/2, so every point on it has the distribution of the
    noise.
    """
    model, _ = load_run(run, device)
    start, end = torch.randn(
        2, rows, 1, model.latent_dim, generator=torch.Generator().manual_seed(0)
    )
    angle = torch.linspace(0, torch.pi / 2, steps)[:, None]
    noise = (angle.cos() * start + angle.sin() * end).flatten(0, 1)
    save_grid(model.decode(model.prior.inverse(noise.to(device))[0]), path, columns=steps)


TEMPERATURES = (0.5, 0.7, 0.85, 1.0, 1.15)


def _latents_at(
    model: LatentModel, scales: Sequence[float], columns: int, device: str
) -> tuple[list[Tensor], Tensor]:
    """What the inverse flow makes of the same noises (columns, D) at each scale; and the noises."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(columns, model.latent_dim, generator=generator).to(device)
    return [model.prior.inverse(scale * noise)[0] for scale in scales], noise


@torch.no_grad()
def write_same_noise(
    run: Run, path: Path, root: Path | None, device: str, columns: int = 12
) -> None:
    """Decode the same noises at each of ``TEMPERATURES`` and, last, without the flow.

    Writes a PNG file with one column per noise and one row per temperature; in the last row the
    noise itself is decoded.
    """
    model, _ = load_run(run, device)
    latents, noise = _latents_at(model, TEMPERATURES, columns, device)
    save_grid(torch.cat([model.decode(z) for z in [*latents, noise]]), path, columns)


@torch.no_grad()
def write_noise_scales(
    run: Run, path: Path, root: Path | None, device: str, columns: int = 10
) -> None:
    """Decode the same noises at each of ``NOISE_SCALES``.

    Writes a PNG file with one column per noise and one row per scale.
    """
    model, _ = load_run(run, device)
    latents, _ = _latents_at(model, NOISE_SCALES, columns, device)
    save_grid(model.decode(torch.cat(latents)), path, columns)


def _first_batches(data: ImageDataset, images: int, device: str) -> list[Tensor]:
    """The first so many images of a data set, in batches."""
    indices = torch.arange(min(images, len(data))).split(500)
    return [data.batch(batch).to(device) for batch in indices]


@torch.no_grad()
def write_feature_spread(
    run: Run, path: Path, root: Path | None, device: str, images: int = 5000
) -> None:
    """Compare how much classifier features vary: of samples, reconstructions and test images.

    Writes a CSV file with the total variance of the features over that of test images, for
    reconstructions of test images and for samples from noise at each of ``NOISE_SCALES``.
    """
    model, config = load_run(run, device)
    held_out = load_data(config["data"], "test", root)
    test = _first_batches(held_out, images, device)
    protocols = {scale: Protocol(samples=images, temperature=scale) for scale in NOISE_SCALES}
    looked_at = {"reconstructions": [model.reconstruct(x) for x in test]} | {
        f"samples, noise times {scale:g}": generate(model, protocol)
        for scale, protocol in protocols.items()
    }
    classifier, _ = load_classifier(held_out.name)

    def variance(batches: Iterable[Tensor]) -> float:
        return extract(classifier, batches, device).var(dim=0).sum().item()

    of_test = variance(test)
    rows = [
        {"images": kind, "variance": f"{variance(batches) / of_test:.4f}"}
        for kind, batches in looked_at.items()
    ]
    write_csv(path, rows)


@torch.no_grad()
def write_neighbours(
    run: Run, path: Path, root: Path | None, device: str, images: int = 1000, columns: int = 12
) -> None:
    """Look for copies of training images among the samples.

    Writes a CSV file with the distance from each image to its nearest training image: Euclidean, on
    the features of the data set's classifier. It has them for samples, for test images, which
    cannot be copies, and for reconstructions of test images, which are no sharper than samples.

    Writes a PNG file of four rows: the first samples, their nearest training images, the samples
    that are nearest to a training image, and those training images.
    """
    model, config = load_run(run, device)
    data, held_out = (load_data(config["data"], split, root) for split in ("train", "test"))
    test = _first_batches(held_out, images, device)
    samples = list(generate(model, Protocol(samples=images)))
    looked_at = {
        "sample": samples,
        "test": test,
        "reconstruction": [model.reconstruct(x) for x in test],
    }

    classifier, _ = load_classifier(held_out.name)
    batches_of_training = (data.batch(batch) for batch in torch.arange(len(data)).split(500))
    training = extract(classifier, batches_of_training, device)
    found = {
        kind: _nearest(extract(classifier, batches, device), training)
        for kind, batches in looked_at.items()
    }
    rows = [
        {"image": kind, "distance": f"{d:.3f}"}
        for kind, (distances, _) in found.items()
        for d in distances
    ]
    write_csv(path.with_suffix(".csv"), rows)

    distances, neighbours = found["sample"]
    pictures = []
    for chosen in (torch.arange(columns), distances.argsort()[:columns]):
        pictures += [torch.cat(samples)[chosen].cpu(), data.batch(neighbours[chosen])]
    save_grid(torch.cat(pictures), path, columns)


def _nearest(features: Tensor, training: Tensor) -> tuple[Tensor, Tensor]:
    """Find the nearest training features (M, F) of each of the features (N, F).

    Returns the distances (N,) and the indices (N,) into the training features.
    """
    parts = [torch.cdist(part, training).min(1) for part in features.split(100)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


# What writes each extra, by the end of its file's name. Arguments: the run, the path
# to write, where data is cached, the device.
EXTRAS: dict[str, Callable[[Run, Path, Path | None, str], None]] = {
    "map.csv": write_latent_map,
    "interpolation.png": write_interpolation,
    "neighbours.png": write_neighbours,
    "same-noise.png": write_same_noise,
    "noise-scales.png": write_noise_scales,
    "feature-spread.csv": write_feature_spread,
}
