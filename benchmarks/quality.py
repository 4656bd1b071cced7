"""Time to quality: how many seconds of training until the samples are this good? `python -m
benchmarks.quality`.

Our GLF, as in the paper and with its noise drawn from a mixture, our two-stage VAE, and two ways of
pythae train on MNIST or Fashion-MNIST with the same encoder and decoder, the same first weights
(the VAE's encoder is one output wider), rate and batch size. After some
epochs the watch stops, a sampler is fitted if there is one, 10,000 images are drawn and kept as
bytes, and one scorer gives all of them the Fréchet classifier distance (FCD) to the test images,
and, where SqueezeNet's ImageNet weights are in torch's cache, the distance by its features (FSD).
What a point costs is the training up to it and the fitting of its own sampler. Contenders run one
after the other, each in a process of its own; what is compared is the time on the processor, which
what else the machine does changes less than the time on the wall.
"""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.quality_points import CONTENDERS, DONE, Protocol, whole_numbers
from benchmarks.quality_table import figure, table
from glf_minimal.data import ImageDataset, load_dataset
from glf_minimal.errors import MetricError
from glf_minimal.evaluation.classifier import load_classifier
from glf_minimal.evaluation.features import extract, image_batches
from glf_minimal.evaluation.frechet import bootstrap_standard_error, frechet_from_features
from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures
from glf_minimal.files import read_json, write_json
from glf_minimal.provenance import made_on
from glf_minimal.training.folder import SNAPSHOT_EPOCHS

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
# pythae's environment. Whatever the arithmetic rests on is of the version that runs here, so that
# it is no part of the difference.
PINS = ("pythae==0.1.2", "pydantic==2.14.3", "cloudpickle==3.1.2", "imageio==2.38.1")
LIKE_HERE = ("torch", "torchvision", "numpy", "scipy", "scikit-learn")


def results_of(data: str, seed: int = 0) -> Path:
    """The file that keeps the results of a data set and a seed."""
    return RESULTS / (f"quality-{data}" + (f"-seed-{seed}" if seed else "") + ".json")


def python_of(environment: Path) -> Path:
    """The Python of pythae's environment, which is made where it is missing or incomplete."""
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    check = [python, "-c", "import pythae, glf_minimal.recipes"]
    if python.exists() and subprocess.run(check, cwd=ROOT, capture_output=True).returncode == 0:
        return python.absolute()
    same = [f"{name}=={version(name).partition('+')[0]}" for name in LIKE_HERE]
    typer.echo(f"making pythae's environment in {environment}: {' '.join((*PINS, *same))}")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *PINS, *same, "-e", ROOT], check=True
    )
    return python.absolute()


def make(name: str, folder: Path, protocol: Protocol, python: str | Path) -> None:
    """Have a contender make its points in ``folder``; one that is done is left alone."""
    if (folder / DONE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    module = f"benchmarks.{CONTENDERS[name].module}"
    command = [python, "-m", module, name, folder.absolute(), json.dumps(asdict(protocol))]
    threads = {
        f"{library}_NUM_THREADS": str(protocol.threads) for library in ("OMP", "MKL", "OPENBLAS")
    }
    environment = os.environ | threads | {"CUDA_VISIBLE_DEVICES": ""}
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        code = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        ).returncode
    if code:
        raise SystemExit(
            f"{name} failed; the end of "
            f"{folder / 'log.txt'}:\n{(folder / 'log.txt').read_text()[-2000:]}"
        )


class Scorer:
    """Distances of images to the test images, the same for everybody.

    Args:
        data: the data set, which has a classifier.
        judge: SqueezeNet; None where its weights are missing.
        test: other test images than the data set's.
    """

    def __init__(
        self,
        data: str,
        judge: SqueezeNetFeatures | None = None,
        test: ImageDataset | None = None,
    ):
        classifier, facts = load_classifier(data)
        self.networks = {"fcd": classifier} | ({"fsd": judge} if judge else {})
        self.facts = {"classifier_sha256": facts["sha256"], "reference": "test, all images"}
        if judge:
            self.facts["squeezenet"] = judge.protocol
        pixels = (test or load_dataset(data, "test")).pixels
        self.real = {name: self.features(name, pixels) for name in self.networks}

    def features(self, name: str, pixels: Tensor) -> Tensor:
        return extract(self.networks[name], image_batches(pixels, 500))

    def __call__(self, pixels: Tensor) -> dict[str, float]:
        """uint8 images (N, C, H, W) -> each distance, and the standard error that comes from the
        draw of the samples alone.
        """
        scores = {}
        for name, real in self.real.items():
            features = self.features(name, pixels)
            scores[name] = frechet_from_features(real, features)
            scores[f"{name}_se"] = bootstrap_standard_error(real, features)
        return scores


