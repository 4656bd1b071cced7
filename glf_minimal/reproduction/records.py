"""Records of finished experiments: data/results/<experiment>/<data set>/<row>/seed-<k>.json, .png
and .csv.

A record holds every setting, every metric with its protocol, versions, hardware, times, the digests
of the data and the commands that make it again. Beside it lie 64 samples and the history of the
training.
"""

import shlex
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch

from glf_minimal.data import ImageDataset
from glf_minimal.errors import RunError
from glf_minimal.evaluation.classifier import (
    load_classifier,
)
from glf_minimal.evaluation.evaluate import Protocol, evaluate, learning_curve
from glf_minimal.evaluation.features import InceptionFeatures
from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures
from glf_minimal.files import (
    atomic,
    make_folder,
    read_csv,
    read_json,
    read_tensors,
    user_path,
    write_json,
)
from glf_minimal.models import LatentModel
from glf_minimal.provenance import git_commit, hardware, versions
from glf_minimal.recipes.recipe import GROUPS
from glf_minimal.recipes.run import load_run, load_run_data, read_config, train_command
from glf_minimal.training.folder import HISTORY, SAMPLES, SNAPSHOTS, WEIGHTS, History

GROUPS_OF_METRICS = ("classifier", "inception", "squeezenet", "reconstruction", "latents")


def commands(folder: Path, config: dict, evaluate_options: list[str]) -> list[str]:
    """The commands that train and evaluate a run again, in a folder of the same name; none without
    a recipe.
    """
    train = train_command(config)
    if train is None:
        return []
    absolute, here = folder.resolve(), Path.cwd()
    out = absolute.relative_to(here) if here in absolute.parents else Path("runs", absolute.name)
    before = []
    if "lender" in config:
        lender_command = train_command(config["lender"] | config["lender"]["settings"])
        if lender_command is None:
            return []
        lender_out = out.with_name(f"{out.name}-auto-encoder")
        before = [f"{lender_command} {shlex.join(['--out', str(lender_out)])}"]
        train += " " + shlex.join(["--auto-encoder", str(lender_out)])
    if out != Path("runs", config["recipe"]):  # which is the default
        train += " " + shlex.join(["--out", str(out)])
    return [*before, train, shlex.join(["glf", "evaluate", str(out), *evaluate_options])]


def protocol_options(protocol: Protocol) -> list[str]:
    """The options of ``glf evaluate`` that give this protocol."""
    options = []
    for field in fields(protocol):
        value = getattr(protocol, field.name)
        if value != field.default and field.name != "binarize":  # which follows from the run
            name = field.name.replace("_", "-")
            options += (
                [f"--{'' if value else 'no-'}{name}"]
                if isinstance(value, bool)
                else [f"--{name}", str(value)]
            )
    return options


