"""The commands on records of all runs: ``glf reproduce`` and ``glf report``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from glf_minimal.cli.options import (
    Device,
    InceptionWeights,
    Results,
    Root,
    SqueezeNetWeights,
    parse_settings,
    path_option,
    second_judge_if_there,
)
from glf_minimal.errors import RunError


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
    runs: Annotated[Path, path_option("Folder of the trainings.")] = Path("runs"),
    results: Results = Path("data/results"),
    device: Device = "auto",
    fid: Annotated[
        bool, typer.Option("--fid", help="Measure FID, too: needs Inception's weights (96 MB).")
    ] = False,
    inception: InceptionWeights = None,
    squeezenet: SqueezeNetWeights = None,
    root: Root = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is recorded and what is missing.")
    ] = False,
    progress: Annotated[bool, typer.Option(help="Show a progress bar for each training.")] = True,
    workers: Annotated[
        int,
        typer.Option(min=1, help="Processes side by side on this machine, which share its cores."),
    ] = 1,
    worker: Annotated[
        bool, typer.Option("--worker", hidden=True, help="One of the processes of --workers.")
    ] = False,
) -> None:
    """Make the records that a table or figure lacks; stopped, the same command goes on."""
    from glf_minimal.evaluation.features import InceptionFeatures
    from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures
    from glf_minimal.reproduction import EXPERIMENTS, get_experiment, has_record, make_cells
    from glf_minimal.reproduction import reproduce as fill
    from glf_minimal.reproduction.workers import fill_with_workers, worker_command

    if name is None:
        for experiment in EXPERIMENTS.values():
            typer.echo(f"{experiment.name:15} {experiment.title} [{', '.join(experiment.rows)}]")
        return
    chosen = make_cells(get_experiment(name), dataset, rows, seeds, parse_settings(settings or []))
    fid |= inception is not None
    second = None
    if squeezenet is not None:
        second = SqueezeNetFeatures(squeezenet)
    elif any(cell.experiment.squeezenet for cell in chosen):
        second = second_judge_if_there()

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
        failed = fill(
            chosen,
            runs,
            results,
            root,
            device,
            network,
            progress and not worker,
            typer.echo,
            second,
            only_news=worker,
        )
    except KeyboardInterrupt:
        typer.echo("\nstopped; the same command goes on from the last whole epoch", err=True)
        raise typer.Exit(130) from None
    if failed and worker:
        raise typer.Exit(1)
    if failed:
        raise RunError(
            f"{len(failed)} of {len(chosen)} cells failed, see above; the others are recorded"
        )


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


def report(
    results: Results = Path("data/results"),
    out: Annotated[Path, path_option("Folder to write to.")] = Path("book/generated"),
) -> None:
    """Write every table and figure of the book from the records."""
    from glf_minimal.reproduction import write_report

    for path in write_report(results, out):
        typer.echo(path)
