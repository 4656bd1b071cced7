"""What makes a flow better on the same latents? `python -m benchmarks.levers`.

The stop-gradient keeps every flow from the encoder. So one auto-encoder can teach many flows at
once, each with one thing changed, and all of them see the very same latents; the floor, which is
the distance of reconstructions of test images, is the same for all, too. After the training, GLF's
flow is also polished on the final latents, and mixtures of Gaussians are fitted to its noise. Each
way of drawing latents gets both judges, and what it cost in seconds of the processor.
"""

import copy
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor, nn

from benchmarks.compare import made_with
from benchmarks.levers_model import QUEUE, VARIANTS, SideBySide, side_by_side
from benchmarks.quality import RESULTS, Scorer, squeezenet
from benchmarks.quality_ours import train_config
from benchmarks.quality_points import Protocol, Stopwatch, as_bytes, whole_numbers
from glf_minimal.data import ImageDataset, load_dataset
from glf_minimal.files import write_json
from glf_minimal.flows import Flow
from glf_minimal.models import GLF, LatentModel
from glf_minimal.models.priors import FlowOnNoise, GaussianMixture
from glf_minimal.models.two_stage import flow_stage
from glf_minimal.provenance import made_on
from glf_minimal.training.batches import for_all_images
from glf_minimal.training.loop import fit

POLISH = (1, 2, 5, 10)  # epochs
COMPONENTS = (10, 20, 50)
TIMED_UPDATES = 30
DIGITS = {"fcd": 2, "fsd": 0}  # that a table shows of each judge


