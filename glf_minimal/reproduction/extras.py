"""What figures need of a training beyond its record: a map of latents, pictures between two noises."""

from collections.abc import Callable
from pathlib import Path

import torch

from glf_minimal.experiments import load_data, load_run
from glf_minimal.plotting import save_grid
from glf_minimal.storage import write_csv


@torch.no_grad()
def write_latent_map(folder: Path, path: Path, root: Path | None, device: str, images: int = 2000) -> None:
    """Lay the latents of the first test images of a run out on the plane by t-SNE (perplexity 70, as in the report).

    Writes a CSV with the columns x, y and label.
    """
    from sklearn.manifold import TSNE

    model, config = load_run(folder, device)
    data = load_data(config["data"], "test", root)
    batches = torch.arange(min(images, len(data))).split(500)
    z = torch.cat([model.encode(data.batch(batch).to(device)).cpu() for batch in batches])
    points = TSNE(perplexity=70, init="pca", random_state=0).fit_transform(z.double().numpy())
    labels = data.labels[: len(z)].tolist()
    rows = [{"x": f"{x:.2f}", "y": f"{y:.2f}", "label": k} for (x, y), k in zip(points, labels, strict=True)]
    write_csv(path, rows)


@torch.no_grad()
def write_interpolation(
    folder: Path, path: Path, root: Path | None, device: str, rows: int = 6, steps: int = 8
) -> None:
    """Decode what lies between two noises, through the inverse flow: a PNG, a row for each of ``rows`` pairs.

    The way is cos(a) eps + sin(a) eps' for angles a from 0 to a right one: noise of the same distribution all along.
    """
    model, _ = load_run(folder, device)
    start, end = torch.randn(2, rows, 1, model.latent_dim, generator=torch.Generator().manual_seed(0))
    angle = torch.linspace(0, torch.pi / 2, steps)[:, None]
    noise = (angle.cos() * start + angle.sin() * end).flatten(0, 1)
    save_grid(model.decode(model.prior.inverse(noise.to(device))[0]), path, columns=steps)


# By the end of the file's name: (folder of the run, path to write, where data is cached, device).
EXTRAS: dict[str, Callable[[Path, Path, Path | None, str], None]] = {
    "map.csv": write_latent_map,
    "interpolation.png": write_interpolation,
}