def squeezenet() -> SqueezeNetFeatures | None:
    """The second judge, if torch's cache has its weights."""
    try:
        return SqueezeNetFeatures()
    except MetricError as error:
        typer.echo(f"one judge only: {error}")
        return None


def scored_points(folder: Path, scorer: Scorer) -> list[dict]:
    """The points of a contender with their scores; "seconds" are those of the training and of the
    point's sampler.
    """
    points, samplers = [], 0.0
    for path in sorted(folder.glob("epoch-*.json")):
        point = read_json(path)
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
            pixels = file["images"]
        samplers += point["sampler_cpu_seconds"]
        total = {
            unit: point[f"train_{unit}"] + point[f"sampler_{unit}"]
            for unit in ("seconds", "cpu_seconds")
        }
        digest = hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()
        kept = {
            "all_samplers_cpu_seconds": samplers,
            "samples": len(pixels),
            "samples_sha256": digest,
        }
        points.append(point | total | kept | scorer(torch.from_numpy(pixels)))
    return points


def run(names: list[str], protocol: Protocol, work: Path, environment: Path, out: Path) -> dict:
    """Make and score the points that the results do not have yet; the file is written after each
    contender.
    """
    results = read_json(out, "delete it") if out.exists() else {"protocol": None, "contenders": {}}
    settings = json.loads(json.dumps(asdict(protocol)))
    if results["protocol"] not in (None, settings):
        raise SystemExit(
            f"{out} holds results of another protocol; give another --out, or delete it"
        )
    missing = [name for name in names if name not in results["contenders"]]
    if not missing:
        return results
    torch.set_num_threads(protocol.threads)
    scorer = Scorer(protocol.data_name, squeezenet())
    results |= {"protocol": settings, "scorer": scorer.facts}
    results["made_with"] = made_on(torch.device("cpu")) | {
        "cores": os.cpu_count(),
        "note": "other work ran on the same cores, so CPU seconds are compared; "
        "a contender runs alone of the five",
    }
    if "real" not in results:
        train = load_dataset(protocol.data_name, "train").pixels
        chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[
            : protocol.samples
        ]
        results["real"] = scorer(train[chosen]) | {"images": "training images, as many as samples"}
    for name in missing:
        typer.echo(name)
        foreign = CONTENDERS[name].module == "quality_pythae"
        python = python_of(environment) if foreign else sys.executable
        folder = work / protocol.digest / name
        make(name, folder, protocol, python)
        results["contenders"][name] = read_json(folder / DONE) | {
            "points": scored_points(folder, scorer)
        }
        results["contenders"] = {
            n: results["contenders"][n] for n in CONTENDERS if n in results["contenders"]
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, results)
    return results


def main(
    contender: Annotated[
        list[str] | None, typer.Option(help="Only this one; may be repeated.")
    ] = None,
    data: Annotated[str, typer.Option(help="mnist or fashion-mnist.")] = "mnist",
    epochs: Annotated[
        str, typer.Option(help="After which epochs to take a snapshot.")
    ] = "1,2,3,5,7,10",
    budget: Annotated[float, typer.Option(help="CPU seconds of each contender.")] = 480.0,
    limit: Annotated[
        int | None, typer.Option(help="Fewer training images, for a rehearsal.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Images drawn at each point.")] = 10_000,
    threads: Annotated[int, typer.Option(help="Of each contender.")] = 1,
    work: Annotated[Path, typer.Option(help="Folder for runs and samples.")] = Path("runs/quality"),
    environment: Annotated[Path, typer.Option(help="pythae's environment, made if missing.")] = ROOT
    / ".venv-pythae",
    seed: Annotated[int, typer.Option(help="Of the weights, batches and samples.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The results; contenders that are in it are not run again.",
            show_default="benchmarks/results/quality-DATA.json",
        ),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Also write the figure there.")] = None,
) -> None:
    """How many seconds of training until the FCD is this good? GLF, two-stage VAE, and pythae."""
    names = contender or list(CONTENDERS)
    if data not in ("mnist", "fashion-mnist"):
        raise typer.BadParameter(f"data is mnist or fashion-mnist; got {data}")
    wanted = whole_numbers(epochs)
    for what, unknown in {
        f"epochs are some of {SNAPSHOT_EPOCHS}": set(wanted) - set(SNAPSHOT_EPOCHS),
        f"contenders are {', '.join(CONTENDERS)}": set(names) - set(CONTENDERS),
    }.items():
        if unknown:
            raise typer.BadParameter(f"{what}; got {', '.join(map(str, unknown))}")
    protocol = Protocol(
        recipe=f"glf-small-{data}",
        epochs=wanted,
        budget=budget,
        limit=limit,
        samples=samples,
        threads=threads,
        seed=seed,
    )
    results = run(names, protocol, work, environment, out or results_of(data, seed))
    typer.echo(table(results))
    if picture:
        figure(results, picture)


if __name__ == "__main__":
    typer.run(main)
