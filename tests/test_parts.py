"""What flows are made of, and what the parts that every model shares take and refuse."""

import pytest
import torch
from torch import nn
from training_helpers import Gives

from glf_minimal import one_sided_flow, two_sided_flow
from glf_minimal.flows import AffineCoupling, Conditioner, Permutation, draw_noise
from glf_minimal.models import AE, GLF, VAE, Adam, LatentModel, Stage
from glf_minimal.models.base import image_dtype, require_flow, unwrapped

DIM = 7


def widths(conditioner):
    """Of each network of a conditioner: inputs, hidden layers, outputs."""
    layers = ([m for m in net if isinstance(m, nn.Linear)] for net in conditioner.nets)
    return [[linear[0].in_features, *(layer.out_features for layer in linear)] for linear in layers]


def test_the_slide_decks_flow():
    """Four one-sided sigmoid couplings, one network each with two hidden layers of 200;
    permutations between them.
    """
    flow = one_sided_flow(DIM)
    assert [type(layer) for layer in flow.layers] == [
        AffineCoupling,
        *[Permutation, AffineCoupling] * 3,
    ]
    for coupling in flow.layers[::2]:
        assert (coupling.scale, coupling.move_first) == ("sigmoid", None)
        assert widths(coupling.move_second) == [[4, 200, 200, 6]]
    for block, permutation in enumerate(flow.layers[1::2], start=1):
        assert torch.equal(permutation.order, Permutation(DIM, block).order)
    for block, permutation in enumerate(one_sided_flow(DIM, seed=5).layers[1::2], start=1):
        assert torch.equal(permutation.order, Permutation(DIM, 5 + block).order)
    assert widths(one_sided_flow(DIM, 9, 2, depth=3).layers[-1].move_second) == [[4, 9, 9, 9, 6]]


def test_the_authors_flow():
    """Four two-sided soft-clamped couplings, two networks a half with two hidden layers of 64,
    permutations.
    """
    flow = two_sided_flow(DIM)
    assert [type(layer) for layer in flow.layers] == [AffineCoupling, Permutation] * 4
    for coupling in flow.layers[::2]:
        assert coupling.scale == "soft-clamp"
        assert widths(coupling.move_first) == [[3, 64, 64, 4]] * 2
        assert widths(coupling.move_second) == [[4, 64, 64, 3]] * 2
        assert sum(isinstance(module, nn.BatchNorm1d) for module in coupling.modules()) == 8
    for seed in (0, 5):
        for block, permutation in enumerate(two_sided_flow(DIM, seed=seed).layers[1::2]):
            assert torch.equal(permutation.order, Permutation(DIM, seed + block).order)
    one_sided = two_sided_flow(DIM, 8, 3, both_sides=False, batch_norm=False)
    assert len(one_sided.layers) == 6
    assert all(coupling.move_first is None for coupling in one_sided.layers[::2])
    assert not [module for module in one_sided.modules() if isinstance(module, nn.BatchNorm1d)]


def test_what_parts_are_where_nothing_is_asked_of_them():
    assert AffineCoupling(DIM, 8).move_first is not None
    assert torch.equal(Permutation(DIM).order, Permutation(DIM, 0).order)
    assert torch.equal(two_sided_flow(DIM).layers[1].order, Permutation(DIM, 0).order)
    assert LatentModel(nn.Identity(), nn.Identity(), DIM).beta == 1


@pytest.mark.parametrize("share", [0, -1.0])
def test_a_stage_needs_time(share):
    with pytest.raises(
        ValueError, match=rf"^share: expected more than 0 for the stage 'first', got {share}$"
    ):
        Stage("first", (), share)


def test_permutations_differ_by_default():
    orders = [tuple(layer.order.tolist()) for layer in two_sided_flow(30).layers[1::2]]
    assert len(set(orders)) == 4


