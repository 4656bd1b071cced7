"""What is planned: every cell can be built, and is found by its names."""

from pathlib import Path
from unittest import mock

import pytest
import torch

from glf_minimal.errors import RecipeError
from glf_minimal.recipes.build import build_model
from glf_minimal.reproduction import (
    EXPERIMENTS,
    cells,
    get_experiment,
    make_cells,
    plan,
    published,
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_cell_can_be_built(name):
    """Its recipe takes the changes, its settings give a model; two cells share a run exactly if
    they train alike.
    """
    settings, shape = (
        {},
        {"mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28), "cifar10": (3, 32, 32)},
    )
    shape["celeba"] = (3, 64, 64)
    for cell in make_cells(EXPERIMENTS[name], seeds=2):
        own = cell.recipe.settings()
        assert own["data"]["name"] == cell.data
        assert own["train"]["seed"] == cell.seed
        assert cell.protocol.samples == (5_000 if name == "tuning" else 10_000)
        own["train"].pop("snapshots")
        assert settings.setdefault(cell.run(Path("runs")), own) == own
        if cell.seed == 0 and not cell.row.needs and "images" not in own["model"]:
            with (
                torch.device("meta"),
                mock.patch("torch.nn.init.normal_", lambda x, *_, **__: x),
            ):  # slow there
                assert build_model(own, shape[cell.data]).stages
    assert len({str(s) for s in settings.values()}) == len(settings)


def test_every_published_row_is_planned():
    for experiment, rows in (
        (plan.TABLE_1, published.TABLE_1),
        (plan.SLIDE_DECK, published.SLIDE_DECK),
        (plan.FLOWAE_REPORT, published.FLOWAE_REPORT),
    ):
        for planned in experiment.rows.values():
            assert rows.keys() <= {row.name for row in planned}


def test_folders_of_trainings_with_lists_in_their_settings(tmp_path):
    """Named after the parts; one that an earlier version has begun goes on under its own name."""
    row = cells.Row("row", "", "two-stage-vae-small-mnist", {"model.hidden": [500, 500]})
    borrower = cells.Row("next", "", "glf-small-mnist", lender="row")
    experiment = cells.Experiment("trial", "", {"mnist": (row, borrower)})
    first, second = make_cells(experiment, seeds=1)
    name = "two-stage-vae-small-mnist-hidden-500-500"
    assert first.run(tmp_path) == tmp_path / name
    assert second.run(tmp_path) == tmp_path / f"glf-small-mnist-on-{name}"
    earlier = tmp_path / "two-stage-vae-small-mnist-hidden-[500, 500]"
    earlier.mkdir()
    assert first.run(tmp_path) == earlier


def test_cells_are_chosen():
    chosen = make_cells(
        plan.TABLE_1, ["mnist"], ["glf", "vae"], seeds=2, reduced={"train.epochs": 20}
    )
    assert [(c.seed, c.row.name) for c in chosen] == [
        (0, "vae"),
        (0, "glf"),
        (1, "vae"),
        (1, "glf"),
    ]
    assert chosen[0].recipe.train["epochs"] == 20
    assert chosen[2].run(Path("runs")) == Path("runs/vae-mnist-epochs-20-seed-1")
    assert len(make_cells(plan.SLIDE_DECK)) == 3 * len(plan.SLIDE_DECK.rows["mnist"])
    for arguments, message in (
        ({"data": ["minst"]}, "unknown data set of table-1 'minst'; did you mean mnist"),
        ({"rows": ["xyz"]}, "unknown row of table-1 'xyz'; there are vae, "),
        (
            {"reduced": {"train.seed": 5}},
            "train.seed: a row has its own; give --seeds or --dataset",
        ),
        (
            {"rows": ["vae"], "reduced": {"flow.hidden": 8}},
            "recipe vae-mnist has no setting 'flow.hidden'",
        ),
        ({"seeds": 0}, "seeds: expected at least 1, got 0"),
    ):
        with pytest.raises(RecipeError, match=message):
            make_cells(plan.TABLE_1, **arguments)
    with pytest.raises(RecipeError, match="unknown table or figure 'table1'; did you mean table-1"):
        get_experiment("table1")
