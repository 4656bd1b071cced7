"""The folder of a run: what a training writes there, and how a stopped one is taken up again.

config.json             every setting, digests of data and model, versions; written first
history.csv             one row an epoch
samples.png             64 samples, always from the same noise (of models that can generate)
checkpoint.safetensors  weights, optimizer state and history, while the training lasts
model.safetensors       weights and history, once it has ended; takes the checkpoint's place
snapshots/epoch-*       weights of some epochs along the way, if ``train.snapshots`` is set
"""

import json
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from glf_minimal.data import picture_folder
from glf_minimal.errors import RunError
from glf_minimal.files import (
    load_weights,
    make_folder,
    plain_state,
    read_json,
    read_tensors,
    user_path,
    write_csv,
    write_json,
    write_tensors,
)
from glf_minimal.history import History
from glf_minimal.models.base import LatentModel, Trainable
from glf_minimal.pictures import save_grid
from glf_minimal.training.checks import watch_pixels
from glf_minimal.training.fingerprint import changes
from glf_minimal.training.settings import FREE_SETTINGS, difference

CONFIG, HISTORY, SAMPLES = "config.json", "history.csv", "samples.png"
CHECKPOINT, WEIGHTS, SNAPSHOTS = "checkpoint.safetensors", "model.safetensors", "snapshots"
SNAPSHOT_EPOCHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200)  # of the last stage


