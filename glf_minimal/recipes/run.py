"""Recipes at work: their data, their trainings, and the finished runs read back."""

import json
import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from glf_minimal.data import ImageDataset, load_dataset, picture_folder
from glf_minimal.errors import DataError, GLFError, RecipeError, RunError
from glf_minimal.files import load_weights, read_json, read_tensors, user_path
from glf_minimal.history import History
from glf_minimal.models.base import Trainable
from glf_minimal.models.glann import GLANN
from glf_minimal.recipes.build import build_model
from glf_minimal.recipes.catalogue import RECIPES
from glf_minimal.recipes.lend import borrow, fit_latents_alone
from glf_minimal.recipes.recipe import GROUPS, Recipe
from glf_minimal.training.folder import CONFIG, WEIGHTS
from glf_minimal.training.loop import describe, fit
from glf_minimal.training.settings import MACHINE_SETTINGS, TrainConfig, difference, flatten


def load_data(settings: dict, split: str, root: str | Path | None = None) -> ImageDataset:
    """A split of the data set that the group "data" of a recipe's settings describes.

    With ``data.validation``, so many training images, drawn once and for all, are the split
    "validation" and no longer part of "train". Only "train" is limited.
    """
    source = "train" if split == "validation" else split
    data = load_dataset(settings.get("name"), source, root, settings.get("image_size"))
    if source == "train":
        data = _held_out(data, settings.get("validation"), split)
    limit = settings.get("limit")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise RecipeError(f"data.limit: expected a positive number of images, got {limit!r}")
    if limit is not None and split == "train":
        labels = None if data.labels is None else data.labels[:limit]
        origin = data.origin and f"the first {limit} of {data.origin}"
        data = replace(data, pixels=data.pixels[:limit], labels=labels, origin=origin)
    return data.binarized() if settings.get("binarize") else data


def load_run_data(
    folder: Path,
    config: dict,
    splits: tuple[str, ...],
    root: str | Path | None = None,
    name: str | None = None,
    **changes: object,
) -> list[ImageDataset]:
    """Splits of the data that the run in ``folder`` was trained on, one after the other.

    Whatever the data is called and wherever it lies, it is the run's if its training images have
    the digest that ``config``, the run's, keeps.

    Args:
        folder: of the run.
        config: the content of its ``config.json``.
        splits: such as ("test",).
        root: where data is cached.
        name: what the data is called now, as in "folder:PATH"; None for what it was called.
        changes: settings of the data that differ from the run's, such as binarize=False.

    Raises:
        DataError: a folder that is no longer there.
        RunError: other images.
    """
    settings = config["data"] | ({} if name is None else {"name": name})
    pictures = picture_folder(settings.get("name"))
    if pictures is not None and not os.path.isdir(pictures):  # noqa: PTH112 (see load_dataset)
        raise DataError(
            f"folder: {pictures} is not a folder, and {folder} was trained on the pictures in it; "
            "say where they lie now: --data folder:PATH"
        )
    known = load_data(settings, "train", root)
    if known.digest != config["data_sha256"]:
        raise RunError(
            f"{folder} was trained on other images than {known.origin or known.name} has now; say "
            "where its data lies (--data, --root), or train again"
        )
    loaded = [load_data(settings | changes, split, root) for split in splits]
    for data in loaded:
        if data.image_shape != known.image_shape:
            raise DataError(
                f"{data.origin or data.name}: these images are {data.image_shape} in channels, "
                f"height and width, {folder} was trained on {known.image_shape}; make them alike"
            )
    return loaded


def _held_out(data: ImageDataset, validation: int | None, split: str) -> ImageDataset:
    """The training images without those held out for validation, or these alone."""
    if validation is None and split == "train":
        return data
    if type(validation) is not int or not 0 < validation < len(data):
        raise RecipeError(
            f"data.validation: expected how many of the {len(data)} training images of {data.name} "
            f"to hold out, fewer than all; got {validation!r}"
        )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    held_out, kept = order[:validation], order[validation:]
    indices = (held_out if split == "validation" else kept).sort().values
    labels = None if data.labels is None else data.labels[indices]
    origin = data.origin and f"{len(indices)} of {data.origin}"
    return replace(data, pixels=data.pixels[indices], labels=labels, origin=origin)


