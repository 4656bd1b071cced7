"""10,000 samples generated and scored by FCD: batch by batch, all at once, and through picture
files.

The model is GLF in the paper's networks; its weights do not matter to the time. The features are
those of the MNIST classifier, and the reference is its 5,000 packaged digits.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.compare import Contender


def _model_and_reference(device: str):
    from glf_minimal import load_dataset
    from glf_minimal.evaluation.classifier import load_classifier
    from glf_minimal.recipes.build import build_model
    from glf_minimal.recipes.catalogue import get_recipe

    model = build_model(get_recipe("glf-mnist").settings(), (1, 28, 28)).to(device).eval()
    return model, load_dataset("mnist-5k"), load_classifier("mnist")[0].to(device)


def score(way: str, device: str, samples: int = 10_000) -> Callable[[], None]:
    """FCD of ``samples`` images, the reference's features included. ``way``: "streamed", "at once"
    or "files".
    """
    from glf_minimal.evaluation.features import extract, folder_batches
    from glf_minimal.evaluation.frechet import frechet_from_features
    from glf_minimal.evaluation.measure import generate
    from glf_minimal.evaluation.protocol import Protocol

    model, reference, classifier = _model_and_reference(device)

    def through_files():
        from torchvision.utils import save_image

        folder = Path(tempfile.mkdtemp(prefix="samples-"))
        try:
            for start, batch in enumerate(generate(model, Protocol(samples=samples))):
                for i, image in enumerate(batch):
                    save_image(image, folder / f"{start}-{i}.png")
            yield from (batch[:, :1] for batch in folder_batches(folder, batch_size=500))
        finally:
            shutil.rmtree(folder)

    @torch.no_grad()
    def work() -> None:
        ways = {
            "streamed": lambda: generate(model, Protocol(samples=samples)),
            "at once": lambda: generate(model, Protocol(samples=samples, batch_size=samples)),
            "files": through_files,
        }
        size = samples if way == "at once" else 500
        real = extract(classifier, reference.batch(slice(None)).split(size), device)
        frechet_from_features(real, extract(classifier, ways[way](), device))

    work.facts = {"samples": samples}
    return work


def everything(device: str, samples: int = 10_000) -> Callable[[], None]:
    """All that ``glf evaluate`` computes without Inception."""
    from glf_minimal.evaluation.measure import evaluate
    from glf_minimal.evaluation.protocol import Protocol

    model, reference, classifier = _model_and_reference(device)

    def work() -> None:
        evaluate(model, reference, Protocol(samples=samples), classifier=classifier)

    work.facts = {"samples": samples}
    return work


def contenders(samples: int) -> list[Contender]:
    names = {"streamed": "batch by batch", "at once": "all at once", "files": "through PNG files"}
    function, count = "benchmarks.scoring:score", {"samples": samples}
    found = [
        Contender(f"FCD, {what}", function, {"way": way, **count}) for way, what in names.items()
    ]
    return [
        *found,
        Contender("every measure, batch by batch", "benchmarks.scoring:everything", count),
    ]
