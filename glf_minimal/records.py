"""Records of finished experiments: data/results/<experiment>/<data set>/<row>/seed-<k>.json, .png and .csv.

A record holds every setting, every metric with its protocol, versions, hardware, times, the digests of the data and
the commands that make it again. Beside it lie 64 samples and the history of the training.
"""

import json
import shlex
import shutil
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch

from glf_minimal.catalogue import RECIPES
from glf_minimal.classifiers import classifier_path, load_classifier, save_classifier
from glf_minimal.errors import RunError
from glf_minimal.evaluation import Protocol, evaluate
from glf_minimal.experiments import load_data, load_run
from glf_minimal.features import InceptionFeatures
from glf_minimal.provenance import git_commit, hardware, versions
from glf_minimal.runs import CONFIG, HISTORY, SAMPLES, WEIGHTS
from glf_minimal.storage import atomic, read_json, read_tensors, write_json

GROUPS = ("data", "networks", "flow", "model", "train")
NOT_IN_COMMANDS = ("train.device", "train.progress", "train.checkpoint_seconds", "train.precision")


def train_command(config: dict) -> str:
    """The command that trains a run again: its recipe, and what differs from it."""
    recipe = RECIPES.get(config.get("recipe"))
    if recipe is None:
        raise RunError("this run does not come from a recipe of the catalogue, so there is no command to record")
    parts = ["glf", "train", "--recipe", recipe.name]
    for group, settings in recipe.settings().items():
        for key, value in settings.items():
            now = config[group].get(key)
            if now != value and f"{group}.{key}" not in NOT_IN_COMMANDS:
                parts += ["--set", f"{group}.{key}={json.dumps(now)}"]
    return shlex.join(parts)


def protocol_options(protocol: Protocol) -> list[str]:
    """The options of ``glf evaluate`` that give this protocol."""
    options = []
    for field in fields(protocol):
        value = getattr(protocol, field.name)
        if value != field.default and field.name != "binarize":  # which follows from the run
            name = field.name.replace("_", "-")
            options += [f"--{'' if value else 'no-'}{name}"] if isinstance(value, bool) else [f"--{name}", str(value)]
    return options


def evaluate_run(
    folder: Path,
    protocol: Protocol,
    root: Path | None = None,
    device: torch.device | str = "cpu",
    inception: InceptionFeatures | None = None,
    real: bool = False,
) -> dict:
    """Evaluate a finished run (with ``real``, training images in place of samples); gives the content of a record.

    Images are rounded to 0 or 1 where the run was trained on such.
    """
    started = time.perf_counter()
    device = torch.device(device)
    model, config = load_run(folder, device)
    grey = config["data"] | {"binarize": False}  # the protocol says whether to round
    protocol = replace(protocol, binarize=config["data"].get("binarize", False))
    reference = load_data(grey, protocol.reference, root)
    measures = evaluate(model, reference, protocol, inception, real=load_data(grey, "train", root) if real else None)
    options = [*(["--real"] if real else []), *protocol_options(protocol), *(["--fid"] if inception else [])]
    facts = None
    if isinstance(measures["classifier"], dict):
        _, facts = load_classifier(reference.name)
        facts = {"data": facts["settings"]["data"]["name"], "accuracy": facts["accuracy"]}
    history = read_tensors(folder / WEIGHTS)[1]["history"]
    return {
        "recipe": config.get("recipe"),
        "seed": config["train"]["seed"],
        "commands": [train_command(config), shlex.join(["glf", "evaluate", f"runs/{config['recipe']}", *options])],
        "metrics": measures,
        "protocol": asdict(protocol) | {"samples_are": "real training images" if real else "generated"},
        "classifier": facts,
        "settings": {group: config[group] for group in GROUPS},
        "built": config["built"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "training": {
            "epochs": len(history),
            "seconds": round(sum(row["seconds"] for row in history), 1),
            "last": {name: value for name, value in history[-1].items() if name not in ("seconds", "lr")},
            "data_sha256": config["data_sha256"],
            **config["made_with"],
        },
        "evaluation": {
            "seconds": round(time.perf_counter() - started, 1),
            "reference_images": len(reference),
            "reference_sha256": reference.digest,
            "versions": versions(),
            "commit": git_commit(),
            "hardware": hardware(device),
        },
    }


def table(record: dict) -> list[str]:
    """The record's metrics and protocol as lines of text."""
    lines = []
    for group, measures in record["metrics"].items():
        if isinstance(measures, str):
            lines.append(f"{group:15}{measures}")
            continue
        lines += [f"{group:15}{name:26}{value:12.4f}" for name, value in measures.items()]
    if record["classifier"]:
        lines.append("classifier of {data}, test accuracy {accuracy:.4f}".format(**record["classifier"]))
    return [*lines, "protocol: " + ", ".join(f"{name} {value}" for name, value in record["protocol"].items())]


def write_record(record: dict, run: Path, results: Path, experiment: str, row: str) -> Path:
    """Write a record with the run's samples and history beside it; returns the path of the JSON file."""
    folder = results / experiment / record["settings"]["data"]["name"].replace(":", "-").replace("/", "-") / row
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"seed-{record['seed']}.json"
    for name, ending in ((SAMPLES, ".png"), (HISTORY, ".csv")):
        if record["protocol"]["samples_are"] == "generated":
            with atomic(path.with_suffix(ending)) as temporary:
                shutil.copyfile(run / name, temporary)
    write_json(path, {"experiment": experiment, "row": row} | record)
    return path


def is_classifier(folder: Path) -> bool:
    """Whether a run's folder holds a classifier."""
    return read_json(folder / CONFIG).get("model", {}).get("kind") == "classifier"


def evaluate_classifier(folder: Path, root: Path | None = None, install: bool = False) -> dict:
    """Test accuracy of a finished classifier run; ``install`` makes it the one behind its data set's FCD.

    The accuracy is that of the weights in half precision, as they are installed.
    """
    classifier, config = load_run(folder)
    data = load_data(config["data"], "test", root)
    settings = {name: config[name] for name in (*GROUPS, "recipe", "image_shape")}
    classifier.load_state_dict(
        {n: t.half().float() if t.is_floating_point() else t for n, t in classifier.state_dict().items()}
    )
    places = torch.arange(len(data)).split(500)
    accuracy = classifier.accuracy((data.batch(place), data.labels[place]) for place in places)
    facts = {
        "accuracy": accuracy,
        "test_images": len(data),
        "test_sha256": data.digest,
        "command": train_command(config),
        "settings": settings,
        "training": {"data_sha256": config["data_sha256"], **config.get("made_with", {})},
    }
    if install:
        path = classifier_path(config["data"]["name"])
        path.parent.mkdir(exist_ok=True)
        save_classifier(classifier, path, facts)
    return facts
