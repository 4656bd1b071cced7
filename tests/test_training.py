"""The training loop: it learns, runs any declared stages, and says what went wrong."""

import copy

import pytest
import torch
from torch import nn
from training_helpers import (
    Interrupted,
    TwoStages,
    assert_equal_weights,
    conv_glf,
    quick,
    stop_training,
    weights,
)

from glf_minimal import (
    GLF,
    Adam,
    DivergenceError,
    FlowAE,
    Stage,
    Update,
    fit,
    mlp_decoder,
    mlp_encoder,
    one_sided_flow,
    two_sided_flow,
)
from glf_minimal.files import read_tensors
from glf_minimal.models import GLANN, LatentGenerator, LatentModel
from glf_minimal.training.folder import CHECKPOINT, checkpoint_epoch
from glf_minimal.training.loop import stage_lengths
from glf_minimal.training.settings import uses_bf16


def test_training_lowers_the_loss_and_reports_it(make_glf, digits):
    model = make_glf()
    x = digits.batch(slice(None))
    untrained_flow = copy.deepcopy(model.flow)
    before = model.losses(x)["recon"].item()
    history = fit(model, digits, quick(8))
    after = {name: value.item() for name, value in model.losses(x).items()}
    assert after["recon"] < 0.5 * before
    assert (
        after["nll"] < -untrained_flow.log_prob(model.encode(x)).mean().item() - 2
    )  # on the same latents
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
    model.stages = (
        Stage("s", (Update({"encoder": Adam(), "decoder": Adam(), "flow": flow_adam}),)),
    )
    fit(model, some_digits, quick(6, batch_size=len(some_digits)))
    adam = torch.optim.Adam(
        [
            {"params": [*twin.encoder.parameters(), *twin.decoder.parameters()]},
            {
                "params": twin.flow.parameters(),
                "lr": 1e-3,
                "betas": (0.8, 0.9),
                "eps": 1e-6,
                "weight_decay": 0.01,
            },
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


def test_misfits_show_before_anything_is_written(make_glf, tmp_path):
    images = torch.rand(10, 1, 8, 8)
    with pytest.raises(
        ValueError, match=r"encoder: cannot take .*float32 input of shape \(2, 1, 9, 9\)"
    ):
        fit(make_glf(), torch.rand(10, 1, 9, 9), quick(), tmp_path / "run")
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        fit(make_glf(), 255 * images, quick(), tmp_path / "run")
    unbounded = make_glf()
    unbounded.decoder = nn.Sequential(nn.Linear(6, 64), nn.Unflatten(1, (1, 8, 8)))
    with pytest.raises(
        ValueError, match=r"decoder: expected pixels in \[0, 1\].*end it with a sigmoid"
    ):
        fit(unbounded, images, quick(), tmp_path / "run")
    frozen = make_glf().requires_grad_(False)
    with pytest.raises(ValueError, match="no parameters to train; are they all frozen"):
        fit(frozen, images, quick())
    with pytest.raises(ValueError, match="batch norm, which needs at least 2 images"):
        fit(conv_glf(0), images[:1], quick(), tmp_path / "run")
    priorless = make_glf()
    priorless.sample_latents = lambda *_: LatentModel.sample_latents(nn.Module(), 2)
    with pytest.raises(NotImplementedError, match="does not say how to sample its latents"):
        fit(priorless, images, quick(), tmp_path / "run")
    assert (
        len(fit(priorless, images, quick())) == quick().epochs
    )  # without a folder nothing is drawn
    few = GLANN(9, mlp_decoder((1, 8, 8), 6), 6, LatentGenerator(6))
    with pytest.raises(ValueError, match="is the model made for as many images as there are"):
        fit(few, images, quick(2), tmp_path / "run")
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
    with pytest.raises(
        DivergenceError, match=r"nll is nan at step 13 \(epoch 3\); last good checkpoint: .*epoch 2"
    ):
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
                terms["loss"] = (
                    terms["loss"]
                    + 0 * (self.flow.layers[0].move_second.nets[0][0].bias * 0).sqrt().sum()
                )
            return terms

    with pytest.raises(
        DivergenceError, match=r"the weights flow\.layers\.0.* are not finite after step 10"
    ):
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
        assert torch.equal(tensor, start[name]) == (
            not name.startswith("flow") or name.endswith("order")
        ), name


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
    assert any(
        not torch.equal(t, before[name])
        for name, t in weights(model).items()
        if name.startswith("flow")
    )


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
        nn.Unflatten(1, (1, 1)),
        nn.Conv3d(1, 2, (1, 4, 4), (1, 4, 4)),
        nn.Flatten(),
        nn.Linear(8, 6),
    )
    decoder = nn.Sequential(nn.Linear(6, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
    fit(GLF(encoder, decoder, two_sided_flow(6, 8)), some_digits, quick(1))


def test_tied_parts_share_their_parameters(make_glf, some_digits, tmp_path):
    """A reader's auto-encoder may reuse a parameter; it is moved once, and saved and resumed."""

    class Tied(Interrupted):
        def __init__(self, encoder, decoder, flow, **arguments):
            decoder[0].register_parameter("shared", encoder[1].bias)
            super().__init__(encoder, decoder, flow, **arguments)

    unbroken, stopped, resumed = (make_glf(model=Tied) for _ in range(3))
    fit(unbroken, some_digits, quick())
    stop_training(stopped, some_digits, quick(), tmp_path)
    fit(resumed, some_digits, quick(), tmp_path)
    assert_equal_weights(weights(resumed), weights(unbroken))
    assert resumed.decoder[0].shared is resumed.encoder[1].bias


@pytest.mark.parametrize(
    ("shares", "epochs", "expected"),
    [
        ((1,), 7, [7]),
        ((1, 1), 7, [4, 3]),
        ((1, 4), 10, [2, 8]),
        ((1, 1000, 1), 5, [1, 3, 1]),
        ((5, 0.01), 2, [1, 1]),
    ],
)
def test_stages_divide_the_epochs(shares, epochs, expected):
    stages = tuple(Stage("s", (Update({"encoder": Adam()}),), share=share) for share in shares)
    assert stage_lengths(stages, epochs) == expected


def test_fewer_epochs_than_stages(make_glf, some_digits):
    with pytest.raises(ValueError, match="trains in 2 stages"):
        fit(make_glf(model=TwoStages), some_digits, quick(1))


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


def test_snapshots_are_the_weights_of_their_epochs_and_change_nothing(digits, tmp_path):
    """Epochs 1, 2, 3 of the last stage and the last one; the training is the same."""

    def train(out, **settings):
        torch.manual_seed(0)
        shape = digits.image_shape
        networks = mlp_encoder(shape, 4, (16,)), mlp_decoder(shape, 4, (16,))
        model = FlowAE(*networks, one_sided_flow(4, hidden=16, blocks=2), share=0.5)
        fit(model, digits, quick(8, **settings), out)
        return read_tensors(out / "model.safetensors")[0]

    plain = train(tmp_path / "plain")
    with_snapshots = train(tmp_path / "with", snapshots=True)
    assert all(torch.equal(plain[name], with_snapshots[name]) for name in plain)
    assert not (tmp_path / "plain" / "snapshots").exists()
    paths = sorted((tmp_path / "with" / "snapshots").iterdir())
    assert [path.name for path in paths] == [
        f"epoch-000{epoch}.safetensors" for epoch in (5, 6, 7, 8)
    ]
    for path, epoch in zip(paths, (5, 6, 7, 8), strict=True):
        tensors, metadata = read_tensors(path)
        assert len(metadata["history"]) == epoch
        same = all(torch.equal(tensors[name], plain[name]) for name in plain)
        assert same == (epoch == 8)