def train_recipe(
    recipe: Recipe,
    out: str | Path,
    root: str | Path | None = None,
    lender: str | Path | None = None,
    start: str | Path | None = None,
) -> History:
    """Train a recipe into the folder ``out``, or go on with what lies there.

    The folder gets the files that ``fit`` writes.

    Args:
        recipe: from ``get_recipe``, perhaps ``with_settings``.
        out: the run's folder.
        root: where the data is cached.
        lender: a finished run whose auto-encoder is taken over and stays as it is; what is trained
            is the model of its latents.
        start: another run, whose weights to begin with; see ``fit``.

    Raises:
        RunError: ``out`` holds a run with other settings, ``lender`` one on other images, or
            ``start`` one of another model.
        RecipeError: the auto-encoder of ``lender`` does not fit, or nothing else is to be trained,
            or there is a ``start``, which would put other weights into it.
    """
    settings = recipe.settings()
    config = TrainConfig(**settings["train"])
    data = load_data(settings["data"], "train", root)
    model = build_model(settings, data.image_shape, config.seed)
    if isinstance(model, GLANN) and model.latents.num_embeddings != len(data):
        raise RecipeError(
            f"model.images: expected {len(data)}, one latent an image of {data.name}; set it to "
            "that"
        )
    described = {"recipe": recipe.name, **settings}
    if lender is not None and start is not None:
        raise RecipeError(
            "start: a training on the auto-encoder of another run begins with that run's weights; "
            "give one of the two"
        )
    if lender is not None:
        described["lender"] = borrow(model, read_run(lender), data)
        if not model.stages:
            config_file = describe(model, described, data, config, torch.device("cpu"))
            return fit_latents_alone(model, data, user_path(out), config_file)
    try:
        return fit(model, data, config, out, described, start)
    except GLFError:
        raise
    except ValueError as error:  # parts, losses and images that do not fit each other
        raise RecipeError(f"the settings do not fit {data.name}: {error}") from error


def train_command(config: dict) -> str | None:
    """The command that trains a run again, or None where its recipe is not in the catalogue.

    Args:
        config: the content of its ``config.json``.
    """
    recipe = RECIPES.get(config.get("recipe"))
    if recipe is None:
        return None
    own = {group: dict(config[group]) for group in GROUPS}
    processes = own["train"].pop("processes", None)  # which the launcher sets, no recipe
    names = flatten(own, levels=2).keys()
    stated = flatten({group: getattr(recipe, group) for group in GROUPS}, levels=2).keys()
    known = flatten(recipe.settings(), levels=2).keys()
    if not stated <= names <= known:  # a recipe of this name, but of another version
        return None
    changed = difference(own, recipe.settings(), levels=2, free=MACHINE_SETTINGS)
    command = ["glf"]
    if processes:
        command = ["torchrun", f"--nproc_per_node={processes}", "-m", "glf_minimal"]
    command += ["train", "--recipe", recipe.name]
    for name, (value, _) in changed.items():
        if name in names:  # an older version of the recipe need not have had all of its defaults
            command += ["--set", f"{name}={json.dumps(value)}"]
    if "start" in config:
        command += ["--start", config["start"]["path"]]
    return shlex.join(command)


def read_config(folder: Path) -> dict:
    """The ``config.json`` of a run, or RunError where it does not say how to build the model."""
    config = read_json(folder / CONFIG)
    missing = [group for group in GROUPS if not isinstance(config.get(group), dict)]
    missing += [name for name in ("built", "data_sha256") if name not in config]
    if missing:
        raise RunError(
            f"{folder / CONFIG} has no settings for {', '.join(missing)}, so the model cannot be "
            "built from it; build a model of your own in Python, and load "
            f"{WEIGHTS} into it with load_state_dict"
        )
    return config


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, read once.

    Args:
        folder: where it lies.
        config: the content of its ``config.json``.
        model: with its weights, in eval mode.
        history: of its training; empty where no training wrote the weights.
    """

    folder: Path
    config: dict
    model: Trainable
    history: History


def read_run(run: "str | Path | FinishedRun", device: str | torch.device = "cpu") -> FinishedRun:
    """Read a finished run, its model onto ``device``; what has been read is returned as it is.

    Raises:
        RunError: ``run`` is not the folder of a finished run, or a file in it is damaged.
        RecipeError: its settings do not give a model.
    """
    if isinstance(run, FinishedRun):
        run.model.to(device)
        return run
    folder = user_path(run)
    config = read_config(folder)
    tensors, metadata = read_tensors(folder / WEIGHTS)
    try:
        model = build_model(config, tuple(config["image_shape"]))
    except (KeyError, TypeError, RecipeError) as error:
        raise RecipeError(
            f"{folder / CONFIG} does not give a model ({error}); train the run again"
        ) from error
    load_weights(model, tensors, folder / WEIGHTS)
    return FinishedRun(folder, config, model.to(device).eval(), metadata.get("history", []))


def load_run(
    folder: str | Path | FinishedRun, device: str | torch.device = "cpu"
) -> tuple[Trainable, dict]:
    """The model of a finished run, in eval mode, and the content of its ``config.json``."""
    run = read_run(folder, device)
    return run.model, run.config
