"""A training watches that its flow can be inverted: in the history, with one warning, and without
changing anything.
"""

import warnings

import pytest
import torch
from extremes import FAMILIES, FLOW_FAMILIES, build, pictures
from extremes import train as train_tiny
from torch import nn
from training_helpers import (
    assert_equal_weights,
    conv_glf,
    quick,
    stop_training,
    weights,
    without_seconds,
)

from glf_minimal import GLF, VAE, fit, mlp_decoder, mlp_encoder, one_sided_flow, two_sided_flow
from glf_minimal.files import read_csv, write_csv
from glf_minimal.history import loss_terms
from glf_minimal.plotting import training_curves
from glf_minimal.training.checks import MAX_INVERSE_ERROR, InexactInverse, watch_inverse
from glf_minimal.training.folder import HISTORY

SHAPE = (1, 8, 8)
SLOW = quick(4, lr=1e-5)  # the flow stays what it was: far from invertible in float32 at this scale


class Wide(nn.Module):
    """An encoder whose latents have this spread in every dimension."""

    def __init__(self, encoder, scale):
        super().__init__()
        self.encoder, self.scale = encoder, scale

    def forward(self, x):
        z = self.encoder(x)
        return self.scale * (z - z.mean(0)) / z.std(0)


def wide_glf(scale, flow=one_sided_flow, model=GLF):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        encoder, decoder = mlp_encoder(SHAPE, 20, (200,)), mlp_decoder(SHAPE, 20, (16,))
        return model(Wide(encoder, scale), decoder, flow(20))


def caught(call):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = call()
    return result, [str(w.message) for w in found if w.category is InexactInverse]


def test_a_sigmoid_flow_on_latents_of_scale_300_is_warned_of_once(some_digits):
    history, messages = caught(lambda: fit(wide_glf(300.0), some_digits, SLOW))
    assert all(row["inverse_error"] > MAX_INVERSE_ERROR for row in history)
    (message,) = messages
    assert message.startswith("epoch 1: the flow's inverse misses its latents, of up to ")
    remedies = (
        "train with a smaller lr, or call model.flow.double() before fit, or take a flow with "
        "scale='soft-clamp', such as two_sided_flow"
    )
    assert message.endswith(f"; {remedies}")
    assert "\n" not in message


def test_the_advice_can_be_followed(some_digits):
    """A flow in float64 and one with a soft clamp are exact where the warned of one was not; who
    has taken one of the two is not told to take it.
    """
    model = wide_glf(300.0)
    model.flow.double()
    for better in (model, wide_glf(300.0, two_sided_flow)):
        history, messages = caught(lambda better=better: fit(better, some_digits, SLOW))
        assert messages == []
        assert all(row["inverse_error"] < 1e-5 for row in history)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glf_minimal.training.checks.MAX_INVERSE_ERROR", 0.0)
        for made, advised in ((model, "soft-clamp"), (wide_glf(1.0, two_sided_flow), "double")):
            (message,) = caught(
                lambda made=made: watch_inverse(made, some_digits.batch(slice(9)), [])
            )[1]
            others = {"soft-clamp", "double"} - {advised}
            assert advised in message
            assert not any(other in message for other in others)


def test_the_remedies_that_it_names_help(some_digits):
    for model in (wide_glf(300.0, two_sided_flow), wide_glf(300.0).double()):
        history, messages = caught(lambda model=model: fit(model, some_digits, quick(4)))
        assert not messages
        assert max(row["inverse_error"] for row in history) < 1e-4


def test_ordinary_trainings_have_exact_inverses(make_glf, some_digits):
    for model in (make_glf(), conv_glf(0), make_glf(stop_gradient=False)):
        history, messages = caught(lambda model=model: fit(model, some_digits, quick(6)))
        assert not messages
        assert all(0 < row["inverse_error"] < 1e-5 for row in history)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_model_with_a_flow_says_it_and_no_other(family):
    history = train_tiny(build(family), pictures())
    assert all(("inverse_error" in row) == (family in FLOW_FAMILIES) for row in history)


