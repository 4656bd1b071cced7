"""Recipes: each builds, says what it is, takes changes that make sense, and comes back from its
folder.
"""

import dataclasses
import json

import pytest
import torch

from glf_minimal import GLF, LatentModel, RecipeError, RunError, load_dataset
from glf_minimal.data import SHAPES
from glf_minimal.files import read_tensors, write_tensors
from glf_minimal.recipes.build import build_model
from glf_minimal.recipes.catalogue import RECIPES, get_recipe
from glf_minimal.recipes.run import load_data, load_run, train_recipe
from glf_minimal.training.folder import CONFIG, WEIGHTS
from glf_minimal.training.settings import TrainConfig

TINY = {"train.epochs": 1, "train.progress": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_root):
    folder = tmp_path_factory.mktemp("run") / "digits"
    train_recipe(get_recipe("glf-digits").with_settings(TINY), folder, data_root)
    return folder


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_complete_and_builds(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    assert recipe.summary
    assert recipe.source
    settings = json.loads(json.dumps(recipe.settings()))  # plain data
    TrainConfig(**settings["train"])
    height, width, channels = SHAPES[settings["data"]["name"]]
    model = build_model(settings, (channels, height, width)).eval()
    if isinstance(model, LatentModel):
        assert model.sample(2).shape == (2, channels, height, width)
    if type(model) is GLF:
        assert model.stop_gradient == (not name.startswith("regularized"))


def test_the_papers_recipe_has_the_authors_settings():
    settings = get_recipe("glf-mnist").settings()
    assert settings["train"]["epochs"] == 100
    assert settings["train"]["batch_size"] == 256
    model = build_model(settings, (1, 28, 28))
    assert sum(p.numel() for p in model.parameters()) == 6_578_644 + 6_597_185 + 92_320
    flow_adam = model.stages[0].updates[0].parts["flow"]
    assert tuple(flow_adam.betas) == (0.8, 0.9)
    assert (flow_adam.eps, flow_adam.weight_decay) == (1e-6, 2e-5)


def test_weights_depend_on_the_seed_alone():
    settings = get_recipe("glf-digits").settings()
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    first, second, third = (
        build_model(settings, (1, 8, 8), seed).state_dict() for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_settings_can_be_changed():
    recipe = get_recipe("glf-digits")
    changed = recipe.with_settings(
        {"model.beta": 2, "networks.latent_dim": 5, "train.schedule": "cosine"}
    )
    settings = changed.settings()
    assert settings["model"]["beta"] == 2.0
    assert settings["train"]["schedule"] == "cosine"
    assert build_model(settings, (1, 8, 8)).latent_dim == 5
    assert recipe == get_recipe("glf-digits")
    assert recipe.settings()["model"]["beta"] == 1.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.betta": 2}, r"no setting 'model.betta'; did you mean model\.beta"),
        ({"beta": 2}, "no setting 'beta'"),
        ({"model.beta": "two"}, 'model.beta: expected a float like 1.0, got "two"'),
        ({"train.epochs": 1.5}, "train.epochs: expected a int"),
        ({"train.progress": 1}, "train.progress: expected a bool"),
    ],
)
def test_changes_that_make_no_sense_are_named(changes, words):
    with pytest.raises(RecipeError, match=words):
        get_recipe("glf-digits").with_settings(changes)


def test_unknown_recipes_and_parts_are_named():
    with pytest.raises(RecipeError, match="unknown recipe 'glf-mnits'; did you mean glf-mnist"):
        get_recipe("glf-mnits")
    for change, words in [
        ({"flow.form": "planar"}, "flow.form: expected one of .*'planar'"),
        ({"networks.family": "resnet"}, "networks.family"),
        ({"model.kind": "gan"}, "model.kind"),
        ({"model.reconstruction": "ssim"}, "reconstruction"),
        ({"networks.latent_dim": 1}, "dim >= 2"),
        ({"networks.latent_dim": -3}, "do not give a model"),
        ({"networks.hidden": [-1]}, "do not give a model"),
        ({"model.flow_adam": {"betas": 3}}, "do not give a model"),
        ({"model.flow_adam": {"betas": [2, 3]}}, "betas in"),
        ({"model.flow_adam": {"lr_factor": "a"}}, "do not give a model"),
    ]:
        with pytest.raises(RecipeError, match=words):
            build_model(get_recipe("glf-digits").with_settings(change).settings(), (1, 8, 8))


def test_a_run_comes_back(run):
    model, config = load_run(run)
    assert config["recipe"] == "glf-digits"
    assert not model.training
    saved, _ = read_tensors(run / WEIGHTS)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())


def test_a_training_with_other_settings_needs_another_folder(run, data_root):
    recipe = get_recipe("glf-digits").with_settings({**TINY, "model.beta": 3.0})
    with pytest.raises(RunError, match=r"model\.beta was 1\.0, now 3\.0"):
        train_recipe(recipe, run, data_root)


def test_folders_that_are_no_runs_are_named(run, tmp_path):
    with pytest.raises(RunError, match=r"is .* the folder of a run"):
        load_run(tmp_path)
    (tmp_path / CONFIG).write_text((run / CONFIG).read_text())
    with pytest.raises(RunError, match="the folder of a finished run"):
        load_run(tmp_path)
    (tmp_path / CONFIG).write_text("{")
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        load_run(tmp_path)
    (tmp_path / CONFIG).write_text("[]")
    with pytest.raises(RunError, match="expected an object"):
        load_run(tmp_path)


def test_weights_that_do_not_fit_the_config_are_named(run, tmp_path):
    (tmp_path / CONFIG).write_text((run / CONFIG).read_text())
    write_tensors(
        tmp_path / WEIGHTS,
        build_model(get_recipe("glf-mnist").settings(), (1, 28, 28)).state_dict(),
    )
    with pytest.raises(RunError, match="weights of another model"):
        load_run(tmp_path)
    content = json.loads((run / CONFIG).read_text())
    del content["flow"]
    (tmp_path / CONFIG).write_text(json.dumps(content))
    write_tensors(tmp_path / WEIGHTS, read_tensors(run / WEIGHTS)[0])
    with pytest.raises(RunError, match="no settings for flow"):
        load_run(tmp_path)


def test_recipes_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_recipe("glf-digits").name = "other"


def test_settings_that_are_changed_leave_the_recipe_as_it_is():
    before = get_recipe("glf-digits").settings()
    changed = get_recipe("glf-digits").settings()
    for group in changed.values():
        group["new"] = 1
    changed["networks"]["hidden"].append(7)
    assert get_recipe("glf-digits").settings() == before


def test_a_limit_shortens_the_training_set_alone(data_root):
    settings = {"name": "digits", "limit": 100}
    train = load_data(settings, "train", data_root)
    assert len(train) == len(train.labels) == 100
    assert torch.equal(train.pixels, load_dataset("digits", "train", data_root).pixels[:100])
    assert len(load_data(settings, "test", data_root)) == len(
        load_dataset("digits", "test", data_root)
    )
    for limit in (0, -1, "many", 1.5):
        with pytest.raises(
            RecipeError, match=r"data\.limit: expected a positive number of images, got"
        ):
            load_data(settings | {"limit": limit}, "train", data_root)
