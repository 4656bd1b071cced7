"""The one training loop, for every model of this package and for the reader's own."""

import sys
import time
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from glf_minimal.data import ImageDataset
from glf_minimal.errors import DivergenceError, GLFError, RecipeError, first_line
from glf_minimal.files import load_weights, locked_folder, user_path
from glf_minimal.history import History
from glf_minimal.models.base import LatentModel, Trainable, image_dtype, unwrapped
from glf_minimal.models.stages import Stage
from glf_minimal.provenance import made_on
from glf_minimal.training.batches import batch_of, fit_latents, kept_codes
from glf_minimal.training.checks import (
    check_batch_norm,
    check_number_of_images,
    check_weights,
    require_json,
    watch_inverse,
)
from glf_minimal.training.fingerprint import fingerprint
from glf_minimal.training.folder import (
    CHECKPOINT,
    SNAPSHOT_EPOCHS,
    Run,
    checkpoint_epoch,
    claim_folder,
    read_start,
)
from glf_minimal.training.parallel import Team, join, shared_batch_norm
from glf_minimal.training.settings import TrainConfig, uses_bf16
from glf_minimal.training.stepper import Stepper, losses_of, trained_parameters

STEPS_BETWEEN_CHECKS = 100  # how often the losses, kept on the device, are looked at for NaN


def stage_lengths(stages: tuple[Stage, ...], epochs: int) -> list[int]:
    """Divide ``epochs`` among the stages by their shares, at least one each."""
    if epochs < len(stages):
        raise RecipeError(
            f"epochs: this model trains in {len(stages)} stages and needs an epoch each; got "
            f"{epochs}"
        )
    total = sum(stage.share for stage in stages)
    ends = np.cumsum([stage.share for stage in stages]) / total * epochs
    bounds = [0]
    for index, end in enumerate(ends):
        bounds.append(min(max(round(end), bounds[-1] + 1), epochs - (len(stages) - 1 - index)))
    return np.diff(bounds).tolist()


def fit(
    model: Trainable,
    data: ImageDataset | Tensor,
    config: TrainConfig = TrainConfig(),
    out: str | Path | None = None,
    settings: dict | None = None,
    start: str | Path | None = None,
) -> History:
    """Train a model; return its history, one row an epoch with the mean of every loss term.

    With ``out``, the folder gets the files that ``training.folder`` lists. A training that was
    stopped goes on from its checkpoint when ``fit`` is called again with the same arguments, and
    ends with the weights it would have had without the stop (on the same machine). One that is
    finished is loaded and returned, and a printed line says so. Another model, data or setting than
    the folder's is an error.

    The model is left on the training's device, in eval mode, and without gradients. Nothing else of
    its modules changes but the values of their weights and statistics. In train mode are the parts
    that are being trained, and within them every module but those whose parameters are all frozen:
    batch norm of a frozen module does not move. torch's global random state is left as it was.
    Started by ``torchrun`` or ``accelerate launch``, the processes train one model together
    (``training.parallel``).

    Args:
        model: any ``LatentModel``, or anything else that is ``Trainable``. Of a compiled one the
            model inside is trained.
        data: a data set, or a tensor of images (N, C, H, W), float in [0, 1] or uint8.
        config: how long and how.
        out: folder for the files; None writes none.
        settings: what else describes this training (JSON-able), such as the model's arguments; kept
            in ``config.json``, and a stopped training only goes on with the same.
        start: begin with the weights of another training of this model, not with those that it has:
            the folder of a run, finished or not, or a file of weights or checkpoint in one. All
            else begins anew: optimizers, stages, schedule.

    Raises:
        DivergenceError: a loss or a weight is NaN or infinite; says at which step, and what to go
            back to.
        RunError: ``out`` is a file, is in use, or holds another training; ``start`` has no weights
            that fit.
        RecipeError: a setting that this machine or this model cannot have.
        ValueError: the model's parts do not fit each other or the images.
    """
    model = unwrapped(model)
    data = data if isinstance(data, ImageDataset) else ImageDataset(data)
    if not isinstance(config, TrainConfig):
        raise RecipeError(
            f"config: expected a TrainConfig, such as TrainConfig(epochs=50), got {config!r}"
        )
    require_json(settings)
    team, device = join(config.device)
    # Whatever does not fit shows here, before a file is written.
    stage_lengths(model.stages, config.epochs)
    check_batch_norm(model, config.batch_size, len(data))
    check_number_of_images(model, len(data))
    check_weights(model)
    for stage in model.stages:
        for update in stage.updates:
            trained_parameters(model, update)
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.random.fork_rng(range(torch.cuda.device_count())),
        ):
            source = {}
            if start is not None:
                tensors, source = read_start(start)
                load_weights(model, tensors, Path(source["path"]))
            model.to(device).eval()
            data = data.to(device)
            if data.origin and team.rank == 0:  # so that nobody trains on pictures unknowingly
                print(f"training on {data.origin}", file=sys.stderr)
            ends = torch.tensor([0, len(data) - 1], device=device)
            _try_out(model, data, ends, writes=out is not None)
            facts = describe(model, settings or {}, data, config, device, team.size)
            if source:
                facts["start"] = source
            with shared_batch_norm(model, team, device):
                return _train(model, data, config, out, facts, device, team)
    finally:
        model.eval()
        model.zero_grad(set_to_none=True)


