"""Models of latents on an auto-encoder that another run has trained.

The stop-gradient keeps GLF's flow away from its auto-encoder, so one auto-encoder serves GLF, a
Gaussian mixture, and the second stages of FlowAE and AdvAE alike: it is trained once and lent.
"""

import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from glf_minimal.data import ImageDataset
from glf_minimal.errors import RecipeError, RunError
from glf_minimal.files import locked_folder, make_folder
from glf_minimal.history import History, total_times
from glf_minimal.models.base import LatentModel
from glf_minimal.recipes.recipe import GROUPS
from glf_minimal.training.batches import fit_latents
from glf_minimal.training.folder import WEIGHTS, Run, claim_folder

if TYPE_CHECKING:
    from glf_minimal.recipes.run import FinishedRun

AUTO_ENCODER = ("encoder", "decoder")


def borrow(model: LatentModel, owner: "FinishedRun", data: ImageDataset) -> dict:
    """Give a model the frozen auto-encoder of a finished run; leave it the stages that use it.

    A flow that the model trains in the same stage as its auto-encoder comes from the run, too.

    Args:
        model: gets the weights of ``owner``.
        owner: the run.
        data: what ``model`` is trained on; the run must have had the same.

    Returns:
        What the borrower's ``config.json`` says of the lender: the settings of its training, the
        digest of its weights and how long it trained.

    Raises:
        RunError: the lender was trained on other images.
        RecipeError: the auto-encoder does not fit, or the model has nothing else to train.
    """
    if owner.config["data_sha256"] != data.digest:
        raise RunError(
            f"{owner.folder} was trained on other images than this training has; lend the "
            "auto-encoder of a run on the same data, held-out images included"
        )
    of_auto_encoder = [
        stage
        for stage in model.stages
        if any(name in update.parts for update in stage.updates for name in AUTO_ENCODER)
    ]
    trained_there = [name for stage in of_auto_encoder for u in stage.updates for name in u.parts]
    for name in dict.fromkeys((*AUTO_ENCODER, *trained_there)):
        part = getattr(model, name)
        try:
            part.load_state_dict(getattr(owner.model, name).state_dict())
        except (AttributeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise RecipeError(f"{name}: that of {owner.folder} does not fit ({reason})") from error
        part.requires_grad_(False)
    model.stages = tuple(stage for stage in model.stages if stage not in of_auto_encoder)
    if not model.stages and not model.fits_latents:
        kind = type(model).__name__
        raise RecipeError(f"{kind} has nothing to train on the auto-encoder of another run")
    return {
        "recipe": owner.config["recipe"],
        "settings": {group: owner.config[group] for group in GROUPS},
        "weights_sha256": sha256((owner.folder / WEIGHTS).read_bytes()).hexdigest(),
        **total_times(owner.history),
    }


def fit_latents_alone(model: LatentModel, data: ImageDataset, out: Path, config: dict) -> History:
    """Fit what no gradient teaches the model, such as a mixture, to the latents of all images.

    Writes the files of a finished run, whose history has one row without losses.
    """
    if data.origin:
        print(f"fitting to {data.origin}", file=sys.stderr)
    make_folder(out)
    with locked_folder(out) as folder:
        claim_folder(folder, config)
        run = Run(model, epochs=1, out=folder, seed=config["train"]["seed"])
        run.resume()
        if run.finished:
            if (folder / WEIGHTS).exists():
                run.say_that_it_was_finished()
            else:  # a kill came between the checkpoint and the weights
                run.save({})
            return run.history
        started = time.perf_counter()
        computed = time.process_time()
        fit_latents(model, data)
        times = {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - computed,
        }
        run.history.append({"stage": "latents", "epoch": 1, "step": 0, "lr": 0.0} | times)
        run.save({})
        return run.history