def test_noise():
    like = torch.zeros(0, dtype=torch.float64)
    given, default = (
        draw_noise(3, 2, like, *t, generator=torch.Generator().manual_seed(0)) for t in ((1.0,), ())
    )
    assert torch.equal(given, default)
    assert default.dtype == torch.float64
    cool = draw_noise(3, 2, like, 0.5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(cool, 0.5 * default)


def test_noise_is_where_it_is_needed_and_never_in_half_precision():
    like = torch.empty(0, dtype=torch.bfloat16, device="meta")
    for generator in (None, torch.Generator().manual_seed(0)):
        noise = draw_noise(3, 2, like, generator=generator)
        assert (noise.device.type, noise.dtype) == ("meta", torch.float32)


def test_conditioners():
    """Two hidden layers unless told otherwise; outputs in the type of the input."""
    joint = Conditioner(4, 3, 8, joint=True, batch_norm=False)
    assert widths(joint) == [[4, 8, 8, 6]]
    assert widths(Conditioner(4, 3, 8, joint=False, batch_norm=False)) == [[4, 8, 8, 3]] * 2
    assert widths(AffineCoupling(DIM, 8).move_second) == [[4, 8, 8, 3]] * 2
    scale, shift = joint(torch.ones(2, 4, dtype=torch.float64))
    assert scale.shape == shift.shape == (2, 3)
    assert scale.dtype == shift.dtype == torch.float64


@pytest.mark.parametrize("betas", [(0.0, 0.0), (0.999, 0.0), (0.0, 0.9999)])
def test_rates_of_forgetting_that_adam_takes(betas):
    assert Adam(betas=betas).betas == betas


@pytest.mark.parametrize(
    "wrong",
    [
        *({"betas": betas} for betas in ((1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, -0.1))),
        *({"lr_factor": 0.0}, {"eps": 0.0}, {"weight_decay": -1.0}),
        *({"lr_factor": "1"}, {"betas": (None, 0.9)}, {"betas": 0.9}),
    ],
)
def test_settings_that_adam_does_not_take(wrong):
    with pytest.raises(
        ValueError,
        match=r"^expected lr_factor > 0, betas in \[0, 1\), eps > 0 and weight_decay >= 0",
    ):
        Adam(**wrong)


@pytest.mark.parametrize(
    ("model", "expected", "wanted"), [(AE, (2, 3), "latent_dim"), (VAE, (2, 6), "2 * latent_dim")]
)
@pytest.mark.parametrize("given", [(2, 4), (3, 3), (3, 6), (2, 3, 1), (2, 6, 1), (6,)])
def test_latents_of_another_shape(model, expected, wanted, given):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        model(Gives(torch.zeros(given)), nn.Identity(), 3).encode(torch.zeros(2, 1, 2, 2))
    assert str(caught.value) == (
        f"encoder: expected latents of shape {expected} for 2 images, got {given}; make its "
        f"output as long as {wanted}"
    )


@pytest.mark.parametrize(
    ("told", "reason"),
    [("the reason\nand the rest of the story", "the reason"), ("", "RuntimeError")],
)
def test_an_encoder_that_cannot_take_the_images(told, reason):
    class Picky(nn.Module):
        def forward(self, _):
            raise RuntimeError(told)

    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        AE(Picky(), nn.Identity(), 3).encode(torch.zeros(2, 4))
    given = "torch.float32 input of shape (2, 4)"
    assert str(caught.value) == f"encoder: cannot take {given} ({reason})"


def test_half_precision_within_and_single_precision_outside():
    """Latents in half precision come as float32; the loss has the precision of the images."""
    x = torch.rand(2, 1, 2, 2)
    model = AE(
        Gives(torch.ones(2, 3, dtype=torch.bfloat16)), Gives(torch.rand(2, 1, 2, 2).bfloat16()), 3
    )
    assert model.encode(x).dtype == torch.float32
    assert model.reconstruction_loss(model.encode(x), x).dtype == torch.float32
    assert model.reconstruction_loss(model.encode(x), x.double()).dtype == torch.float64
    assert torch.equal(model.draw_latents(x), model.encode(x))
    model.decoder = Gives(torch.rand(2, 1, 2, 2, dtype=torch.float64))
    assert model.reconstruction_loss(model.encode(x), x).dtype == torch.float32


def test_what_is_taken_for_a_model():
    model = AE(nn.Identity(), nn.Identity(), DIM)
    compiled = nn.Module()
    compiled._orig_mod = model
    assert unwrapped(model) is unwrapped(compiled) is model
    for wrong, message in (
        (
            nn.DataParallel(model),
            "model: expected the model itself, got a DataParallel around it; give its 'module', "
            "and start several processes with torchrun to train on several GPUs",
        ),
        (
            nn.Linear(2, 2),
            "model: expected a Trainable, such as GLF(encoder, decoder, flow); got a Linear",
        ),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
            unwrapped(wrong)
        assert str(caught.value) == message


def test_what_is_taken_for_a_flow():
    """Anything that has all four: its length, an inverse, a density and samples."""

    class Own:
        dim = inverse = log_prob = sample = None

    require_flow(Own(), "flow")
    expected = "flow: expected a Flow, such as two_sided_flow(dim=16); got "
    wrong = {16: "16", "two-sided": "a str"}
    for missing in ("dim", "log_prob", "sample"):
        named = dict.fromkeys({"dim", "inverse", "log_prob", "sample"} - {missing})
        wrong[type("Own", (), named)()] = "a Own, which is a layer of one: give Flow([layer])"
    wrong[type("Own", (), dict.fromkeys(("dim", "log_prob", "sample")))()] = "a Own"
    for flow, got in wrong.items():
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
            require_flow(flow, "flow")
        assert str(caught.value) == expected + got
    for given, told in (({"prior": 1}, "prior"), ({"posterior_flow": 1}, "posterior_flow")):
        with pytest.raises(ValueError, match=f"^{told}: expected a Flow"):
            VAE(nn.Identity(), nn.Identity(), DIM, **given)
    with pytest.raises(ValueError, match=r"^flow: expected a Flow"):
        GLF(nn.Identity(), nn.Identity(), 16)


def test_images_are_double_where_all_weights_are():
    single, double = nn.Linear(2, 2), nn.Linear(2, 2).double()
    for parts, expected in (
        ((single,), torch.float32),
        ((double,), torch.float64),
        ((single, double), torch.float32),
        ((nn.Linear(2, 2).bfloat16(),), torch.float32),
    ):
        assert image_dtype(nn.Sequential(*parts)) == expected


def test_a_reconstruction_is_described_by_its_name():
    class Own(nn.Module):
        def forward(self, x_hat, x):
            return (x_hat - x).square().sum()

    def squared(x_hat, x):
        return (x_hat - x).square().sum()

    for loss, name in ((squared, "squared"), (Own(), "Own")):
        model = AE(nn.Identity(), nn.Identity(), DIM, reconstruction=loss)
        assert model.describe()["reconstruction"] == name
        assert set(model.auto_encoder_parts()) == {"encoder", "decoder"}  # it has no weights


def test_what_a_model_does_not_say_is_named():
    class Own(LatentModel):
        pass

    model = Own(nn.Identity(), nn.Identity(), DIM)
    for call, missing in (
        (model.losses, "does not define its losses"),
        (model.sample_latents, "does not say how to sample its latents"),
    ):
        with pytest.raises(NotImplementedError) as caught:
            call(1)
        assert str(caught.value) == f"Own {missing}"


def test_images_of_another_shape():
    model = AE(nn.Identity(), Gives(torch.zeros(2, 5)), 4)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        model.reconstruction_loss(torch.zeros(2, 4), torch.zeros(2, 4))
    assert str(caught.value) == (
        "decoder: expected images of shape (2, 4) like the data, got (2, 5)"
    )
