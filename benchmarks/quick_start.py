"""What the quick start gains by a mixture as noise: `python -m benchmarks.quick_start`.

Its recipe trains GLF on 4,500 digits. Here each of several seeds is judged twice, as it is and with
a mixture fitted to its noise. The judge is the Fréchet classifier distance of 10,000 samples to
MNIST's 10,000 test digits.
"""

from statistics import fmean, stdev
from typing import Annotated

import torch
import typer

from benchmarks.compare import RESULTS, made_with
from benchmarks.quality import Scorer
from benchmarks.quality_points import Stopwatch, as_bytes
from glf_minimal.data import ImageDataset, load_dataset
from glf_minimal.evaluation import Protocol, generate
from glf_minimal.files import write_json
from glf_minimal.models import LatentModel, MixtureGLF
from glf_minimal.provenance import made_on
from glf_minimal.recipes.build import build_model
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.training.batches import fit_latents
from glf_minimal.training.loop import fit
from glf_minimal.training.settings import TrainConfig

COMPONENTS = 20
SAMPLES = 10_000


def trained(data: ImageDataset, seed: int, epochs: int) -> LatentModel:
    """The recipe's model after ``epochs``."""
    settings = get_recipe("quickstart").settings()
    model = build_model(settings, data.image_shape, seed)
    own = settings["train"] | {"epochs": epochs, "seed": seed, "device": "cpu", "progress": False}
    fit(model, data, TrainConfig(**own))
    return model


def run(
    seeds: int, data: ImageDataset, scorer: Scorer, epochs: int, samples: int = SAMPLES
) -> dict:
    """Train with every seed, judge without and with a mixture: the content of the results."""
    rows: dict[str, list[dict]] = {}

    @torch.no_grad()
    def add(title: str, model: LatentModel, seed: int, watch: Stopwatch) -> None:
        images = torch.cat(list(generate(model, Protocol(samples=samples, seed=seed))))
        scores = scorer(as_bytes(images))
        rows.setdefault(title, []).append({"cpu_seconds": watch.cpu_seconds} | scores)
        typer.echo(f"{title}, seed {seed}: FCD {scores['fcd']:.2f}, {watch.cpu_seconds:.0f} s")

    for seed in range(seeds):
        with (watch := Stopwatch()):
            model = trained(data, seed, epochs)
        add("GLF (the recipe)", model, seed, watch)
        with watch:
            mixed = MixtureGLF(model.encoder, model.decoder, model.flow, components=COMPONENTS)
            fit_latents(mixed, data)
        add(f"GLF, noise from a mixture of {COMPONENTS}", mixed, seed, watch)
    return {"rows": rows, "scorer": scorer.facts, "made_with": made_on(torch.device("cpu"))}


def table(results: dict) -> str:
    """What each way costs and how near its samples are, over the seeds, as Markdown."""
    lines = ["| | CPU s | FCD |", "| --- | ---: | ---: |"]
    for title, seeds in results["rows"].items():
        distances = [seed["fcd"] for seed in seeds]
        spread = f" ± {stdev(distances):.2f}" if len(seeds) > 1 else ""
        seconds = fmean(seed["cpu_seconds"] for seed in seeds)
        lines.append(f"| {title} | {seconds:.0f} | {fmean(distances):.2f}{spread} |")
    count = len(next(iter(results["rows"].values())))
    below = f"Means over {count} seeds, ± their standard deviation. {made_with(results)}"
    return "\n".join(lines) + f"\n\n{below}\n"


def main(seeds: Annotated[int, typer.Option(help="How many.")] = 3) -> None:
    """What does the quick start gain by a mixture as noise?"""
    torch.set_num_threads(1)
    data = load_dataset("mnist-5k", "train")
    epochs = get_recipe("quickstart").train["epochs"]
    results = run(seeds, data, Scorer("mnist"), epochs)
    write_json(RESULTS / "quick_start.json", results)
    typer.echo(table(results))


if __name__ == "__main__":
    typer.run(main)
