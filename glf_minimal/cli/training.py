"""The commands ``glf recipes`` and ``glf train``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from glf_minimal.cli.options import Root, parse_settings, path_option


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


def train(
    recipe: Annotated[str, typer.Option(help="Name of a recipe; 'glf recipes' lists them.")],
    out: Annotated[
        Path | None, path_option("Folder of the run.", show_default="runs/RECIPE")
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
        path_option("Begin with the weights of this run: its folder, or a file of them in it."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:0, …")] = None,
    root: Root = None,
    auto_encoder: Annotated[
        Path | None,
        path_option("Take the auto-encoder of this finished run as it is, and train the rest."),
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
    chosen = get_recipe(recipe).with_settings(changes | parse_settings(settings or []))
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
    epochs_done = "1 epoch" if len(history) == 1 else f"{len(history)} epochs"
    parts = [f"{epochs_done}, {sum(row['seconds'] for row in history):.0f} s"]
    if terms := [f"{name} {history[-1][name]:.2f}" for name in loss_terms(history[-1:])]:
        parts.append(", ".join(terms))
    typer.echo(f"{recipe}: {'; '.join(parts)}")
    if (out / SAMPLES).exists():
        typer.echo(f"samples: {out / SAMPLES}")
