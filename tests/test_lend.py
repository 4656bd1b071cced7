"""Models of latents on the auto-encoder of another run."""

import pytest
import torch
from PIL import Image

from glf_minimal.errors import RecipeError, RunError
from glf_minimal.files import read_json, read_tensors
from glf_minimal.models import LearnedMixture, SplineCoupling
from glf_minimal.recipes.build import build_model
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.recipes.lend import borrow
from glf_minimal.recipes.run import load_data, load_run, read_run, train_recipe
from glf_minimal.training.batches import fit_latents

QUICK = {
    "data.name": "digits",
    "data.limit": 400,
    "networks.hidden": [32],
    "networks.latent_dim": 6,
    "train.epochs": 2,
    "train.batch_size": 50,
    "train.device": "cpu",
    "train.precision": "float32",
    "train.progress": False,
}


def quick(recipe, **changes):
    return get_recipe(recipe).with_settings(QUICK | changes)


@pytest.fixture(scope="module")
def lender(tmp_path_factory, data_root):
    out = tmp_path_factory.mktemp("lender") / "glf"
    train_recipe(quick("glf-slides-mnist"), out, data_root)
    return out


def auto_encoder(folder):
    model, _ = load_run(folder)
    parts = {"encoder": model.encoder, "decoder": model.decoder}
    return {
        f"{part}.{name}": value
        for part, network in parts.items()
        for name, value in network.state_dict().items()
    }


@pytest.mark.parametrize("recipe", ["flowae-slides-mnist", "ae-gmm-slides-mnist"])
def test_the_auto_encoder_is_the_lenders_and_the_rest_is_trained(
    recipe, lender, data_root, tmp_path
):
    out = tmp_path / "run"
    history = train_recipe(quick(recipe), out, data_root, lender)
    lent, own = auto_encoder(lender), auto_encoder(out)
    assert own.keys() == lent.keys()
    assert all(torch.equal(own[name], lent[name]) for name in lent)
    assert {row["stage"] for row in history} == {"flow" if "flow" in recipe else "latents"}
    config = read_json(out / "config.json")
    assert config["lender"]["recipe"] == "glf-slides-mnist"
    rows = read_tensors(lender / "model.safetensors")[1]["history"]
    assert config["lender"]["seconds"] == round(sum(row["seconds"] for row in rows), 1)
    before = (out / "model.safetensors").read_bytes()
    assert train_recipe(quick(recipe), out, data_root, lender) == history  # and nothing is trained
    assert (out / "model.safetensors").read_bytes() == before


def test_a_mixture_is_fitted_to_the_lenders_latents(lender, data_root, tmp_path):
    out = tmp_path / "run"
    train_recipe(quick("ae-gmm-slides-mnist", **{"model.components": 1}), out, data_root, lender)
    model, config = load_run(out)
    data = load_data(config["data"], "train", data_root)
    with torch.no_grad():
        z = model.encode(data.batch(slice(None)))
    torch.testing.assert_close(model.prior.means[0], z.mean(0), rtol=1e-3, atol=1e-3)


