"""Every model through the same few calls: shapes, gradients, terms, samples, files, a little
training.
"""

import json

import pytest
import torch

from glf_minimal import TrainConfig, fit
from glf_minimal.losses import PerceptualLoss
from glf_minimal.models import LatentModel
from glf_minimal.recipes.build import build_model
from glf_minimal.recipes.catalogue import SYSTEMS, get_recipe
from glf_minimal.recipes.run import load_run, train_recipe
from glf_minimal.training.loop import stage_lengths

SHAPE = (1, 8, 8)
TINY = {
    "networks.latent_dim": 6,
    "networks.hidden": [32, 32],
    "data.name": "digits",
    "train.batch_size": 64,
    "train.lr": 2e-3,
    "train.progress": False,
    "train.device": "cpu",
}
# The term that says how well the model does at what its last stage is for.
LAST_TERM = {
    "advae": "critic_losses.loss",
    "advae-gan": "critic_losses.loss",
    "aae": "auto_encoder_losses.recon",
    "wae-gan": "losses.recon",
    "glann": "losses.recon",
    "glann-perceptual": "losses.recon",
}


def recipe_of(system, family="slides"):
    """A recipe of the catalogue, small enough for 8x8 digits."""
    recipe = get_recipe(f"{system}-{family}-mnist")
    changes = dict(TINY)
    if "images" in recipe.model:
        changes["model.images"] = 1621
    for name in recipe.model:
        if name.endswith("hidden"):
            changes[f"model.{name}"] = [32]
    if recipe.model["reconstruction"] == "vgg16":
        changes["model.reconstruction"] = "l1"
    return recipe.with_settings(changes)


def make(system, seed=0):
    return build_model(json.loads(json.dumps(recipe_of(system).settings())), SHAPE, seed)


def arguments(model, update, digits, n=16):
    index = torch.arange(n)
    batch = {"images": digits.batch(index), "index": index, "labels": digits.labels[index]}
    if "codes" in update.inputs:
        with torch.no_grad():
            batch["codes"] = model.codes(batch["images"])
    return [batch[name] for name in update.inputs]


def updates(model):
    return [update for stage in model.stages for update in stage.updates]


@pytest.fixture(params=SYSTEMS)
def system(request):
    return request.param


