"""The training loop: it learns, resumes exactly, runs any declared stages, and says what went wrong."""

import copy
import json
import os

import pytest
import torch
from filelock import FileLock
from torch import nn

from glf_minimal import (
    GLF,
    Adam,
    DivergenceError,
    ImageDataset,
    RunError,
    Stage,
    TrainConfig,
    Update,
    conv_decoder,
    conv_encoder,
    fit,
    two_sided_flow,
)
from glf_minimal.config import uses_bf16
from glf_minimal.runs import CHECKPOINT, CONFIG, HISTORY, SAMPLES, WEIGHTS, checkpoint_epoch
from glf_minimal.storage import read_tensors, write_tensors
from glf_minimal.training import stage_lengths

QUICK = {"batch_size": 64, "lr": 2e-3, "progress": False, "checkpoint_seconds": 0.0, "device": "cpu"}
QUICK |= {"precision": "float32"}


def quick(epochs=3, **changes):
    return TrainConfig(epochs=epochs, **{**QUICK, **changes})


@pytest.fixture
def some_digits(digits):
    return ImageDataset(digits.pixels[:320], digits.labels[:320], "some digits")


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def without_seconds(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def test_training_lowers_the_loss_and_reports_it(make_glf, digits):
    model = make_glf()
    x = digits.batch(slice(None))
    untrained_flow = copy.deepcopy(model.flow)
    before = model.losses(x)["recon"].item()
    history = fit(model, digits, quick(8))
    after = {name: value.item() for name, value in model.losses(x).items()}
    assert after["recon"] < 0.5 * before
    assert after["nll"] < -untrained_flow.log_prob(model.encode(x)).mean().item() - 2  # on the same latents
    assert [row["epoch"] for row in history] == list(range(1, 9))
    assert history[-1]["step"] == 8 * (1621 // 64)
    assert history[-1]["recon"] == pytest.approx(after["recon"], rel=0.2)
    for row in history:
        assert row["loss"] == pytest.approx(row["recon"] + row["nll"], abs=1e-4)
    assert not model.training


def test_same_seed_same_weights_and_untouched_random_state(make_glf, some_digits):
    state = torch.random.get_rng_state()
    runs = []
    for seed in (5, 5, 6):
        model = make_glf()
        fit(model, some_digits, quick(seed=seed))
        runs.append(weights(model))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_equal_weights(runs[0], runs[1])
    assert any(not torch.equal(runs[0][name], runs[2][name]) for name in runs[0])


def test_steps_are_adams_with_each_parts_settings(make_glf, some_digits):
    """Six steps on the whole set, in float64, compared with torch's Adam used by hand."""
    x = some_digits.batch(slice(None)).double()
    model, twin = make_glf().double(), make_glf().double().train()
    flow_adam = Adam(lr_factor=0.5, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.01)
    model.stages = (Stage("s", (Update({"encoder": Adam(), "decoder": Adam(), "flow": flow_adam}),)),)
    fit(model, some_digits, quick(6, batch_size=len(some_digits)))
    adam = torch.optim.Adam(
        [
            {"params": [*twin.encoder.parameters(), *twin.decoder.parameters()]},
            {"params": twin.flow.parameters(), "lr": 1e-3, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.01},
        ],
        lr=2e-3,
    )
    for _ in range(6):
        adam.zero_grad()
        twin.losses(x)["loss"].backward()
        adam.step()
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert ours.dtype == torch.float64
        assert torch.allclose(ours, theirs, atol=1e-9), name


class Interrupted(GLF):
    """A GLF whose training is stopped with Ctrl-C at one step."""

    stop_at = None
    steps = 0

    def losses(self, x):
        self.steps += self.training
        if self.steps == self.stop_at:
            raise KeyboardInterrupt
        return super().losses(x)


class Noisy(Interrupted):
    """Draws from torch's global random state at every step, as a VAE does."""

    def losses(self, x):
        return super().losses((x + 0.1 * torch.rand_like(x)).clamp(max=1))


class TwoStages(Interrupted):
    """First the auto-encoder, then the flow on frozen latents, and an update of its own within a stage."""

    def __init__(self, *parts, **arguments):
        super().__init__(*parts, **arguments)
        self.stages = (
            Stage("auto-encoder", (Update({"encoder": Adam()}), Update({"decoder": Adam(lr_factor=0.5)}))),
            Stage("flow", (Update({"flow": Adam()}, losses="flow_losses", repeats=2),), share=2),
        )

    def flow_losses(self, x):
        return {"loss": (nll := self.losses(x)["nll"]), "flow_nll": nll}


def conv_glf(seed, model=GLF):
    """Convolutions, batch norm and bf16-free channels_last: everything that has state or a memory format."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        shape = (1, 8, 8)
        parts = conv_encoder(shape, 6, 4, 16), conv_decoder(shape, 6, 4, 16), two_sided_flow(6, 8, 2)
        return model(*parts, flow_adam=Adam(betas=(0.8, 0.9)))


@pytest.mark.parametrize("schedule", ["constant", "cosine", "halve"])
@pytest.mark.parametrize("kind", [Interrupted, Noisy, TwoStages, "conv"])
@pytest.mark.parametrize("stop_at", [2, 8, 19, 28])
def test_a_stopped_training_resumes_exactly(make_glf, some_digits, tmp_path, kind, schedule, stop_at):
    def make():
        return conv_glf(0, Interrupted) if kind == "conv" else make_glf(model=kind)

    config = quick(6, schedule=schedule, halve_every=2)  # 5 steps an epoch
    unbroken, stopped, resumed = make(), make(), make()
    expected = fit(unbroken, some_digits, config)
    stopped.stop_at = stop_at
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, some_digits, config, tmp_path)
    assert not (tmp_path / WEIGHTS).exists()
    if kind != TwoStages:  # there the steps are counted otherwise
        assert checkpoint_epoch(tmp_path) == (stop_at - 1) // 5
    history = fit(resumed, some_digits, config, tmp_path)
    assert_equal_weights(weights(resumed), weights(unbroken))
    assert without_seconds(history) == without_seconds(expected)
    assert_equal_weights(read_tensors(tmp_path / WEIGHTS)[0], weights(unbroken))


def test_the_files_of_a_run(make_glf, some_digits, tmp_path):
    config = quick()
    history = fit(make_glf(), some_digits, config, tmp_path / "a" / "run", settings={"note": "mine"})
    folder = tmp_path / "a" / "run"
    assert {f.name for f in folder.iterdir()} - {".lock"} == {CONFIG, HISTORY, SAMPLES, WEIGHTS}
    content = json.loads((folder / CONFIG).read_text())
    assert content["note"] == "mine"
    assert content["train"]["epochs"] == 3
    assert content["data_sha256"] == some_digits.digest
    assert (folder / HISTORY).read_text().startswith("stage,epoch,step,lr,seconds,loss,recon,nll")
    assert len((folder / HISTORY).read_text().splitlines()) == 4
    loaded = make_glf(seed=1)
    assert fit(loaded, some_digits, config, folder, settings={"note": "mine"}) == history  # nothing left to do
    assert_equal_weights(weights(loaded), read_tensors(folder / WEIGHTS)[0])


def test_a_folder_of_another_training_is_refused(make_glf, some_digits, digits, tmp_path):
    fit(make_glf(), some_digits, quick(), tmp_path, {"note": (1, 2)})
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    for model, data, config, settings, words in [
        (make_glf(), some_digits, quick(epochs=4), {"note": (1, 2)}, r"train\.epochs was 3, now 4"),
        (make_glf(), some_digits, quick(), {"note": (1, 3)}, r"note was \[1, 2\], now \[1, 3\]"),
        (make_glf(), digits, quick(), {"note": (1, 2)}, "data_sha256 was"),
        (make_glf(beta=9.0), some_digits, quick(), {"note": (1, 2)}, r"built\.beta was 1\.0, now 9\.0"),
        (make_glf(stop_gradient=False), some_digits, quick(), {"note": (1, 2)}, "stop_gradient was True, now False"),
    ]:
        with pytest.raises(RunError, match=words):
            fit(model, data, config, tmp_path, settings)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before
    fit(make_glf(), some_digits, quick(progress=True), tmp_path, {"note": (1, 2)})  # this setting may change


def test_weights_of_another_model_are_refused(make_glf, some_digits, tmp_path):
    fit(make_glf(), some_digits, quick(), tmp_path)
    other = conv_glf(0)
    before = weights(other)
    with pytest.raises(RunError, match="holds the weights of another model"):
        fit(other, some_digits, quick(), tmp_path)
    assert_equal_weights(weights(other), before)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 64], ids=["empty", "text", "huge header"])
def test_a_damaged_checkpoint_is_refused(make_glf, some_digits, tmp_path, content):
    model = make_glf(model=Interrupted)
    model.stop_at = 8
    with pytest.raises(KeyboardInterrupt):
        fit(model, some_digits, quick(), tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(RunError, match="not an undamaged safetensors file"):
        fit(make_glf(model=Interrupted), some_digits, quick(), tmp_path)


def test_pickled_code_is_refused_and_not_run(make_glf, some_digits, tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    model = make_glf(model=Interrupted)
    model.stop_at = 8
    with pytest.raises(KeyboardInterrupt):
        fit(model, some_digits, quick(), tmp_path)
    torch.save(Malicious(), tmp_path / CHECKPOINT)
    with pytest.raises(RunError, match=r"pickled \.pt or \.ckpt files are refused"):
        fit(make_glf(model=Interrupted), some_digits, quick(), tmp_path)
    assert not (tmp_path / "owned").exists()


def test_foreign_tensors_are_refused(make_glf, some_digits, tmp_path):
    fit(make_glf(), some_digits, quick(), tmp_path)
    write_tensors(tmp_path / WEIGHTS, make_glf(seed=2).state_dict())  # weights that fit, but no history
    model = make_glf()
    before = weights(model)
    with pytest.raises(RunError, match="no training history"):
        fit(model, some_digits, quick(), tmp_path)
    assert_equal_weights(weights(model), before)


def test_out_must_be_a_folder_of_ones_own(make_glf, some_digits, tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(RunError, match="is a file"):
        fit(make_glf(), some_digits, quick(), tmp_path / "file")
    with pytest.raises(RunError, match=r"cannot make the folder .*Not a directory"):
        fit(make_glf(), some_digits, quick(), tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "precious"
    (tmp_path / "busy").mkdir()
    with FileLock(tmp_path / "busy" / ".lock"), pytest.raises(RunError, match="another run is writing"):
        fit(make_glf(), some_digits, quick(), tmp_path / "busy")


def test_misfits_show_before_anything_is_written(make_glf, tmp_path):
    images = torch.rand(10, 1, 8, 8)
    with pytest.raises(ValueError, match=r"encoder: cannot take .*float32 input of shape \(2, 1, 9, 9\)"):
        fit(make_glf(), torch.rand(10, 1, 9, 9), quick(), tmp_path / "run")
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        fit(make_glf(), 255 * images, quick(), tmp_path / "run")
    unbounded = make_glf()
    unbounded.decoder = nn.Sequential(nn.Linear(6, 64), nn.Unflatten(1, (1, 8, 8)))
    with pytest.raises(ValueError, match=r"decoder: expected pixels in \[0, 1\].*end it with a sigmoid"):
        fit(unbounded, images, quick(), tmp_path / "run")
    frozen = make_glf().requires_grad_(False)
    with pytest.raises(ValueError, match="no parameters to train; are they all frozen"):
        fit(frozen, images, quick())
    with pytest.raises(ValueError, match="batch norm, which needs at least 2 images"):
        fit(conv_glf(0), images[:1], quick(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Exploding(GLF):
    """A GLF whose likelihood turns NaN at one step."""

    steps, nan_at = 0, 13

    def losses(self, x):
        terms = super().losses(x)
        self.steps += self.training
        if self.steps == self.nan_at:
            terms["nll"] = terms["nll"] * float("nan")
            terms["loss"] = terms["recon"] + terms["nll"]
        return terms


def test_nan_stops_with_the_step_the_term_and_the_way_back(make_glf, some_digits, tmp_path):
    with pytest.raises(DivergenceError, match=r"nll is nan at step 13 \(epoch 3\); last good checkpoint: .*epoch 2"):
        fit(make_glf(model=Exploding), some_digits, quick(6), tmp_path)
    tensors, _ = read_tensors(tmp_path / CHECKPOINT)
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    with pytest.raises(DivergenceError, match="no checkpoint was written yet"):
        fit(make_glf(model=Exploding), some_digits, quick(6))


def test_infinite_weights_are_not_checkpointed(make_glf, some_digits, tmp_path):
    """The last step of an epoch may spoil the weights after a loss that was still finite."""

    class Spoiled(GLF):
        steps = 0

        def losses(self, x):
            self.steps += self.training
            terms = super().losses(x)
            if self.steps == 10:
                terms["loss"] = terms["loss"] + 0 * (self.flow.layers[0].move_second.nets[0][0].bias * 0).sqrt().sum()
            return terms

    with pytest.raises(DivergenceError, match=r"the weights flow\.layers\.0.* are not finite after step 10"):
        fit(make_glf(model=Spoiled), some_digits, quick(6), tmp_path)
    assert checkpoint_epoch(tmp_path) == 1


def test_stages_and_updates_move_only_their_parts(make_glf, some_digits):
    class Recorder(TwoStages):
        def __init__(self, *parts, **arguments):
            super().__init__(*parts, **arguments)
            self.modes = []

        def losses(self, x):
            self.modes.append((self.encoder.training, self.decoder.training, self.flow.training))
            return super().losses(x)

    model = make_glf(model=Recorder)
    start = weights(model)
    history = fit(model, some_digits, quick(3))
    assert [row["stage"] for row in history] == ["auto-encoder", "flow", "flow"]
    assert "flow_nll" in history[1]
    assert "flow_nll" not in history[0]
    trained = model.modes[2:]  # after the first look at each of the two loss methods
    assert set(trained[:10]) == {(True, True, False)}
    assert set(trained[10:]) == {(False, False, True)}
    assert len(trained) == 5 * 2 + 10 * 2

    class FlowOnly(TwoStages):
        def __init__(self, *parts, **arguments):
            super().__init__(*parts, **arguments)
            self.stages = self.stages[1:]

    model = make_glf(model=FlowOnly)
    fit(model, some_digits, quick(1))
    for name, tensor in weights(model).items():
        assert torch.equal(tensor, start[name]) == (not name.startswith("flow") or name.endswith("order")), name


def test_a_pretrained_encoder_can_be_frozen(some_digits):
    """Its batch norm, too, stays as it was."""
    model = conv_glf(0)
    fit(model, some_digits, quick(1))
    model.encoder.requires_grad_(False)
    before = weights(model)
    fit(model, some_digits, quick(1))
    for name, tensor in weights(model).items():
        if name.startswith("encoder"):
            assert torch.equal(tensor, before[name]), name
    assert any(not torch.equal(t, before[name]) for name, t in weights(model).items() if name.startswith("flow"))


def test_a_stage_of_several_updates_reports_each(make_glf, some_digits):
    class Alternating(TwoStages):
        def __init__(self, *parts, **arguments):
            super().__init__(*parts, **arguments)
            flow = Update({"flow": Adam()}, losses="flow_losses")
            self.stages = (Stage("both", (Update({"encoder": Adam(), "decoder": Adam()}), flow)),)

    (row,) = fit(make_glf(model=Alternating), some_digits, quick(1))
    assert {"losses.loss", "losses.recon", "flow_losses.loss", "flow_losses.flow_nll"} <= row.keys()
    assert row["losses.loss"] != row["flow_losses.loss"]


def test_models_with_other_kinds_of_weights_train(some_digits):
    """Only convolution weights have a channels_last form; a reader's model may have others."""
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, 1)), nn.Conv3d(1, 2, (1, 4, 4), (1, 4, 4)), nn.Flatten(), nn.Linear(8, 6)
    )
    decoder = nn.Sequential(nn.Linear(6, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
    fit(GLF(encoder, decoder, two_sided_flow(6, 8)), some_digits, quick(1))


def test_a_stopped_start_does_not_claim_the_folder(make_glf, some_digits, tmp_path):
    with pytest.raises(DivergenceError):
        fit(make_glf(), some_digits, quick(lr=1e30), tmp_path)
    fit(make_glf(), some_digits, quick(), tmp_path)
    assert json.loads((tmp_path / CONFIG).read_text())["train"]["lr"] == 2e-3


def test_tied_parts_share_their_parameters(make_glf, some_digits, tmp_path):
    """A reader's auto-encoder may reuse a parameter; it is moved once, and saved and resumed."""

    class Tied(Interrupted):
        def __init__(self, encoder, decoder, flow, **arguments):
            decoder[0].register_parameter("shared", encoder[1].bias)
            super().__init__(encoder, decoder, flow, **arguments)

    unbroken, stopped, resumed = (make_glf(model=Tied) for _ in range(3))
    fit(unbroken, some_digits, quick())
    stopped.stop_at = 8
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, some_digits, quick(), tmp_path)
    fit(resumed, some_digits, quick(), tmp_path)
    assert_equal_weights(weights(resumed), weights(unbroken))
    assert resumed.decoder[0].shared is resumed.encoder[1].bias


@pytest.mark.parametrize(
    ("shares", "epochs", "expected"),
    [((1,), 7, [7]), ((1, 1), 7, [4, 3]), ((1, 4), 10, [2, 8]), ((1, 1000, 1), 5, [1, 3, 1]), ((5, 0.01), 2, [1, 1])],
)
def test_stages_divide_the_epochs(shares, epochs, expected):
    stages = tuple(Stage("s", (Update({"encoder": Adam()}),), share=share) for share in shares)
    assert stage_lengths(stages, epochs) == expected


def test_fewer_epochs_than_stages(make_glf, some_digits):
    with pytest.raises(ValueError, match="trains in 2 stages"):
        fit(make_glf(model=TwoStages), some_digits, quick(1))


def test_schedules():
    cosine, halve = TrainConfig(schedule="cosine"), TrainConfig(schedule="halve", halve_every=10)
    assert [cosine.lr_factor(0, p) for p in (0, 0.5)] == [1, pytest.approx(0.5)]
    assert [halve.lr_factor(epoch, 0) for epoch in (0, 9, 10, 25)] == [1, 1, 0.5, 0.25]
    assert TrainConfig().lr_factor(99, 0.9) == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": -1.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"seed": 2**32},
        {"schedule": "step"},
        {"precision": "int8"},
    ],
)
def test_bad_settings_are_named(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        TrainConfig(**bad)


def test_a_device_that_is_not_there(make_glf, some_digits):
    for device in ("gpu", "meta"):
        with pytest.raises(ValueError, match="device: expected 'auto'"):
            fit(make_glf(), some_digits, quick(device=device))
    with pytest.raises(ValueError, match="torch has no device 'cuda:77' here"):
        fit(make_glf(), some_digits, quick(device="cuda:77"))


def test_bf16_can_be_forced_and_auto_asks_the_hardware(make_glf, some_digits):
    history = fit(make_glf(), some_digits, quick(2, precision="bf16"))
    exact = fit(make_glf(), some_digits, quick(2))
    assert history[-1]["loss"] == pytest.approx(exact[-1]["loss"], rel=0.05)
    assert history[-1]["loss"] != exact[-1]["loss"]
    assert uses_bf16("bf16", torch.device("cpu"))
    assert not uses_bf16("float32", torch.device("cpu"))


def test_a_batch_larger_than_the_data(make_glf):
    history = fit(make_glf(), torch.rand(10, 1, 8, 8), quick(2))
    assert history[-1]["step"] == 2
