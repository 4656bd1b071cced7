"""What figures need of a training beyond its record: maps of latents, pictures of chosen noises,
nearest neighbours.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from glf_minimal.evaluation.classifier import load_classifier
from glf_minimal.evaluation.evaluate import Protocol, generate
from glf_minimal.evaluation.features import extract
from glf_minimal.files import read_csv, write_csv
from glf_minimal.pictures import save_grid
from glf_minimal.recipes.run import load_data, load_run
from glf_minimal.reproduction import plan


@torch.no_grad()
def write_latent_map(
    folder: Path, path: Path, root: Path | None, device: str, images: int = 2000
) -> None:
    """Lay the latents of the first test images of a run out on the plane by t-SNE (perplexity 70,
    as in the report).

    Writes a CSV with the columns x, y and label.
    """
    from sklearn.manifold import TSNE

    model, config = load_run(folder, device)
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
    """The latent maps of the FlowAE report's models, each of the first seed: by row, the points
    with x, y and label.

    A row without a map is left out.
    """
    folder = Path(results) / plan.FLOWAE_REPORT.folder / "mnist"
    rows = [row.name for row in plan.FLOWAE_REPORT.rows["mnist"] if "map.csv" in row.extras]
    paths = {row: folder / row / "seed-0-map.csv" for row in rows}
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
    folder: Path, path: Path, root: Path | None, device: str, rows: int = 6, steps: int = 8
) -> None:
    """Decode what lies between two noises, through the inverse flow: a PNG, a row for each of
    ``rows`` pairs.

    The way is cos(a) eps + sin(a) eps' for angles a from 0 to a right one: noise of the same
    distribution all along.
    """
    model, _ = load_run(folder, device)
    start, end = torch.randn(
        2, rows, 1, model.latent_dim, generator=torch.Generator().manual_seed(0)
    )
    angle = torch.linspace(0, torch.pi / 2, steps)[:, None]
    noise = (angle.cos() * start + angle.sin() * end).flatten(0, 1)
    save_grid(model.decode(model.prior.inverse(noise.to(device))[0]), path, columns=steps)


TEMPERATURES = (0.5, 0.7, 0.85, 1.0, 1.15)


@torch.no_grad()
def write_same_noise(
    folder: Path, path: Path, root: Path | None, device: str, columns: int = 12
) -> None:
    """Decode the same noises, a column each, at ``TEMPERATURES`` and, in the last row, without the
    flow: a PNG.
    """
    model, _ = load_run(folder, device)
    noise = torch.randn(columns, model.latent_dim, generator=torch.Generator().manual_seed(0)).to(
        device
    )
    latents = [model.prior.inverse(temperature * noise)[0] for temperature in TEMPERATURES]
    save_grid(torch.cat([model.decode(z) for z in [*latents, noise]]), path, columns)


@torch.no_grad()
def write_neighbours(
    folder: Path, path: Path, root: Path | None, device: str, images: int = 1000, columns: int = 12
) -> None:
    """Look for training images in the samples: distances in a CSV, pictures in a PNG of four rows.

    Distances are Euclidean, on the features of the data set's classifier, from each image to the
    nearest training image; the CSV has them for samples, for test images, which nobody has copied,
    and for reconstructions of those, which are no sharper than samples. The PNG shows the first
    samples above their nearest training images, and below these the samples that are nearest to
    theirs.
    """
    model, config = load_run(folder, device)
    data, held_out = (load_data(config["data"], split, root) for split in ("train", "test"))
    places = torch.arange(min(images, len(held_out))).split(500)
    test = [held_out.batch(batch).to(device) for batch in places]
    samples = list(generate(model, Protocol(samples=images)))
    looked_at = {
        "sample": samples,
        "test": test,
        "reconstruction": [model.reconstruct(x) for x in test],
    }

    classifier, _ = load_classifier(held_out.name)
    known = extract(
        classifier, (data.batch(batch) for batch in torch.arange(len(data)).split(500)), device
    )
    found = {
        kind: _nearest(extract(classifier, batches, device), known)
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


def _nearest(features: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (N,) from each of (N, F) to the nearest of (M, F), and its place there."""
    parts = [torch.cdist(part, known).min(1) for part in features.split(100)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


# By the end of the file's name: (folder of the run, path to write, where data is cached, device).
EXTRAS: dict[str, Callable[[Path, Path, Path | None, str], None]] = {
    "map.csv": write_latent_map,
    "interpolation.png": write_interpolation,
    "neighbours.png": write_neighbours,
    "same-noise.png": write_same_noise,
}