def _train(
    model: Trainable,
    data: ImageDataset,
    config: TrainConfig,
    out: str | Path | None,
    facts: dict,
    device: torch.device,
    team: Team,
) -> History:
    """Train in memory, or in the folder ``out`` if it is free for a training of these facts."""
    if out is None:
        return _Loop(Run(model, config.epochs), data, config, device, team).run_stages()
    out = user_path(out)
    with locked_folder(out) if team.rank == 0 else nullcontext(out) as folder:
        if team.rank == 0:
            claim_folder(folder, facts)
        team.wait()  # until the first one has seen that the folder is theirs
        run = Run(model, config.epochs, folder, config.seed)
        return _Loop(run, data, config, device, team).run_stages()


def _try_out(model: Trainable, data: ImageDataset, index: Tensor, writes: bool) -> None:
    """Run every loss, and see that the decoder gives pixels.

    Misfits then show before a file is written.

    The files have samples in them, so a model that ``writes`` must be able to draw some.
    """
    batch = batch_of(data, index, image_dtype(model))
    for update in {
        update.losses: update for stage in model.stages for update in stage.updates
    }.values():
        try:
            losses_of(model, update, batch)
        except RuntimeError as error:
            if isinstance(error, GLFError | NotImplementedError | torch.OutOfMemoryError):
                raise
            raise ValueError(
                f"{type(model).__name__}.{update.losses}: {first_line(error)}"
            ) from error
        except IndexError as error:
            told = f"{type(model).__name__}.{update.losses}: {error}"
            raise ValueError(
                f"{told}; is the model made for as many images as there are?"
            ) from error
    if isinstance(model, LatentModel):
        low, high = (bound.item() for bound in model.reconstruct(batch["images"]).aminmax())
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"decoder: expected pixels in [0, 1], got {low:.3g} to {high:.3g}; end it with a "
                "sigmoid"
            )
        if writes:
            with suppress(DivergenceError):  # before it is trained it may
                model.sample(2, generator=torch.Generator())


def describe(
    model: Trainable,
    settings: dict,
    data: ImageDataset,
    config: TrainConfig,
    device: torch.device,
    processes: int = 1,
) -> dict:
    """The content of ``config.json``."""
    made_with = made_on(device)
    made_with["precision"] = "bf16" if uses_bf16(config.precision, device) else "float32"
    train = asdict(config) | ({"processes": processes} if processes > 1 else {})
    facts = {"train": train, "image_shape": list(data.image_shape), "data_sha256": data.digest}
    return {
        "data": {"name": data.name},
        **settings,
        "built": model.describe(),
        "fingerprint": fingerprint(model),
        **facts,
        "made_with": made_with,
    }


