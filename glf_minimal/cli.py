"""The command line: ``glf`` and recipes, train, sample, export, evaluate, reproduce or report.

torch takes a second to import, so each command imports what it needs when it runs.
"""

import json
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glf_minimal.errors import GLFError, MetricError, RunError

if TYPE_CHECKING:
    from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train Generative Latent Flows, sample from them, and measure them.",
)


def _expanded(path: str) -> Path:
    from glf_minimal.files import user_path

    return user_path(path)


def _path_option(text: str, **settings: str) -> object:
    """An option that takes a path, in which "~" is the user's own folder."""
    return typer.Option(help=text, metavar="PATH", parser=_expanded, **settings)


def _run_argument(text: str) -> object:
    """The argument RUN: a path, in which "~" is the user's own folder."""
    return typer.Argument(help=text, metavar="RUN", parser=_expanded)


@app.command()
def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A recipe, to see all of its settings; or a part of names, to list those.",
        ),
    ] = None,
) -> None:
    """List the recipes that 'glf train' knows, or show the settings of one."""
    from glf_minimal.recipes.catalogue import RECIPES, get_recipe

    chosen = {other: recipe for other, recipe in RECIPES.items() if name is None or name in other}
    if name in RECIPES or not chosen:
        for group, settings in get_recipe(name).settings().items():
            for key, value in settings.items():
                typer.echo(f"{group}.{key}={json.dumps(value)}")
        return
    width = max(map(len, chosen))
    for recipe in chosen.values():
        typer.echo(f"{recipe.name:{width}}  {recipe.summary}  [{recipe.source}]")


def _parse_settings(assignments: list[str]) -> dict[str, object]:
    """["model.beta=2", "train.schedule=cosine"] -> {"model.beta": 2, "train.schedule": "cosine"}.

    Values are read as JSON, or as text where they are not JSON.
    """
    settings = {}
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        if not sign:
            raise typer.BadParameter(f"expected NAME=VALUE, got {assignment!r}", param_hint="--set")
        try:
            settings[name] = json.loads(text)
        except (ValueError, RecursionError):  # the former also of a number of too many digits
            settings[name] = text
    return settings