def seconds_per_epoch(model: SideBySide, name: str, protocol: Protocol, images: int) -> float:
    """CPU seconds that the updates of a flow take in an epoch, timed on noise."""
    flow = copy.deepcopy(getattr(model, name)).train()
    updates = 2 if name == "repeated" else 1
    batch = protocol.batch_size * (QUEUE if name == "queued" else 1)
    z = torch.randn(batch, flow.dim)
    adam = torch.optim.Adam(flow.parameters(), fused=True)
    watch = Stopwatch()
    for step in range(TIMED_UPDATES + 3):
        if step == 3:  # the first steps are slower
            watch = Stopwatch()
        with watch:
            adam.zero_grad(set_to_none=True)
            (-flow.log_prob(z).mean()).backward()
            adam.step()
    return watch.cpu_seconds / TIMED_UPDATES * updates * (images // protocol.batch_size)


class Measured:
    """Draws from a prior, asks both judges, and keeps the rows."""

    def __init__(self, model: LatentModel, scorer: Scorer, protocol: Protocol, real: ImageDataset):
        self.model, self.scorer, self.protocol = model, scorer, protocol
        self.rows: list[dict] = []
        self.floor = self._scores(for_all_images(model, model.reconstruct, real))

    def _scores(self, images: Tensor) -> dict[str, float]:
        return self.scorer(as_bytes(images))

    @torch.no_grad()
    def add(self, title: str, prior: nn.Module, **seconds: float) -> None:
        """Score a way of drawing latents. ``seconds`` says what it cost: "epoch", in each epoch of
        the training, or "after", once after it.
        """
        generator = torch.Generator().manual_seed(self.protocol.seed)
        prior.eval()
        images = [
            self.model.decode(prior.sample(min(500, self.protocol.samples), generator=generator))
            for _ in range(-(-self.protocol.samples // 500))
        ]
        self.rows.append({"lever": title, "seconds": seconds} | self._scores(torch.cat(images)))
        typer.echo(
            f"{title}: "
            + ", ".join(f"{n} {v:.3g}" for n, v in self.rows[-1].items() if n in ("fcd", "fsd"))
        )


def polished(
    model: SideBySide, data: ImageDataset, protocol: Protocol, epochs: int
) -> tuple[Flow, float]:
    """GLF's flow after some more epochs on the final latents, and the CPU seconds of these."""
    other = GLF(
        model.encoder, model.decoder, copy.deepcopy(model.flow), flow_adam=model.adam["flow"]
    )
    other.stages = (flow_stage("polish", model.adam["flow"], 1.0),)
    with (watch := Stopwatch()):
        fit(other, data, train_config(protocol, epochs, schedule="cosine"))
    return other.flow, watch.cpu_seconds


def on_mixture(flow: Flow, noise: Tensor, components: int) -> tuple[Flow, float]:
    """The flow with a mixture fitted to noise (N, D), and the CPU seconds of the fit."""
    mixture = GaussianMixture(flow.dim, components)
    with (watch := Stopwatch()):
        mixture.fit(noise)
    return FlowOnNoise(list(flow.layers), mixture), watch.cpu_seconds


def run(
    protocol: Protocol,
    epochs: int,
    scorer: Scorer,
    test: ImageDataset,
    polish: tuple[int, ...] = POLISH,
) -> dict:
    """Train for ``epochs`` and measure every lever: the content of the results.

    ``polish`` are the epochs in which GLF's flow trains on alone.
    """
    data = protocol.data()
    model = side_by_side(protocol, data.image_shape)
    costs = {name: seconds_per_epoch(model, name, protocol, len(data)) for name in VARIANTS}
    with (joint := Stopwatch()):
        fit(model, data, train_config(protocol, epochs))
    measured = Measured(model, scorer, protocol, test)
    for name, title in VARIANTS.items():
        measured.add(title, getattr(model, name), epoch=costs[name])
    latents = for_all_images(model, model.encode, data)
    flows = {"": (model.flow.eval(), 0.0)}
    for count in polish:
        title = f"polished for {count} epoch{'s' * (count > 1)}"
        flows[title] = polished(model, data, protocol, count)
    for title, (flow, seconds) in flows.items():
        if title:
            measured.add(title, flow, after=seconds)
        with torch.no_grad():
            noise = torch.cat([flow(part)[0] for part in latents.split(5000)])
        for components in (20,) if title else COMPONENTS:
            prior, fitting = on_mixture(flow, noise, components)
            name = f"{title}, mixture of {components} as noise".removeprefix(", ")
            measured.add(name, prior, after=seconds + fitting)
    prior = GaussianMixture(model.flow.dim, 50)
    with (watch := Stopwatch()):
        prior.fit(latents)
    measured.add("no flow: mixture of 50 on the latents", prior, after=watch.cpu_seconds)
    return {
        "epochs": epochs,
        "images": len(data),
        "recipe": protocol.recipe,
        "seed": protocol.seed,
        "samples": protocol.samples,
        "floor": measured.floor,
        "levers": measured.rows,
        "all_flows_cpu_seconds": joint.cpu_seconds,
        "scorer": scorer.facts,
        "made_with": made_on(torch.device("cpu")),
    }


def table(results: dict) -> str:
    """What each lever costs and leaves above the floor, as Markdown."""
    judges = {name: n for name, n in DIGITS.items() if name in results["floor"]}
    heads = ["", "CPU s", *(f"{name.upper()} above the floor" for name in judges)]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for row in results["levers"]:
        ((when, seconds),) = row["seconds"].items()
        cost = f"{seconds:.1f} per epoch" if when == "epoch" else f"{seconds:.1f} once"
        gaps = (
            f"{row[name] - results['floor'][name]:.{n}f} ± {row[f'{name}_se']:.{n}f}"
            for name, n in judges.items()
        )
        lines.append([row["lever"], cost, *gaps])
    floors = " and ".join(
        f"{name.upper()} {results['floor'][name]:.{n}f}" for name, n in judges.items()
    )
    images = f" of {results['images']:,} images" if "images" in results else ""
    below = (
        f"{results['epochs']} epochs{images}, seed {results['seed']}. The floor, reconstructions "
        f"of test images, is at {floors}. ± is the standard error over draws of the samples. "
        f"{made_with(results)}"
    )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{below}\n"


def main(
    data: Annotated[str, typer.Option(help="mnist or fashion-mnist.")] = "mnist",
    epochs: Annotated[int, typer.Option(help="Of the auto-encoder and all flows.")] = 5,
    samples: Annotated[int, typer.Option(help="Images drawn for each lever.")] = 10_000,
    limit: Annotated[int | None, typer.Option(help="Fewer training images.")] = None,
    polish: Annotated[
        str, typer.Option(help="Epochs in which the flow trains on alone.")
    ] = ",".join(map(str, POLISH)),
    out: Annotated[
        Path | None,
        typer.Option(
            help="The results.", show_default="benchmarks/results/levers-DATA[-LIMIT].json"
        ),
    ] = None,
) -> None:
    """What makes a flow better on the same latents?"""
    if data not in ("mnist", "fashion-mnist"):
        raise typer.BadParameter(f"data is mnist or fashion-mnist; got {data}")
    lengths = whole_numbers(polish)
    torch.set_num_threads(1)
    protocol = Protocol(recipe=f"glf-small-{data}", samples=samples, limit=limit)
    judges, test = Scorer(data, squeezenet()), load_dataset(data, "test")
    results = run(protocol, epochs, judges, test, lengths)
    name = f"levers-{data}" + (f"-{limit}" if limit else "")
    write_json(out or RESULTS / f"{name}.json", results)
    typer.echo(table(results))


if __name__ == "__main__":
    typer.run(main)