def evaluate_run(
    folder: Path,
    protocol: Protocol,
    root: Path | None = None,
    device: torch.device | str = "cpu",
    inception: InceptionFeatures | None = None,
    real: bool = False,
    squeezenet: SqueezeNetFeatures | None = None,
    data: str | None = None,
) -> dict:
    """Evaluate a finished run (with ``real``, training images in place of samples); gives the
    content of a record.

    ``data`` says where the run's data lies now, as in "folder:PATH"; None for where it lay. Images
    are rounded to 0 or 1 where the run was trained on such. A run that is not of the
    catalogue's recipes has no "commands". Where the training kept snapshots, "curve" says what each
    of them is worth.

    Raises:
        RunError: no finished run, not of a model that ``recipes.build`` can build, or trained on
            other data.
    """
    started = time.perf_counter()
    folder, device = user_path(folder), torch.device(device)
    config = read_config(folder)
    model, _ = load_run(folder, device)
    protocol = replace(protocol, binarize=config["data"].get("binarize", False))
    splits = (protocol.reference, *(["train"] if real else []))
    # Not rounded to 0 or 1 yet: the protocol says whether to.
    loaded = load_run_data(folder, config, splits, root, data, binarize=False)
    reference = loaded[0]
    training_images = loaded[1] if real else None
    measures = evaluate(
        model, reference, protocol, inception, real=training_images, squeezenet=squeezenet
    )
    flags = {"--real": real, "--fid": inception is not None}
    options = [*protocol_options(protocol), *(flag for flag, is_set in flags.items() if is_set)]
    facts = None
    if isinstance(measures["classifier"], dict):
        _, facts = load_classifier(reference.name)
        facts = {"data": facts["settings"]["data"]["name"]} | {
            name: facts[name] for name in ("accuracy", "sha256")
        }
    history = read_tensors(folder / WEIGHTS)[1].get("history")
    if not history:
        raise RunError(
            f"{folder / WEIGHTS} has no training history; it was not written by a training"
        )
    drawn = not real and isinstance(measures["classifier"], dict)
    curve = _curve(folder, history, model, reference, protocol) if drawn else []
    return _what_was_trained(folder, config, history, options) | {
        "metrics": measures,
        **({"curve": curve} if curve else {}),
        "protocol": asdict(protocol)
        | {"samples_are": "real training images" if real else "generated"},
        "classifier": facts,
        **({"squeezenet": squeezenet.protocol} if squeezenet else {}),
        "parameters": sum(p.numel() for p in model.parameters()),
        "evaluation": {
            "seconds": round(time.perf_counter() - started, 1),
            "reference_images": len(reference),
            "reference_sha256": reference.digest,
            **({"reference_origin": reference.origin} if reference.origin else {}),
            "versions": versions(),
            "commit": git_commit(),
            "hardware": hardware(device),
        },
    }


def _what_was_trained(folder: Path, config: dict, history: History, options: list[str]) -> dict:
    """The part of a record that needs no measurement."""
    last = history[-1] if history else {}
    return {
        "recipe": config.get("recipe"),
        "seed": config["train"]["seed"],
        "commands": commands(folder, config, options),
        "settings": {group: config[group] for group in GROUPS},
        "built": config["built"],
        **({"lender": config["lender"]} if "lender" in config else {}),
        "training": {
            "epochs": len(history),
            **_times(history),
            "last": {
                name: value
                for name, value in last.items()
                if name not in ("seconds", "cpu_seconds", "lr")
            },
            "data_sha256": config["data_sha256"],
            **config.get("made_with", {}),
        },
    }


def _times(history: History) -> dict[str, float]:
    """Seconds of these epochs by the clock, and those of the CPU where every epoch says them."""
    known = [name for name in ("seconds", "cpu_seconds") if all(name in row for row in history)]
    return {name: round(sum(row[name] for row in history), 1) for name in known}


def diverged_run(folder: Path, protocol: Protocol, error: str) -> dict:
    """The content of a record of a training that ended with this DivergenceError: it has no
    metrics.
    """
    config = read_config(folder)
    history = read_csv(folder / HISTORY) if (folder / HISTORY).exists() else []
    what = f"diverged: {error.partition(';')[0]}"
    return _what_was_trained(folder, config, history, protocol_options(protocol)) | {
        "metrics": dict.fromkeys(GROUPS_OF_METRICS, what),
        "protocol": asdict(protocol) | {"samples_are": "none"},
    }


def _curve(
    folder: Path, history: History, model: LatentModel, reference: ImageDataset, protocol: Protocol
) -> list[dict]:
    """What the snapshots of a run are worth: epoch, seconds of training so far, FCD, reconstruction
    error.
    """
    paths = {
        int(path.stem.removeprefix("epoch-")): path
        for path in (folder / SNAPSHOTS).glob("epoch-*.safetensors")
    }
    if not paths:
        return []
    epochs = sorted(paths)
    weights = (read_tensors(paths[epoch])[0] for epoch in epochs)
    points = learning_curve(model, weights, reference, protocol, load_classifier(reference.name)[0])
    return [
        {"epoch": epoch} | _times(history[:epoch]) | point
        for epoch, point in zip(epochs, points, strict=True)
    ]


