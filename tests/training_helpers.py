"""Small models and trainings that several test files use."""

import pytest
import torch
from torch import nn

from glf_minimal import (
    GLF,
    Adam,
    Stage,
    TrainConfig,
    Update,
    conv_decoder,
    conv_encoder,
    fit,
    two_sided_flow,
)
from glf_minimal.files import read_json, write_json

QUICK = {
    "batch_size": 64,
    "lr": 2e-3,
    "progress": False,
    "checkpoint_seconds": 0.0,
    "device": "cpu",
}
QUICK |= {"precision": "float32"}

# A program that is ``glf``, with a small table to reproduce.
REPRODUCE = """
from glf_minimal.cli import main
from glf_minimal.reproduction.plan import EXPERIMENTS, Experiment, Row
few = {"samples": 40, "batch_size": 20}
rows = Row("a", "a", "glf-digits", {}, few), Row("b", "b", "glf-digits", {"model.beta": 2.0}, few)
EXPERIMENTS["trial"] = Experiment("trial", "a trial", {"digits": rows}, seeds=1)
main()
"""


def quick(epochs=3, **changes):
    return TrainConfig(epochs=epochs, **{**QUICK, **changes})


class Gives(nn.Module):
    """An encoder or decoder that gives the same output whatever the input."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, _):
        return self.output


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def without_seconds(history):
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in history]


class Interrupted(GLF):
    """A GLF whose training is stopped with Ctrl-C at one step."""

    stop_at = None
    steps = 0

    def losses(self, x):
        self.steps += self.training
        if self.steps == self.stop_at:
            raise KeyboardInterrupt
        return super().losses(x)


def stop_training(model, data, config, out, at=8):
    """Press Ctrl-C at a step of an ``Interrupted`` model's training."""
    model.stop_at = at
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, config, out)


class Noisy(Interrupted):
    """Draws from torch's global random state at every step, as a VAE does."""

    def losses(self, x):
        return super().losses((x + 0.1 * torch.rand_like(x)).clamp(max=1))


class TwoStages(Interrupted):
    """First the auto-encoder, then the flow on frozen latents, and an update of its own within a
    stage.
    """

    def __init__(self, *parts, **arguments):
        super().__init__(*parts, **arguments)
        self.stages = (
            Stage(
                "auto-encoder",
                (Update({"encoder": Adam()}), Update({"decoder": Adam(lr_factor=0.5)})),
            ),
            Stage("flow", (Update({"flow": Adam()}, losses="flow_losses", repeats=2),), share=2),
        )

    def flow_losses(self, x):
        return {"loss": (nll := self.losses(x)["nll"]), "flow_nll": nll}


def conv_glf(seed, model=GLF):
    """Convolutions, batch norm and bf16-free channels_last: everything that has state or a memory
    format.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        shape = (1, 8, 8)
        parts = (
            conv_encoder(shape, 6, 4, 16),
            conv_decoder(shape, 6, 4, 16),
            two_sided_flow(6, 8, 2),
        )
        return model(*parts, flow_adam=Adam(betas=(0.8, 0.9)))


def curve(*fcd):
    """A learning curve as records have it, a point for each of these distances."""
    times = {"seconds": 10.0, "cpu_seconds": 8.0}  # of an epoch
    return [
        {"epoch": e, "fcd": value} | {name: e * time for name, time in times.items()}
        for e, value in enumerate(fcd, start=1)
    ]


def diverge(path):
    """Make of a record that of a training which diverged."""
    write_json(
        path,
        read_json(path) | {"metrics": {"classifier": "diverged: nll is nan at step 3 (epoch 1)"}},
    )
