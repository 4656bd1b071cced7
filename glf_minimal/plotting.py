"""Pictures: image grids, training curves, maps of latents. Knows tensors and histories, no models."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glf_minimal.storage import atomic


def image_grid(images: Tensor, columns: int | None = None, padding: int = 2) -> Tensor:
    """Tile images (N, C, H, W) in [0, 1] into one picture (C or 3, H', W').

    ``columns`` defaults to a grid as square as N allows.
    """
    from torchvision.utils import make_grid

    if images.ndim != 4 or not len(images):
        raise ValueError(f"images: expected shape (N, C, H, W) with N > 0, got {tuple(images.shape)}")
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    return make_grid(images.detach().float().cpu().clamp(0, 1), nrow=columns, padding=padding, pad_value=0.5)


def save_grid(images: Tensor, path: str | Path, columns: int | None = None, scale: int = 2) -> None:
    """Write a grid of images as a PNG, each pixel drawn as ``scale`` x ``scale``."""
    from PIL import Image

    path = Path(path)
    grid = image_grid(images, columns).mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(grid)
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    with atomic(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


def show_grids(grids: dict[str, Tensor], columns: int | None = None, size: float = 4.0):
    """Draw several batches of images side by side, each under its title; returns the figure."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(grids), figsize=(size * len(grids), size + 0.4), squeeze=False, layout="tight")
    for axis, (title, images) in zip(axes[0], grids.items(), strict=True):
        axis.imshow(image_grid(images, columns).permute(1, 2, 0).numpy())
        axis.set_title(title)
        axis.set_axis_off()
    return figure


def loss_terms(history: list[dict]) -> list[str]:
    """The names of the loss terms in a history, in the order in which they first appear."""
    bookkeeping = {"stage", "epoch", "step", "lr", "seconds"}
    return list(dict.fromkeys(key for row in history for key in row if key not in bookkeeping))


def training_curves(history: list[dict], terms: list[str] | None = None):
    """Plot loss terms (nats per image) over epochs, one panel each; returns the figure.

    ``terms`` defaults to every loss term in the history.
    """
    import matplotlib.pyplot as plt

    if not history:
        raise ValueError("history: expected at least one epoch, got none")
    terms = terms or loss_terms(history)
    figure, axes = plt.subplots(1, len(terms), figsize=(3.6 * len(terms), 2.8), squeeze=False, layout="tight")
    for axis, term in zip(axes[0], terms, strict=True):
        rows = [row for row in history if row.get(term) is not None]
        axis.plot([row["epoch"] for row in rows], [row[term] for row in rows])
        axis.set(title=term, xlabel="epoch", ylabel="nats per image")
    return figure


def latent_map(vectors: dict[str, Tensor], labels: dict[str, Tensor] | None = None):
    """Scatter sets of vectors (N, 2) side by side on the same axes, each under its title; returns the figure.

    ``labels`` gives classes (N,) by title, to colour the points of that panel.
    """
    import matplotlib.pyplot as plt

    size = (3.6 * len(vectors), 3.9)
    figure, axes = plt.subplots(1, len(vectors), figsize=size, squeeze=False, layout="tight", sharex=True, sharey=True)
    for axis, (title, points) in zip(axes[0], vectors.items(), strict=True):
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"{title}: expected points of shape (N, 2), got {tuple(points.shape)}")
        colours = {"c": labels[title].cpu(), "cmap": "tab10"} if labels and title in labels else {"c": "0.3"}
        axis.scatter(*points.detach().cpu().T, s=3, linewidths=0, **colours)
        axis.set(title=title, aspect="equal")
    return figure
