"""The commands in a record: they make its run again, whatever its settings and wherever it lies."""

import json
import shlex

import pytest

from glf_minimal.cli.options import parse_settings
from glf_minimal.evaluation.protocol import Protocol
from glf_minimal.recipes.catalogue import RECIPES, get_recipe
from glf_minimal.recipes.run import train_command
from glf_minimal.reproduction.measuring import commands, protocol_options

QUIET = {"train.progress": False, "train.device": "cpu", "train.checkpoint_seconds": 0.0}


def as_json(settings):
    return json.loads(json.dumps(settings))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_as_it_is_needs_no_settings(name):
    assert (
        train_command({"recipe": name, **as_json(RECIPES[name].settings())})
        == f"glf train --recipe {name}"
    )


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (
            "glf-digits",
            {
                "data.name": "folder:my pictures' folder",
                "data.image_size": 12,
                "networks.hidden": [9, 8],
            },
        ),
        (
            "advae-report-mnist",
            {"model.gan_adam": {"lr_factor": 1e-5, "betas": [0.1, 0.2]}, "data.binarize": False},
        ),
        (
            "glf-mnist",
            {"model.stop_gradient": False, "flow.batch_norm": False, "train.precision": "bf16"},
        ),
    ],
)
def test_changed_settings_survive_the_shell(name, changes):
    settings = get_recipe(name).with_settings(changes).settings()
    command = shlex.split(train_command({"recipe": name, **as_json(settings)}))
    assert command[:4] == ["glf", "train", "--recipe", name]
    assert len(command) == 4 + 2 * len(changes)
    assert get_recipe(name).with_settings(parse_settings(command[5::2])).settings() == as_json(
        settings
    )


def test_what_changes_no_number_is_left_out():
    recipe = get_recipe("glf-digits").with_settings(QUIET)
    assert (
        train_command({"recipe": "glf-digits", **recipe.settings()})
        == "glf train --recipe glf-digits"
    )


def test_several_processes_are_started_as_such():
    settings = get_recipe("glf-digits").settings()
    command = train_command(
        {"recipe": "glf-digits", **settings, "train": settings["train"] | {"processes": 4}}
    )
    assert command == "torchrun --nproc_per_node=4 -m glf_minimal train --recipe glf-digits"


def test_runs_of_other_recipes_have_no_command():
    """Of none, of one that is not in the catalogue, or of one whose settings have since changed
    their names.
    """
    settings = get_recipe("glf-digits").settings()
    assert train_command(settings) is None
    assert train_command({"recipe": "mine", **settings}) is None
    for group in (
        settings["model"] | {"gamma": 1},
        {k: v for k, v in settings["model"].items() if k != "beta"},
    ):
        assert train_command({"recipe": "glf-digits", **settings, "model": group}) is None
    # One that was left at its default need not have existed.
    older = {group: dict(content) for group, content in settings.items()}
    del older["data"]["binarize"], older["train"]["halve_every"]
    assert train_command({"recipe": "glf-digits", **older}) == "glf train --recipe glf-digits"


@pytest.mark.parametrize(
    ("folder", "here", "out"),
    [
        ("runs/glf-digits", ".", None),
        ("runs/beta2", ".", "runs/beta2"),
        ("trained", ".", "trained"),
        ("elsewhere/beta2", "project", "runs/beta2"),
        ("elsewhere/glf-digits", "project", None),
        ("project", "project", "runs/project"),
    ],
)
def test_commands_name_the_folder_as_seen_from_here(folder, here, out, tmp_path, monkeypatch):
    """A folder elsewhere, whose path would say nothing to others, is called after its last part."""
    (tmp_path / here).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / here)
    config = {"recipe": "glf-digits", **get_recipe("glf-digits").settings()}
    train = "glf train --recipe glf-digits" + (f" --out {out}" if out else "")
    evaluate = f"glf evaluate {out or 'runs/glf-digits'} --real"
    assert commands(tmp_path / folder, config, ["--real"]) == [train, evaluate]


def test_protocols_as_options():
    assert protocol_options(Protocol()) == []
    assert protocol_options(Protocol(binarize=True)) == []  # follows from the run
    options = protocol_options(Protocol(9, "train", True, True, False, False, 0.5, 2, 3))
    assert shlex.join(options) == (
        "--samples 9 --reference train --train-mode --stretch --no-uint8 --temperature 0.5 "
        "--seed 2 --batch-size 3"
    )