def _states(steppers: list[Stepper]) -> dict[str, Tensor]:
    """The state of all optimizers of a stage, as a checkpoint keeps it."""
    return {
        f"{index}/{name}": tensor
        for index, stepper in enumerate(steppers)
        for name, tensor in stepper.state().items()
    }


class _Loop:
    """The loop itself: stages, epochs, steps."""

    def __init__(
        self, run: Run, data: ImageDataset, config: TrainConfig, device: torch.device, team: Team
    ):
        self.run = run
        self.model = run.model
        self.data = data
        self.config = config
        self.device = device
        self.team = team
        # Of all processes together.
        self.batch_size = team.size * min(config.batch_size, len(data) // team.size)
        self.steps = len(data) // self.batch_size  # an epoch
        self.bf16 = uses_bf16(config.precision, device)
        self.dtype = image_dtype(run.model)
        self.codes: Tensor | None = None  # of all images, in a stage that works on them

    def run_stages(self) -> History:
        """All stages, from where the run's folder says that the training stands."""
        run = self.run
        stages = self.model.stages
        steps = self.steps
        optimizers = run.resume()
        if self.team.rank > 0:
            run.out = None  # the first process writes for all
        if run.finished and optimizers:
            # It was stopped after the last epoch, before the weights were written.
            self.team.wait()  # until all have read the checkpoint
            if run.out:
                fit_latents(self.model, self.data)
                if self.config.snapshots:
                    run.snapshot()
                run.save(optimizers)
        elif run.finished:
            run.say_that_it_was_finished()
            return run.history
        first = 0
        hidden = not self.config.progress or self.team.rank > 0
        with tqdm(
            total=run.epochs * steps, initial=run.epoch * steps, unit="step", disable=hidden
        ) as bar:
            for stage, length in zip(stages, stage_lengths(stages, run.epochs), strict=True):
                if run.epoch < first + length:
                    steppers = self._steppers(stage)
                    self.codes = kept_codes(self.model, stage, self.data)
                    if run.epoch > first:  # the checkpoint is from within this stage
                        for index, stepper in enumerate(steppers):
                            stepper.load(optimizers, f"{index}/")
                    while run.epoch < first + length:
                        run.history.append(
                            self._epoch(stage.name, run.epoch - first, length, steppers, bar)
                        )
                        self._keep(
                            steppers,
                            epochs_of_last_stage=run.epoch - first if stage is stages[-1] else 0,
                        )
                first += length
        return run.history

    def _keep(self, steppers: list[Stepper], epochs_of_last_stage: int) -> None:
        """After an epoch, write what there is to write."""
        run, config = self.run, self.config
        snapshot = (
            config.snapshots
            and run.out
            and (run.finished or epochs_of_last_stage in SNAPSHOT_EPOCHS)
        )
        if run.finished and run.out and getattr(self.model, "fits_latents", False):
            # So that a stop while the latents are fitted loses no epoch.
            run.checkpoint(_states(steppers))
        if run.finished or snapshot:
            fit_latents(self.model, self.data, self.codes)
        if snapshot:
            run.snapshot()
        if run.out and (
            run.finished or time.monotonic() - run.last_saved >= config.checkpoint_seconds
        ):
            run.save(_states(steppers))

    def _steppers(self, stage: Stage) -> list[Stepper]:
        if len(stage.updates) == 1:
            return [Stepper(self.model, stage.updates[0], prefix="")]
        # Where several updates take turns, each has a "loss" of its own.
        return [Stepper(self.model, update, prefix=f"{update.losses}.") for update in stage.updates]

    def _epoch(
        self, stage: str, done: int, length: int, steppers: list[Stepper], bar: tqdm
    ) -> dict:
        """One pass over the data; gives its row of the history.

        It comes after ``done`` of the ``length`` epochs of a stage.
        """
        started, computed = time.perf_counter(), time.process_time()
        epoch, config = self.run.epoch, self.config
        self._set_modes(steppers)
        # Each epoch's random numbers depend on the seed and the epoch alone, so a resumed run
        # repeats them.
        seed = int(np.random.SeedSequence((config.seed, epoch)).generate_state(1)[0])
        torch.manual_seed(seed + self.team.rank)
        order = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(seed)).to(
            self.device
        )
        trace: list[Tensor] = []
        for step in range(self.steps):
            lr = config.lr * config.lr_factor(done, (done + step / self.steps) / length)
            index = self.team.share(order[step * self.batch_size : (step + 1) * self.batch_size])
            codes = None if self.codes is None else self.codes[index]
            batch = batch_of(self.data, index, self.dtype, codes)
            terms: dict[str, Tensor] = {}
            for stepper in steppers:
                terms |= stepper.step(batch, lr, self.bf16, self.team)
            trace.append(torch.stack([value.float() for value in terms.values()]))
            self.team.average([trace[-1]])
            if (step + 1) % STEPS_BETWEEN_CHECKS == 0 or step + 1 == self.steps:
                self._check_finite(list(terms), trace, epoch * self.steps + step + 1)
            bar.update()
        means = dict(zip(terms, torch.stack(trace).double().mean(0).tolist(), strict=True))
        bar.set_postfix(
            {"epoch": epoch + 1} | {name: f"{mean:.2f}" for name, mean in means.items()}
        )
        row = {"stage": stage, "epoch": epoch + 1, "step": (epoch + 1) * self.steps, "lr": lr}
        # The second time leaves out what else the machine did meanwhile; two busy cores count
        # twice.
        times = {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - computed,
        }
        watched = watch_inverse(
            self.model, batch["images"], self.run.history, warn=self.team.rank == 0
        )
        return row | times | means | watched

    def _set_modes(self, steppers: list[Stepper]) -> None:
        """Train mode for the parts that are trained, eval mode for what is frozen.

        Frozen may be whole parts or modules within them.
        """
        trained = {name.split(".")[0] for stepper in steppers for name in stepper.parameters}
        self.model.train()
        for name, part in self.model.named_children():
            part.train(name in trained)
            for module in part.modules():
                parameters = list(module.parameters())
                if parameters and not any(p.requires_grad for p in parameters):
                    module.eval()

    def _check_finite(self, terms: list[str], trace: list[Tensor], step: int) -> None:
        """Raise if one of the latest losses, or a weight, is NaN or infinite.

        ``step`` is how many steps are done.
        """
        recent = torch.stack(trace[-STEPS_BETWEEN_CHECKS:])
        bad = (~recent.isfinite()).nonzero().tolist()
        if bad:
            row = bad[0][0]
            # A term says more than the sum that it spoils.
            column = min((c for r, c in bad if r == row), key=lambda c: terms[c].endswith("loss"))
            value = recent[row, column].item()
            what = f"{terms[column]} is {value} at step {step - len(recent) + row + 1}"
        else:
            broken = [name for name, p in self.model.named_parameters() if not p.isfinite().all()]
            if not broken:
                return
            what = f"the weights {broken[0]} are not finite after step {step}"
        out = self.run.out
        epoch = checkpoint_epoch(self.run.out) if self.run.out else 0
        advice = "no checkpoint was written yet; try a smaller lr"
        if epoch:
            advice = (
                f"last good checkpoint: {out / CHECKPOINT} (epoch {epoch}); a new folder begins "
                f"with it by start={str(out)!r} (glf train: --start {out}); try a smaller lr"
            )
        raise DivergenceError(f"{what} (epoch {self.run.epoch + 1}); {advice}")
