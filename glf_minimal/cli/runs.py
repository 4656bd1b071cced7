"""The commands on a finished run: ``glf sample``, ``glf export`` and ``glf evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from glf_minimal.cli.options import (
    Device,
    InceptionWeights,
    MovedData,
    Results,
    Root,
    SqueezeNetWeights,
    Temperature,
    file_to_write,
    path_option,
    run_argument,
)
from glf_minimal.errors import RunError


def sample(
    run: Annotated[Path, run_argument("Folder of a finished run.")],
    out: Annotated[Path | None, path_option("PNG to write.", show_default="RUN/grid.png")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many images.")] = 64,
    temperature: Temperature = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the noise.")] = 0,
    plain_noise: Annotated[
        bool,
        typer.Option(
            help="Leave the flow out and decode the noise itself, to see what the flow does."
        ),
    ] = False,
    device: Device = "auto",
) -> None:
    """Draw images from a finished run into one PNG."""
    import torch

    from glf_minimal.models import LatentModel
    from glf_minimal.pictures import save_grid
    from glf_minimal.recipes.run import load_run
    from glf_minimal.training.settings import pick_device

    device = pick_device(device)
    model, _ = load_run(run, device)
    if not isinstance(model, LatentModel):
        raise RunError(
            f"{run} holds a classifier, which has no samples; give the folder of another run"
        )
    out = file_to_write(out or run / ("plain-noise.png" if plain_noise else "grid.png"), ".png")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        if plain_noise:
            noise = temperature * torch.randn(n, model.latent_dim, generator=generator)
            images = model.decode(noise.to(device))
        else:
            images = model.sample(n, temperature, generator)
    save_grid(images, out)
    typer.echo(out)


def export(
    run: Annotated[Path, run_argument("Folder of a finished run of a GLF.")],
    out: Annotated[
        Path | None, path_option("JavaScript file to write.", show_default="RUN/model.js")
    ] = None,
    data: MovedData = None,
    root: Root = None,
) -> None:
    """Write a run's flow and decoder to a file from which a page in the browser draws samples."""
    from glf_minimal.recipes.export import export_run

    out = file_to_write(out or run / "model.js", ".js")
    moved = export_run(run, out, root, data)
    typer.echo(
        f"{out}: {out.stat().st_size / 1000:.0f} kB; rounding moves a pixel in [0, 1] by at most "
        f"{moved:.1g}"
    )


def evaluate(
    run: Annotated[Path, run_argument("Folder of a finished run.")],
    samples: Annotated[int, typer.Option(min=5, help="How many images are generated.")] = 10_000,
    reference: Annotated[str, typer.Option(help="Split of real images to compare with.")] = "test",
    train_mode: Annotated[
        bool,
        typer.Option(
            "--train-mode", help="Sample with batch norm in train mode, as the authors' code does."
        ),
    ] = False,
    stretch: Annotated[
        bool,
        typer.Option("--stretch", help="Stretch each sample to [0, 1], as the authors' code does."),
    ] = False,
    uint8: Annotated[
        bool, typer.Option(help="Round samples to 256 levels, as saving them does.")
    ] = True,
    temperature: Temperature = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of every draw.")] = 0,
    batch_size: Annotated[int, typer.Option(min=2, help="Samples drawn at a time.")] = 500,
    real: Annotated[
        bool,
        typer.Option(
            "--real", help="Compare training images instead of samples: what a perfect model gets."
        ),
    ] = False,
    fid: Annotated[
        bool, typer.Option("--fid", help="FID, too: needs Inception's weights (96 MB) and time.")
    ] = False,
    inception: InceptionWeights = None,
    fsd: Annotated[
        bool, typer.Option("--fsd", help="FSD, too: needs SqueezeNet's weights in torch's cache.")
    ] = False,
    squeezenet: SqueezeNetWeights = None,
    record: Annotated[
        str | None,
        typer.Option(
            metavar="EXPERIMENT/ROW", help="Write a record with the run's samples and history."
        ),
    ] = None,
    results: Results = Path("data/results"),
    install: Annotated[
        bool,
        typer.Option(
            "--install", help="Of a classifier: make it the one behind the FCD of its data set."
        ),
    ] = False,
    data: MovedData = None,
    device: Device = "auto",
    root: Root = None,
) -> None:
    """Measure a finished run, and print its numbers and protocol; of a classifier, its accuracy."""
    from glf_minimal.evaluation.classifier import Classifier
    from glf_minimal.evaluation.features import InceptionFeatures
    from glf_minimal.evaluation.protocol import Protocol
    from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures
    from glf_minimal.recipes.judge import evaluate_classifier
    from glf_minimal.recipes.run import read_run
    from glf_minimal.reproduction.measuring import evaluate_run, table
    from glf_minimal.reproduction.records import write_record
    from glf_minimal.training.settings import pick_device

    experiment, _, row = (record or "").partition("/")
    if record is not None and not (experiment.strip(".") and row.strip(".") and "/" not in row):
        raise typer.BadParameter(f"expected EXPERIMENT/ROW, got {record!r}", param_hint="--record")
    device = pick_device(device)
    finished = read_run(run, device)
    if isinstance(finished.model, Classifier):
        if record is not None:
            raise typer.BadParameter(
                f"{run} holds a classifier; --install it instead", param_hint="--record"
            )
        facts = evaluate_classifier(finished, root, install, device, data)
        typer.echo(f"test accuracy {facts['accuracy']:.4f} on {facts['test_images']} images")
        return
    if install:
        raise typer.BadParameter(f"{run} does not hold a classifier", param_hint="--install")
    protocol = Protocol(
        samples=samples,
        reference=reference,
        train_mode=train_mode,
        stretch=stretch,
        uint8=uint8,
        temperature=temperature,
        seed=seed,
        batch_size=batch_size,
    )
    network = InceptionFeatures(weights=inception) if fid or inception is not None else None
    second = SqueezeNetFeatures(squeezenet) if fsd or squeezenet is not None else None
    outcome = evaluate_run(finished, protocol, root, device, network, real, second, data)
    typer.echo("\n".join(table(outcome)))
    if record is not None:
        typer.echo(f"record: {write_record(outcome, run, results, experiment, row)}")