def test_the_largest_of_a_models_flows_counts():
    """A prior and a posterior with a flow each, one of them exact."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        flows = two_sided_flow(12).eval(), one_sided_flow(12).eval()
    model = VAE(mlp_encoder(SHAPE, 24, (8,)), mlp_decoder(SHAPE, 12, (8,)), 12, *flows)
    z = 300 * torch.randn(32, 12, generator=torch.Generator().manual_seed(0))
    model.draw_latents = lambda x: z
    errors = [flow.inverse_error(z) for flow in flows]
    assert errors[0] < MAX_INVERSE_ERROR < errors[1]
    with pytest.warns(InexactInverse):
        assert watch_inverse(model, pictures(8).pixels, []) == {"inverse_error": errors[1]}


@pytest.mark.parametrize("family", FLOW_FAMILIES)
def test_watching_changes_nothing(family):
    """Neither weights nor batch statistics, nor any random state, nor gradients."""
    model = build(family, networks="small").train()
    before, state = weights(model), torch.random.get_rng_state()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    watch_inverse(model, pictures(8).pixels, [])
    assert_equal_weights(weights(model), before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all((parameter.grad == 1).all() for parameter in model.parameters())


def test_trainings_end_as_they_did_without_it(some_digits, monkeypatch):
    watched, blind = conv_glf(0), conv_glf(0)
    histories = [fit(watched, some_digits, quick(3))]
    monkeypatch.setattr("glf_minimal.training.loop.watch_inverse", lambda *_, **__: {})
    histories.append(fit(blind, some_digits, quick(3)))
    assert_equal_weights(weights(watched), weights(blind))
    kept = [
        {name: value for name, value in row.items() if name != "inverse_error"}
        for row in histories[0]
    ]
    assert without_seconds(kept) == without_seconds(histories[1])


class Stopped(GLF):
    """Stopped with Ctrl-C at a step."""

    stop_at, steps = None, 0

    def losses(self, x):
        self.steps += self.training
        if self.steps == self.stop_at:
            raise KeyboardInterrupt
        return super().losses(x)


def test_a_resumed_training_has_the_same_history_and_is_not_warned_again(some_digits, tmp_path):
    whole, first = caught(lambda: fit(wide_glf(300.0), some_digits, SLOW))
    with pytest.warns(InexactInverse):
        stop_training(wide_glf(300.0, model=Stopped), some_digits, SLOW, tmp_path, at=13)
    resumed, again = caught(
        lambda: fit(wide_glf(300.0, model=Stopped), some_digits, SLOW, tmp_path)
    )
    assert len(first) == 1
    assert again == []
    assert without_seconds(resumed) == without_seconds(whole)
    assert read_csv(tmp_path / HISTORY) == resumed


def test_histories_of_before_are_still_read(some_digits, tmp_path):
    """Rows without the new column, alone and before rows that have it; it is no loss term of a plot
    or a table.
    """
    history = fit(wide_glf(1.0), some_digits, quick(2))
    old = [
        {name: value for name, value in row.items() if name != "inverse_error"} for row in history
    ]
    for rows in (old, [old[0], history[1]], history):
        write_csv(tmp_path / HISTORY, rows)
        assert read_csv(tmp_path / HISTORY) == rows
        assert loss_terms(rows) == ["loss", "recon", "nll"]
        assert len(training_curves(rows).axes) == 3
    model, x = wide_glf(300.0), some_digits.batch(slice(32))
    with pytest.warns(InexactInverse, match="epoch 3"):  # a run that older code began
        watch_inverse(model, x, old)


def test_an_infinite_error_is_a_warning_and_stays_readable(tmp_path, some_digits):
    model = wide_glf(1.0)
    model.draw_latents = lambda x: torch.full((len(x), 20), float("nan"))
    with pytest.warns(InexactInverse):
        row = watch_inverse(model, some_digits.batch(slice(8)), [])
    write_csv(tmp_path / HISTORY, [row])
    assert read_csv(tmp_path / HISTORY) == [{"inverse_error": float("inf")}]


def test_a_flow_on_something_else_than_the_latents_is_left_alone():
    class Two(GLF):
        def __init__(self, *parts):
            super().__init__(*parts)
            self.other = one_sided_flow(64, 8)

    assert len(wide_glf(1.0, model=Two).flows()) == 1


def test_it_costs_little(digits):
    """One look without gradients for an epoch of 25 steps, in passes through the encoder."""
    calls = {"encoder": 0}

    class Counting(nn.Module):
        def __init__(self, part):
            super().__init__()
            self.part = part

        def forward(self, x):
            calls["encoder"] += not torch.is_grad_enabled()
            return self.part(x)

    model = wide_glf(1.0)
    model.encoder = Counting(model.encoder)
    fit(model, digits, quick(3))
    assert calls["encoder"] == 3  # one an epoch, beside the 25 with gradients


def test_the_command_line_says_it_in_one_line(glf, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "glf_minimal.training.checks.MAX_INVERSE_ERROR", 0.0
    )  # which every flow misses by a rounding error
    command = [
        "train",
        "--recipe",
        "glf-digits",
        "--out",
        tmp_path / "run",
        "--root",
        tmp_path,
        "--no-progress",
    ]
    command += ["--device", "cpu", "--epochs", "2"]
    code, _, told = glf(*command)
    assert code == 0
    lines = [line for line in told.splitlines() if "inverse" in line]
    assert all(line.startswith("glf: epoch 1: the flow's inverse misses") for line in lines)
    assert len(lines) == 1
    assert "UserWarning" not in told