def test_a_fit_that_was_killed_before_its_weights_goes_on(lender, data_root, tmp_path, monkeypatch):
    out = tmp_path / "run"
    recipe = quick("ae-gmm-slides-mnist", **{"model.components": 1})

    def killed(path, *_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("glf_minimal.training.folder.save_grid", killed)
        with pytest.raises(KeyboardInterrupt):
            train_recipe(recipe, out, data_root, lender)
    assert not (out / "model.safetensors").exists()
    history = train_recipe(recipe, out, data_root, lender)
    assert [row["stage"] for row in history] == ["latents"]
    assert load_run(out)[0].prior.means.isfinite().all()
    assert not (out / "checkpoint.safetensors").exists()


def test_a_flow_is_lent_with_the_auto_encoder_that_it_was_trained_beside(lender, data_root):
    """The mixture is fitted to the noise that the lender's own flow makes of the latents."""
    owner = read_run(lender)
    settings = quick("glf-slides-mnist").settings()
    own = {"kind": "glf-mixture", "components": 1}
    settings["model"] = {"flow_adam": settings["model"]["flow_adam"]} | own
    data = load_data(owner.config["data"], "train", data_root)
    model = build_model(settings, data.image_shape, seed=1)
    borrow(model, owner, data)
    assert model.stages == ()
    for name, value in owner.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    fit_latents(model, data)
    with torch.no_grad():
        noise, _ = owner.model.flow(owner.model.encode(data.batch(slice(None))))
    torch.testing.assert_close(model.noise.means[0], noise.mean(0), rtol=1e-3, atol=1e-3)


def test_what_cannot_be_lent_is_named(lender, data_root, tmp_path):
    out = tmp_path / "run"
    fewer = quick("flowae-slides-mnist", **{"data.limit": 300})
    with pytest.raises(RunError, match="was trained on other images"):
        train_recipe(fewer, out, data_root, lender)
    wider = quick("flowae-slides-mnist", **{"networks.hidden": [48]})
    with pytest.raises(RecipeError, match=r"encoder: that of .* does not fit"):
        train_recipe(wider, out, data_root, lender)
    with pytest.raises(RecipeError, match=r"start: .*give one of the two"):
        train_recipe(quick("flowae-slides-mnist"), out, data_root, lender, start=lender)
    assert not out.exists()


def test_a_model_without_a_part_of_its_own_cannot_borrow(data_root, tmp_path):
    vae = quick("vae-slides-mnist")
    train_recipe(vae, tmp_path / "vae", data_root)
    with pytest.raises(RecipeError, match="VAE has nothing to train on the auto-encoder"):
        train_recipe(vae, tmp_path / "run", data_root, tmp_path / "vae")


def test_held_out_images_are_drawn_once_and_never_trained_on(data_root):
    settings = {"name": "digits", "validation": 100}
    everything = load_data({"name": "digits"}, "train", data_root)
    kept = load_data(settings, "train", data_root)
    held_out = load_data(settings, "validation", data_root)
    assert (len(kept), len(held_out)) == (len(everything) - 100, 100)
    together = torch.cat([kept.pixels, held_out.pixels]).flatten(1)
    assert torch.equal(
        together.long().sum(0), everything.pixels.flatten(1).long().sum(0)
    )  # each image once
    assert load_data(settings, "validation", data_root).digest == held_out.digest
    assert len(set(held_out.labels.tolist())) == 10
    test = load_data({"name": "digits"}, "test", data_root)
    assert load_data(settings, "test", data_root).digest == test.digest


def test_held_out_images_are_the_same_everywhere_and_keep_their_labels_and_order(data_root):
    """Records of sweeps hold only as long as the same images are held out."""
    everything = load_data({"name": "digits"}, "train", data_root)
    order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(0))
    settings = {"name": "digits", "validation": 100}
    for split, indices in (("validation", order[:100]), ("train", order[100:])):
        data = load_data(settings, split, data_root)
        assert torch.equal(data.pixels, everything.pixels[indices.sort().values])
        assert torch.equal(data.labels, everything.labels[indices.sort().values])
        assert (data.name, data.origin) == ("digits", "")


def test_pictures_held_out_of_a_folder_are_said(tmp_path):
    for index in range(9):  # too few for a test split
        Image.new("L", (8, 8), 100 + index).save(tmp_path / f"{index}.png")
    settings = {"name": f"folder:{tmp_path}", "validation": 2}
    found = load_data({"name": f"folder:{tmp_path}"}, "train").origin
    assert load_data(settings, "validation").origin == f"2 of {found}"
    assert load_data(settings, "train").origin == f"7 of {found}"
    assert load_data(settings | {"limit": 3}, "train").origin == f"the first 3 of 7 of {found}"


@pytest.mark.parametrize("size", [0, -1, 10**6, 2.5, None])
def test_an_impossible_validation_split_is_named(size, data_root):
    with pytest.raises(RecipeError, match=r"data\.validation: expected how many of the 16\d\d"):
        load_data({"name": "digits", "validation": size}, "validation", data_root)


def test_other_flows_learn_lent_latents(data_root, tmp_path):
    """Flows with splines, and with a mixture as noise, come back from their folders as they were
    trained.
    """
    small = {
        **QUICK,
        "networks.hidden": 16,
        "networks.width": 4,
        "train.epochs": 6,
    }
    train_recipe(get_recipe("glf-small-mnist").with_settings(small), tmp_path / "glf", data_root)
    for system, own in (("spline-flowae", SplineCoupling), ("mixture-flowae", LearnedMixture)):
        recipe = get_recipe(f"{system}-small-mnist").with_settings(small)
        history = train_recipe(recipe, tmp_path / system, data_root, tmp_path / "glf")
        assert history[-1]["nll"] < history[0]["nll"] - 0.2
        assert history[-1]["inverse_error"] < 1e-4
        model, config = load_run(tmp_path / system)
        assert any(isinstance(module, own) for module in model.flow.modules())
        data = load_data(config["data"], "train", data_root)
        with torch.no_grad():
            codes = model.codes(data.batch(slice(None)))
            nll = model.flow_losses(codes)["nll"].item()
        assert nll < history[0]["nll"] - 0.2
        assert model.sample(4, generator=torch.Generator().manual_seed(0)).isfinite().all()