class Run:
    """How far a training has come, and its files if it has a folder.

    Args:
        model: what is trained.
        epochs: when it is finished.
        out: an existing folder that no other run writes to; None keeps everything in memory.
        seed: of the noise behind samples.png.
    """

    def __init__(self, model: Trainable, epochs: int, out: Path | None = None, seed: int = 0):
        self.model = model
        self.epochs = epochs
        self.out = out
        self.seed = seed
        self.history: History = []
        self.last_saved = time.monotonic()

    @property
    def epoch(self) -> int:
        """Epochs done so far."""
        return len(self.history)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch == self.epochs

    def checkpoint(self, optimizers: dict[str, Tensor]) -> None:
        """Write a checkpoint to go on from."""
        tensors = {f"model/{name}": value for name, value in plain_state(self.model).items()}
        tensors |= {f"optimizer/{name}": value for name, value in optimizers.items()}
        write_tensors(self.out / CHECKPOINT, tensors, {"history": self.history})

    def save(self, optimizers: dict[str, Tensor]) -> None:
        """Write a checkpoint and the outputs.

        At the end of the training the weights take the checkpoint's place.
        """
        self.model.eval()
        self.checkpoint(optimizers)  # first, so that a stop from here on loses no epoch
        write_csv(self.out / HISTORY, self.history)
        if isinstance(self.model, LatentModel):
            samples = self.model.sample(64, generator=torch.Generator().manual_seed(self.seed))
            if self.finished:
                watch_pixels(samples)
            save_grid(samples, self.out / SAMPLES)
        if self.finished:  # last, so that nothing is missing where there are weights
            metadata = {"history": self.history}
            write_tensors(self.out / WEIGHTS, plain_state(self.model), metadata)
            self._remove_checkpoint()
        self.last_saved = time.monotonic()

    def snapshot(self) -> None:
        """Keep the weights of this epoch."""
        make_folder(self.out / SNAPSHOTS, parents=False)  # a run's folder that is gone stays so
        path = self.out / SNAPSHOTS / f"epoch-{self.epoch:04d}.safetensors"
        write_tensors(path, plain_state(self.model), {"history": self.history})

    def resume(self) -> dict[str, Tensor]:
        """Go back to the finished weights or to the checkpoint, if there are any.

        Returns what ``save`` got as ``optimizers``.
        """
        paths = [
            self.out / name
            for name in (WEIGHTS, CHECKPOINT)
            if self.out and (self.out / name).exists()
        ]
        if not paths:
            return {}
        path = paths[0]
        tensors, metadata = read_tensors(path)
        optimizers = _under("optimizer/", tensors)
        # A finished fit without gradients has no optimizer either.
        ended = len(metadata.get("history", ())) == self.epochs
        if "history" not in metadata or not (path.name == WEIGHTS or optimizers or ended):
            raise RunError(
                f"{path} has no training history or no optimizer; it was not written by a training"
            )
        load_weights(
            self.model, tensors if path.name == WEIGHTS else _under("model/", tensors), path
        )
        self.history = metadata["history"]
        if path.name == WEIGHTS:
            # which is still there if a kill came between the weights and its removal
            self._remove_checkpoint()
        return optimizers

    def say_that_it_was_finished(self) -> None:
        """Print that weights were loaded and nothing was trained."""
        if self.out:
            print(f"{self.out} holds this training, finished: loaded, nothing was trained")

    def _remove_checkpoint(self) -> None:
        with suppress(OSError):  # beside the weights it is in nobody's way
            (self.out / CHECKPOINT).unlink()


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def read_start(start: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights that a training starts from, and {"path", "sha256"} of the file that they are in.

    ``start`` is a run's folder, whose finished weights are taken or else its checkpoint's, or one
    such file; RunError where there is none.
    """
    path = user_path(start)
    if path.is_dir():
        files = [path / name for name in (WEIGHTS, CHECKPOINT) if (path / name).exists()]
        if not files:
            raise RunError(
                f"start: {path} has neither {WEIGHTS} nor {CHECKPOINT}; give the folder of a run"
            )
        path = files[0]
    tensors, _ = read_tensors(path)
    digest = sha256(path.read_bytes()).hexdigest()
    return _under("model/", tensors) or tensors, {"path": str(path), "sha256": digest}


def checkpoint_epoch(out: Path) -> int:
    """Epochs done in the checkpoint of a run's folder; 0 where there is none."""
    path = out / CHECKPOINT
    return len(read_tensors(path)[1].get("history", [])) if path.exists() else 0


def _require_own(path: Path) -> None:
    """RunError where there is a config.json that no training of this package has written."""
    if not path.exists():
        return
    config = read_json(path)
    if not (isinstance(config, dict) and "made_with" in config):
        raise RunError(f"{path} belongs to something else; give another folder")


def claim_folder(out: Path, settings: dict) -> None:
    """Write ``config.json`` into the folder of a run.

    Where a training has got somewhere already, first make sure that it is the same one.
    """
    if not any((out / name).exists() for name in (CHECKPOINT, WEIGHTS)):
        _require_own(out / CONFIG)
        # There may be snapshots of a training that was stopped before its first checkpoint.
        for path in (out / SNAPSHOTS).glob("epoch-[0-9][0-9][0-9][0-9].safetensors"):
            path.unlink()
        write_json(out / CONFIG, settings)
        return
    config = read_json(out / CONFIG)
    settings = json.loads(json.dumps(settings))
    # The fingerprint is compared in a way of its own.
    differences = difference(config, settings, free=(*FREE_SETTINGS, "fingerprint"))
    # Of folders the digest of their pictures says whether they are the same, wherever they lie.
    moved = [
        name
        for name, (old, new) in differences.items()
        if name.endswith("data.name")  # that of a lender, too
        and None not in (picture_folder(old), picture_folder(new))
    ]
    if "data_sha256" not in differences:
        differences = {name: value for name, value in differences.items() if name not in moved}
    if differences:
        told = "; ".join(
            f"{name} was {old!r}, now {new!r}" for name, (old, new) in list(differences.items())[:4]
        )
        raise RunError(
            f"{out} holds a training with other settings ({told}); give another folder, which with "
            f"start={str(out)!r} (glf train: --start {out}) begins with the weights of this one, "
            "or delete this one"
        )
    # Folders of older versions have no fingerprint.
    if "fingerprint" in config and "fingerprint" in settings:
        changed = changes(config["fingerprint"], settings["fingerprint"])
        if changed:
            raise RunError(
                f"{out} holds a training of another model ({', '.join(changed[:4])} changed); "
                "build the model as it was, give another folder, or delete this one"
            )
    if "data.name" in moved:
        config["data"]["name"] = settings["data"]["name"]
        write_json(out / CONFIG, config)
    made, now = config.get("made_with", {}), settings.get("made_with", {})
    elsewhere = {
        name: now.get(name) for name in ("hardware", "precision") if now.get(name) != made.get(name)
    }
    if elsewhere and not (out / WEIGHTS).exists():  # a training that goes on says where
        made["resumed_with"] = [
            *made.get("resumed_with", []),
            {"hardware": now.get("hardware")} | elsewhere,
        ]
        write_json(out / CONFIG, config | {"made_with": made})