@app.command()
def train(
    recipe: Annotated[str, typer.Option(help="Name of a recipe; 'glf recipes' lists them.")],
    out: Annotated[
        Path | None, _path_option("Folder of the run.", show_default="runs/RECIPE")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Data set, or folder:PATH for your own pictures.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Crop and scale the pictures of a folder to this.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, batches and noise.")] = None,
    start: Annotated[
        Path | None,
        _path_option("Begin with the weights of this run: its folder, or a file of them in it."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:0, …")] = None,
    root: Annotated[
        Path | None,
        _path_option("Where data is cached.", show_default="$GLF_DATA or data/cache"),
    ] = None,
    auto_encoder: Annotated[
        Path | None,
        _path_option("Take the auto-encoder of this finished run as it is, and train the rest."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any setting that 'glf recipes NAME' shows."
        ),
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Train a recipe, or go on with it where it was stopped."""
    from glf_minimal.history import loss_terms
    from glf_minimal.recipes.catalogue import get_recipe
    from glf_minimal.recipes.run import train_recipe
    from glf_minimal.training.folder import SAMPLES, checkpoint_epoch

    named = {
        "train.epochs": epochs,
        "data.name": data,
        "data.image_size": image_size,
        "train.seed": seed,
        "train.device": device,
        "train.progress": progress,
    }
    changes = {name: value for name, value in named.items() if value is not None}
    chosen = get_recipe(recipe).with_settings(changes | _parse_settings(settings or []))
    out = out or Path("runs") / recipe
    try:
        history = train_recipe(chosen, out, root, auto_encoder, start)
    except KeyboardInterrupt:
        epoch = checkpoint_epoch(out) if out.is_dir() else 0
        kept = f"{out} keeps the checkpoint of epoch {epoch}. The same command goes on from there."
        typer.echo(
            f"\nstopped; {kept if epoch else 'there was no checkpoint yet, nothing is kept.'}",
            err=True,
        )
        raise typer.Exit(130) from None
    terms = ", ".join(f"{name} {history[-1][name]:.2f}" for name in loss_terms(history[-1:]))
    typer.echo(
        f"{recipe}: {len(history)} epochs, {sum(row['seconds'] for row in history):.0f} s; {terms}"
    )
    if (out / SAMPLES).exists():
        typer.echo(f"samples: {out / SAMPLES}")


def _second_judge(weights: Path | None) -> "SqueezeNetFeatures | None":
    """SqueezeNet with these weights, or with those in torch's cache; None, and a word, without."""
    from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures

    try:
        return SqueezeNetFeatures(weights)
    except MetricError as error:
        typer.echo(f"glf: no distances on SqueezeNet's features: {error}", err=True)
        return None


def _file_to_write(out: Path, suffix: str) -> Path:
    if out.suffix.lower() != suffix or out.is_dir() or not out.parent.is_dir():
        raise typer.BadParameter(
            f"{out} is not the path of a {suffix} file in an existing folder", param_hint="--out"
        )
    return out


@app.command()
def sample(
    run: Annotated[Path, _run_argument("Folder of a finished run.")],
    out: Annotated[Path | None, _path_option("PNG to write.", show_default="RUN/grid.png")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many images.")] = 64,
    temperature: Annotated[float, typer.Option(min=0.0, help="Scale of the noise.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the noise.")] = 0,
    plain_noise: Annotated[
        bool,
        typer.Option(
            help="Leave the flow out and decode the noise itself, to see what the flow does."
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0, …")] = "auto",
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
    out = _file_to_write(out or run / ("plain-noise.png" if plain_noise else "grid.png"), ".png")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        if plain_noise:
            noise = temperature * torch.randn(n, model.latent_dim, generator=generator)
            images = model.decode(noise.to(device))
        else:
            images = model.sample(n, temperature, generator)
    save_grid(images, out)
    typer.echo(out)


@app.command()
def export(
    run: Annotated[Path, _run_argument("Folder of a finished run of a GLF.")],
    out: Annotated[
        Path | None, _path_option("JavaScript file to write.", show_default="RUN/model.js")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Where the run's data lies now, if it was moved: folder:PATH."),
    ] = None,
    root: Annotated[
        Path | None,
        _path_option("Where data is cached.", show_default="$GLF_DATA or data/cache"),
    ] = None,
) -> None:
    """Write a run's flow and decoder to a file from which a page in the browser draws samples."""
    from glf_minimal.recipes.export import export_run

    out = _file_to_write(out or run / "model.js", ".js")
    moved = export_run(run, out, root, data)
    typer.echo(
        f"{out}: {out.stat().st_size / 1000:.0f} kB; rounding moves a pixel in [0, 1] by at most "
        f"{moved:.1g}"
    )


@app.command()
def evaluate(
    run: Annotated[Path, _run_argument("Folder of a finished run.")],
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
    temperature: Annotated[float, typer.Option(min=0.0, help="Scale of the noise.")] = 1.0,
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
    inception: Annotated[
        Path | None,
        _path_option("FID with Inception's weights from this file, in place of --fid's download."),
    ] = None,
    squeezenet: Annotated[
        Path | None,
        _path_option("Judge on SqueezeNet's features, too, with the weights in this file."),
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(
            metavar="EXPERIMENT/ROW", help="Write a record with the run's samples and history."
        ),
    ] = None,
    results: Annotated[Path, _path_option("Folder of the records.")] = Path("data/results"),
    install: Annotated[
        bool,
        typer.Option(
            "--install", help="Of a classifier: make it the one behind the FCD of its data set."
        ),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(help="Where the run's data lies now, if it was moved: folder:PATH."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0, …")] = "auto",
    root: Annotated[
        Path | None,
        _path_option("Where data is cached.", show_default="$GLF_DATA or data/cache"),
    ] = None,
) -> None:
    """Measure a finished run, and print its numbers and protocol; of a classifier, its accuracy."""
    from glf_minimal.evaluation.classifier import Classifier
    from glf_minimal.evaluation.features import InceptionFeatures
    from glf_minimal.evaluation.protocol import Protocol
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
    second = _second_judge(squeezenet) if squeezenet is not None else None
    outcome = evaluate_run(finished, protocol, root, device, network, real, second, data)
    typer.echo("\n".join(table(outcome)))
    if record is not None:
        typer.echo(f"record: {write_record(outcome, run, results, experiment, row)}")


@app.command()
def reproduce(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A table or figure; without one, lists them."),
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set; may be repeated.")
    ] = None,
    rows: Annotated[list[str] | None, typer.Option(help="Only this row; may be repeated.")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Seeds a row, from 0 on.", show_default="as planned")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="For a reduced run, such as train.epochs=20; see 'glf recipes'.",
        ),
    ] = None,
    runs: Annotated[Path, _path_option("Folder of the trainings.")] = Path("runs"),
    results: Annotated[Path, _path_option("Folder of the records.")] = Path("data/results"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0, …")] = "auto",
    fid: Annotated[
        bool, typer.Option("--fid", help="Measure FID, too: needs Inception's weights (96 MB).")
    ] = False,
    inception: Annotated[
        Path | None,
        _path_option("FID with Inception's weights from this file, in place of --fid's download."),
    ] = None,
    squeezenet: Annotated[
        Path | None,
        _path_option("Judge on SqueezeNet's features, too, with the weights in this file."),
    ] = None,
    root: Annotated[
        Path | None,
        _path_option("Where data is cached.", show_default="$GLF_DATA or data/cache"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is recorded and what is missing.")
    ] = False,
    progress: Annotated[bool, typer.Option(help="Show a progress bar for each training.")] = True,
    workers: Annotated[
        int,
        typer.Option(min=1, help="Processes side by side on this machine, which share its cores."),
    ] = 1,
) -> None:
    """Make the records that a table or figure lacks; stopped, the same command goes on."""
    from glf_minimal.evaluation.features import InceptionFeatures
    from glf_minimal.reproduction import EXPERIMENTS, get_experiment, has_record, make_cells
    from glf_minimal.reproduction import reproduce as fill
    from glf_minimal.reproduction.filling import FAILED
    from glf_minimal.reproduction.workers import fill_with_workers, worker_command

    if name is None:
        for experiment in EXPERIMENTS.values():
            typer.echo(f"{experiment.name:15} {experiment.title} [{', '.join(experiment.rows)}]")
        return
    chosen = make_cells(get_experiment(name), dataset, rows, seeds, _parse_settings(settings or []))
    fid |= inception is not None
    asks = any(cell.experiment.squeezenet for cell in chosen)
    second = _second_judge(squeezenet) if asks or squeezenet is not None else None

    def missing() -> list:
        asked = {"fid": fid, "squeezenet": second is not None}
        return [cell for cell in chosen if not has_record(cell, results, **asked)]

    if dry_run:
        without = missing()
        for cell in without:
            typer.echo(f"missing: {cell}")
        typer.echo(f"{len(chosen) - len(without)} of {len(chosen)} cells are recorded")
        return
    try:
        if workers > 1:
            whole = fill_with_workers(worker_command(sys.argv[1:]), workers, missing, typer.echo)
            _require_all(chosen, missing(), whole)
            return
        network = InceptionFeatures(weights=inception) if fid else None
        failed = fill(chosen, runs, results, root, device, network, progress, typer.echo, second)
    except KeyboardInterrupt:
        typer.echo("\nstopped; the same command goes on from the last whole epoch", err=True)
        raise typer.Exit(130) from None
    if failed:
        raise RunError(f"{len(failed)} of {len(chosen)} {FAILED}; the others are recorded")


def _require_all(cells: list, missing: list, whole: bool) -> None:
    """Say how many cells are recorded; RunError where some are not or a worker failed."""
    typer.echo(f"{len(cells) - len(missing)} of {len(cells)} cells are recorded")
    for cell in missing:
        typer.echo(f"missing: {cell}")
    if missing or not whole:
        raise RunError(
            f"{len(missing)} of {len(cells)} cells have no record, see above; the same command "
            "goes on"
        )


@app.command()
def report(
    results: Annotated[Path, _path_option("Folder of the records.")] = Path("data/results"),
    out: Annotated[Path, _path_option("Folder to write to.")] = Path("book/generated"),
) -> None:
    """Write every table and figure of the book from the records."""
    from glf_minimal.reproduction import write_report

    for path in write_report(results, out):
        typer.echo(path)


def main() -> None:
    """Run the command line; an error of this package is one line on stderr and exit code 1."""
    if os.environ.get("RANK", "0") != "0":  # of processes that train together the first one speaks
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # What the encoding of a terminal or a redirected file lacks is written as its number. A
        # stream that is no text file of Python's own, or none any more, is left as it is.
        with suppress(AttributeError, OSError):
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():  # which puts back how warnings are shown, too
        warnings.showwarning = lambda message, *_: typer.echo(
            f"glf: {' '.join(str(message).split())}", err=True
        )
        try:
            app()
        except GLFError as error:
            typer.echo(f"glf: {error}", err=True)
            sys.exit(1)
