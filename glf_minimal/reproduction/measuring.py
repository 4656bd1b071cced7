"""From finished runs to the content of records: every metric, and all that makes it again."""

import shlex
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch

from glf_minimal.errors import MetricError, RunError
from glf_minimal.evaluation.classifier import load_classifier
from glf_minimal.evaluation.features import InceptionFeatures
from glf_minimal.evaluation.measure import ReferenceImages, evaluate, learning_curve
from glf_minimal.evaluation.protocol import Protocol
from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures
from glf_minimal.files import read_csv, read_tensors
from glf_minimal.history import TIMES, History, total_times
from glf_minimal.provenance import made_on
from glf_minimal.recipes.recipe import GROUPS
from glf_minimal.recipes.run import FinishedRun, load_run_data, read_config, read_run, train_command
from glf_minimal.reproduction.records import GENERATED, NONE, REAL, Record, Status
from glf_minimal.training.folder import HISTORY, SNAPSHOTS, WEIGHTS

GROUPS_OF_METRICS = ("classifier", "inception", "squeezenet", "reconstruction", "latents")


def commands(folder: Path, config: dict, evaluate_options: list[str]) -> list[str]:
    """The commands that train and evaluate a run again, in a folder of the same name.

    Empty where its recipe, or its lender's, is not in the catalogue.
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
        if value == field.default or field.name == "binarize":  # which follows from the run
            continue
        name = field.name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{name}" if value else f"--no-{name}")
        else:
            options += [f"--{name}", str(value)]
    return options


def evaluate_run(
    run: str | Path | FinishedRun,
    protocol: Protocol,
    root: Path | None = None,
    device: torch.device | str = "cpu",
    inception: InceptionFeatures | None = None,
    real: bool = False,
    squeezenet: SqueezeNetFeatures | None = None,
    data: str | None = None,
) -> dict:
    """Evaluate a finished run; gives the content of a record.

    A run whose recipe is not in the catalogue has no "commands". Where the training kept snapshots,
    "curve" says what each of them is worth.

    Args:
        run: a run, or its folder.
        protocol: images are also rounded to 0 or 1 where the run was trained on such.
        root: where the data is cached.
        device: where to measure.
        inception: also measure FID, with it.
        real: compare training images in place of samples.
        squeezenet: the second judge.
        data: where the data of the run lies now, as in "folder:PATH"; None for where it lay.

    Raises:
        RunError: no finished run, not of a model that ``recipes.build`` can build, or trained on
            other data.
    """
    started = time.perf_counter()
    run = read_run(run, device)
    device = torch.device(device)
    protocol = replace(protocol, binarize=run.config["data"].get("binarize", False))
    splits = (protocol.reference, *(["train"] if real else []))
    # Not rounded to 0 or 1 yet: the protocol says whether to.
    loaded = load_run_data(run.folder, run.config, splits, root, data, binarize=False)
    reference = loaded[0]
    training_images = loaded[1] if real else None
    if not run.history:
        raise RunError(
            f"{run.folder / WEIGHTS} has no training history; it was not written by a training"
        )
    images = ReferenceImages(reference, protocol, run.model)
    classifier, facts = _judge(reference.name)
    measures = evaluate(
        run.model, images, protocol, inception, classifier, training_images, squeezenet
    )
    flags = {
        "--real": real,
        "--fid": inception is not None,
        "--fsd": squeezenet is not None,
    }
    options = [*protocol_options(protocol), *(flag for flag, is_set in flags.items() if is_set)]
    curve = []
    if classifier is not None and not real:
        curve = _curve(run, images, protocol, classifier, measures)
    return _what_was_trained(run.folder, run.config, run.history, options) | {
        "metrics": measures,
        **({"curve": curve} if curve else {}),
        "protocol": asdict(protocol) | {"samples_are": REAL if real else GENERATED},
        "classifier": facts,
        **({"squeezenet": squeezenet.protocol} if squeezenet else {}),
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "evaluation": {
            "seconds": round(time.perf_counter() - started, 1),
            "reference_images": len(reference),
            "reference_sha256": reference.digest,
            **({"reference_origin": reference.origin} if reference.origin else {}),
            **made_on(device),
        },
    }


def _judge(data: str) -> tuple[torch.nn.Module | None, dict | None]:
    """The classifier of a data set and what a record says of it; None, None where there is none."""
    try:
        classifier, facts = load_classifier(data)
    except MetricError:  # which the record says in place of the distances
        return None, None
    said = {"data": facts["settings"]["data"]["name"]}
    return classifier, said | {name: facts[name] for name in ("accuracy", "sha256")}


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
            **total_times(history),
            "last": {name: last[name] for name in last if name not in (*TIMES, "lr")},
            "data_sha256": config["data_sha256"],
            **({"start": config["start"]} if "start" in config else {}),
            **config.get("made_with", {}),
        },
    }


def diverged_run(folder: Path, protocol: Protocol, error: str) -> dict:
    """The content of a record of a training that ended with this DivergenceError, without metrics.

    ``folder`` is that of the training.
    """
    config = read_config(folder)
    history = read_csv(folder / HISTORY) if (folder / HISTORY).exists() else []
    reason = Status.DIVERGED.because(error.partition(";")[0])
    return _what_was_trained(folder, config, history, protocol_options(protocol)) | {
        "metrics": dict.fromkeys(GROUPS_OF_METRICS, reason),
        "protocol": asdict(protocol) | {"samples_are": NONE},
    }


def _curve(
    run: FinishedRun,
    images: ReferenceImages,
    protocol: Protocol,
    classifier: torch.nn.Module,
    measures: dict,
) -> list[dict]:
    """What the snapshots of a run are worth: epoch, times so far, FCD and reconstruction error.

    The last snapshot is the finished model, of which ``measures`` tells. Empty without snapshots.
    """
    paths = {
        int(path.stem.removeprefix("epoch-")): path
        for path in (run.folder / SNAPSHOTS).glob("epoch-*.safetensors")
    }
    if not paths:
        return []
    epochs = sorted(paths)
    earlier = [epoch for epoch in epochs if epoch < len(run.history)]
    finished = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    weights = (read_tensors(paths[epoch])[0] for epoch in earlier)
    points = list(learning_curve(run.model, weights, images, protocol, classifier))
    run.model.load_state_dict(finished)
    if epochs != earlier:
        last = {"fcd": measures["classifier"]["fcd"]}
        points.append(last | {"mse_per_image": measures["reconstruction"]["mse_per_image"]})
    return [
        {"epoch": epoch} | total_times(run.history[:epoch]) | point
        for epoch, point in zip(epochs, points, strict=True)
    ]


def table(content: dict) -> list[str]:
    """The metrics and the protocol of a record as lines of text."""
    record = Record(content)
    lines = []
    for group in content["metrics"]:
        if record.said(group):
            lines.append(f"{group:15}{record.said(group)}")
        measures = record.measures(group)
        lines += [f"{group:15}{name:26}{value:12.4f}" for name, value in measures.items()]
    if content["classifier"]:
        judge = "classifier of {data}, test accuracy {accuracy:.4f}"
        lines.append(judge.format(**content["classifier"]))
    if origin := record.evaluation.get("reference_origin"):
        lines.append(f"compared with {origin}")
    protocol = ", ".join(f"{name} {value}" for name, value in record.protocol.items())
    return [*lines, f"protocol: {protocol}"]
