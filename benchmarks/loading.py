"""One epoch of batches: this module's data set against torchvision's MNIST behind torch's
DataLoader.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.compare import Contender

BATCH = 256


def ours(data: str, device: str) -> Callable[[], None]:
    """As in ``fit``: the images lie in memory as bytes and a batch is one indexing."""
    from glf_minimal import load_dataset

    dataset = load_dataset(data).to(device)

    def work() -> None:
        order = torch.randperm(len(dataset)).to(device)
        for start in range(0, len(dataset) - BATCH + 1, BATCH):
            dataset.batch(order[start : start + BATCH])

    work.facts = {"images": len(dataset) // BATCH * BATCH}
    return work


def data_loader(data: str, device: str, workers: int = 0) -> Callable[[], None]:
    """As in most examples: ToTensor on every picture, batches collated, ``workers`` processes that
    stay alive.
    """
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    folder = _mnist_files(data)
    dataset = datasets.MNIST(folder, train=True, transform=transforms.ToTensor())
    more = {
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "pin_memory": device == "cuda",
    }
    loader = DataLoader(dataset, BATCH, shuffle=True, drop_last=True, **more)

    def work() -> None:
        for images, _labels in loader:
            images.to(device, non_blocking=True)

    work.facts = {"images": len(loader) * BATCH}
    return work


def _mnist_files(data: str) -> Path:
    """The same images as MNIST's own files, where torchvision looks; deleted at the end."""
    from glf_minimal import load_dataset

    dataset = load_dataset(data)
    root = Path(tempfile.mkdtemp(prefix="mnist-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images, labels = dataset.pixels.cpu().numpy(), dataset.labels.cpu().numpy()
    for prefix in ("train", "t10k"):
        for name, array in {
            "images-idx3": images.reshape(len(images), 28, 28),
            "labels-idx1": labels,
        }.items():
            header = np.array([0x0800 + array.ndim, *array.shape], dtype=">i4").tobytes()
            (raw / f"{prefix}-{name}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())
    return root


def contenders(data: str) -> list[Contender]:
    loader = "benchmarks.loading:data_loader"
    others = [
        Contender(f"DataLoader, {n} workers", loader, {"data": data, "workers": n})
        for n in (0, 2, 4)
    ]
    return [Contender("glf_minimal", "benchmarks.loading:ours", {"data": data}), *others]