def table(record: dict) -> list[str]:
    """The record's metrics and protocol as lines of text."""
    lines = []
    for group, measures in record["metrics"].items():
        if isinstance(measures, str):
            lines.append(f"{group:15}{measures}")
            continue
        lines += [f"{group:15}{name:26}{value:12.4f}" for name, value in measures.items()]
    if record["classifier"]:
        lines.append(
            "classifier of {data}, test accuracy {accuracy:.4f}".format(**record["classifier"])
        )
    if origin := record["evaluation"].get("reference_origin"):
        lines.append(f"compared with {origin}")
    return [
        *lines,
        "protocol: " + ", ".join(f"{name} {value}" for name, value in record["protocol"].items()),
    ]


def write_record(record: dict, run: Path, results: Path, experiment: str, row: str) -> Path:
    """Write a record with the run's samples and history beside it; returns the path of the JSON
    file.

    The JSON file is written last: where it is, nothing is missing.

    Raises:
        RunError: a run without commands, or files that cannot be read or written.
    """
    if not record["commands"]:
        raise RunError(
            f"no recipe of the catalogue makes {run} again, so there are no commands to record"
        )
    data = record["settings"]["data"]["name"].replace(":", "-").replace("/", "-")
    path = _path(results, experiment, data, row, f"seed-{record['seed']}.json")
    names = (
        {".png": SAMPLES, ".csv": HISTORY}
        if record["protocol"]["samples_are"] == "generated"
        else {}
    )
    if (
        record["protocol"]["samples_are"] == "none" and (run / HISTORY).exists()
    ):  # diverged, after a checkpoint
        names = {".csv": HISTORY}
    beside = {ending: _read_bytes(run / name) for ending, name in names.items()}
    make_folder(path.parent)
    for ending in {".png", ".csv"} - names.keys():  # of a record that this one replaces
        path.with_suffix(ending).unlink(missing_ok=True)
    for ending, content in beside.items():
        with atomic(path.with_suffix(ending)) as temporary:
            temporary.write_bytes(content)
    write_json(path, {"experiment": experiment, "row": row} | record)
    return path


def _path(results: str | Path, *names: str) -> Path:
    """A path in the folder of the records, or RunError for a name that leads out of it."""
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise RunError(
                "expected the name of an experiment, a data set or a row, without '/'; got "
                f"{name!r}"
            )
    return user_path(results).joinpath(*names)


def read_record(path: Path) -> dict:
    """The content of one record; RunError where it is damaged."""
    remedy = "delete it and run 'glf reproduce' again"
    record = read_json(path, remedy)
    kinds = dict.fromkeys(("settings", "metrics", "protocol", "training"), dict) | {"seed": int}
    missing = [name for name, kind in kinds.items() if not isinstance(record.get(name), kind)]
    if missing:
        raise RunError(f"{path} is damaged (no {missing[0]}); {remedy}")
    return record


def read_records(results: str | Path, experiment: str, data: str) -> dict[str, list[dict]]:
    """The records of an experiment on a data set: by row, one for each seed.

    Each record also says, as "history", its training's history, one row an epoch; empty for real
    images.

    Raises:
        RunError: no such experiment.
    """
    folder, records = _path(results, experiment, data), {}
    for path in sorted(
        folder.glob("*/seed-*.json"), key=lambda path: (path.parent.name, len(path.name), path.name)
    ):
        history = read_csv(beside) if (beside := path.with_suffix(".csv")).exists() else []
        records.setdefault(path.parent.name, []).append(read_record(path) | {"history": history})
    if not records:
        raise RunError(
            f"no records in {folder}; 'glf evaluate RUN --record {experiment}/ROW' writes them"
        )
    return records


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path} ({error.strerror}); train the run again") from error