def test_shapes_and_ranges(system, digits):
    model, x = make(system).eval(), digits.batch(slice(5))
    z = model.encode(x)
    assert z.shape == (5, 6)
    assert model.decode(z).shape == model.reconstruct(x).shape == x.shape
    first, second = (model.sample(7, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == (7, *SHAPE)
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert 0 <= first.min() <= first.max() <= 1
    coldest = model.sample(4, temperature=0, generator=torch.Generator().manual_seed(1))
    if system not in ("ae-gmm", "rae-gmm"):  # a mixture still has its several centres
        assert torch.allclose(coldest, coldest[:1].expand_as(coldest), atol=1e-6)
    if hasattr(model.prior, "log_prob"):
        assert model.prior.log_prob(z).shape == (5,)


def test_each_loss_reaches_exactly_its_parts(system, digits):
    """Every parameter of an update's parts gets a gradient from its loss, and every part is in some
    update.
    """
    model = make(system).train()
    for update in updates(model):
        loss = getattr(model, update.losses)(*arguments(model, update, digits))["loss"]
        for part in update.parts:
            named = dict(getattr(model, part).named_parameters())
            gradients = torch.autograd.grad(
                loss, list(named.values()), allow_unused=True, retain_graph=True
            )
            for name, gradient in zip(named, gradients, strict=True):
                assert gradient is not None, f"{update.losses} does not reach {part}.{name}"
                assert gradient.isfinite().all()
    trained = {part for update in updates(model) for part in update.parts}
    with_parameters = {name for name, part in model.named_children() if list(part.parameters())}
    assert trained == with_parameters


def test_losses_in_half_precision(system, digits):
    """Under bf16 autocast, as on GPUs, every loss is finite, near what it is in float32, and has
    gradients.
    """
    model = make(system).eval()
    for update in updates(model):
        values = []
        for enabled in (False, True):
            torch.manual_seed(0)
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                values.append(
                    getattr(model, update.losses)(*arguments(model, update, digits))["loss"]
                )
        parameters = [p for part in update.parts for p in getattr(model, part).parameters()]
        gradients = torch.autograd.grad(values[1], parameters, allow_unused=True)
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        assert values[1].item() == pytest.approx(values[0].item(), rel=0.1, abs=0.1)


# Which parts of each model a loss leaves alone although it passes through them.
STOPPED = [
    ("glf", "losses", "nll", {"encoder", "decoder"}),
    ("flowae", "flow_losses", "loss", {"encoder", "decoder"}),
    ("advae", "critic_losses", "loss", {"encoder", "decoder", "prior"}),
    ("advae", "generator_losses", "loss", {"encoder", "decoder"}),
    ("aae", "critic_losses", "loss", {"encoder", "decoder"}),
    ("aae", "encoder_losses", "loss", {"decoder"}),
    ("aae", "auto_encoder_losses", "loss", {"critic"}),
    ("wae-gan", "critic_losses", "loss", {"encoder", "decoder"}),
    ("wae-mmd", "losses", "mmd", {"decoder"}),
    ("two-stage-vae", "second_losses", "loss", {"encoder", "decoder", "reconstruction"}),
    ("vae-flow-prior", "losses", "nll", {"decoder"}),
    ("vae-flow-prior", "losses", "entropy", {"decoder", "prior"}),
    ("glann", "losses", "loss", {"prior"}),
    ("glann", "imle_losses", "loss", {"decoder", "latents"}),
]


@pytest.mark.parametrize(("system", "losses", "term", "untouched"), STOPPED)
def test_losses_stop_where_they_should(system, losses, term, untouched, digits):
    model = make(system).train()
    update = next(update for update in updates(model) if update.losses == losses)
    value = getattr(model, losses)(*arguments(model, update, digits))[term]
    for part in untouched:
        gradients = torch.autograd.grad(
            value, list(getattr(model, part).parameters()), allow_unused=True, retain_graph=True
        )
        assert all(gradient is None for gradient in gradients), part


def test_training_moves_exactly_the_parts_of_the_stage(system, digits):
    """One step of each stage: its parts move, all other weights stay what they were, batch norm's
    too.
    """
    model = make(system)
    first = [{name: t.clone() for name, t in model.state_dict().items()}]
    for index, stage in enumerate(model.stages):
        model.stages = (stage,)
        fit(model, digits, TrainConfig(epochs=1, batch_size=512, progress=False, device="cpu"))
        after = {name: t.clone() for name, t in model.state_dict().items()}
        parts = {part for update in stage.updates for part in update.parts}
        for name, tensor in after.items():
            moved = not torch.equal(tensor, first[-1][name])
            if name.split(".")[0] not in parts:
                assert not moved or (
                    model.fits_latents and name.startswith(("prior.", "noise."))
                ), f"{name} moved in stage {index}"
        for part in parts:
            for name, parameter in getattr(model, part).named_parameters():
                # A constant added to the scores of a WGAN's critic cancels, so its last bias rests.
                if parameter.numel() > 1:
                    assert not torch.equal(after[f"{part}.{name}"], first[-1][f"{part}.{name}"]), (
                        f"{part}.{name}"
                    )
        first.append(after)


# loss = the sum of coefficient * term.
SUMS = {
    "glf": {"losses": {"recon": 3.0, "nll": 1}},
    "regularized-glf": {"losses": {"recon": 3.0, "nll": 1}},
    "vae": {"losses": {"recon": 3.0, "kl": 1}},
    "vae-flow-prior": {"losses": {"recon": 3.0, "nll": 1, "entropy": -1}},
    "vae-flow-posterior": {"losses": {"recon": 3.0, "nll": 1, "entropy": -1}},
    "flowae": {"auto_encoder_losses": {"recon": 3.0}, "flow_losses": {"nll": 1}},
    "advae": {
        "auto_encoder_losses": {"recon": 3.0},
        "critic_losses": {"real": 1, "fake": 1, "penalty": 10},
        "generator_losses": {"fooling": 1},
    },
    "advae-gan": {"critic_losses": {"real": 1, "fake": 1}},
    "aae": {"auto_encoder_losses": {"recon": 3.0}, "critic_losses": {"real": 1, "fake": 1}},
    "wae-gan": {"losses": {"recon": 3.0, "fooling": 10}},
    "wae-mmd": {"losses": {"recon": 3.0, "mmd": 10}},
    "two-stage-vae": {
        "losses": {"recon": 3.0, "nll": 1, "entropy": -1},
        "second_losses": {"recon": 1, "kl": 1},
    },
    "rae-gmm": {"losses": {"recon": 3.0, "penalty": 0.01}},
    "glann": {"losses": {"recon": 3.0}, "imle_losses": {"distance": 1}},
}


@pytest.mark.parametrize("system", SUMS)
def test_the_loss_is_the_sum_of_its_terms(system, digits):
    model = make(system).eval()
    model.beta = 3.0
    for losses, coefficients in SUMS[system].items():
        update = next(u for u in updates(model) if u.losses == losses)
        terms = getattr(model, losses)(*arguments(model, update, digits))
        total = sum(c * terms[name] for name, c in coefficients.items())
        assert terms["loss"].item() == pytest.approx(total.item(), rel=1e-5)
        assert all(term.ndim == 0 and term.isfinite() for term in terms.values())


def test_a_run_trains_saves_and_comes_back(system, data_root, tmp_path):
    """Two epochs a stage lower what the stage minimizes; the files give the same model again."""
    recipe = recipe_of(system)
    stages = make(system).stages
    epochs = 2 * len(stages)
    while min(stage_lengths(stages, epochs)) < 2:
        epochs += 1
    history = train_recipe(recipe.with_settings({"train.epochs": epochs}), tmp_path, data_root)
    for stage in stages:
        rows = [row for row in history if row["stage"] == stage.name]
        term = "loss" if len(stage.updates) == 1 else LAST_TERM[system]
        assert rows[-1][term] < rows[0][term]
    model, config = load_run(tmp_path)
    again, _ = load_run(tmp_path)
    assert config["recipe"] == recipe.name
    pictures = [m.sample(4, generator=torch.Generator().manual_seed(0)) for m in (model, again)]
    assert torch.equal(*pictures)
    assert (tmp_path / "samples.png").exists()


def test_described_as_data(system):
    description = make(system).describe()
    assert json.loads(json.dumps(description))["class"] == type(make(system)).__name__
    assert isinstance(make(system), LatentModel)


@pytest.mark.parametrize(
    "system", [name for name, (_, model) in SYSTEMS.items() if model["reconstruction"] == "vgg16"]
)
def test_perceptual_systems_use_the_perceptual_loss(system):
    loss = build_model(get_recipe(f"{system}-small-mnist").settings(), (1, 28, 28)).reconstruction
    assert isinstance(loss, PerceptualLoss)
    assert loss.network == "vgg16"
