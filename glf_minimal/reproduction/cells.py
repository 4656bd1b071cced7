"""Rows, cells and what is asked of them: a row with a seed is a cell, one training and its
measurement.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from glf_minimal.errors import RecipeError, hint
from glf_minimal.evaluation.evaluate import Protocol
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.recipes.recipe import Recipe
from glf_minimal.training.folder import FREE_SETTINGS


@dataclass(frozen=True)
class Row:
    """A row of a table: what is trained, and how it is measured.

    Args:
        name: of the row's folder of records.
        title: what tables call it.
        recipe: the recipe's name.
        changes: settings that differ from the recipe, such as {"model.beta": 10.0}.
        protocol: fields of ``Protocol`` that differ from its defaults.
        real: measure training images in place of samples.
        needs: weights of others that the training downloads.
        lender: the row whose training lends its auto-encoder; the recipe's later stages, or its
            mixture, are trained on it.
        sweep: the sweep of ``tuning`` that decides further settings of this row.
        extras: what else the first seed's training is asked for, names in ``extras.EXTRAS``.
    """

    name: str
    title: str
    recipe: str
    changes: dict = field(default_factory=dict)
    protocol: dict = field(default_factory=dict)
    real: bool = False
    needs: str = ""
    extras: tuple[str, ...] = ()
    lender: str = ""
    sweep: str = ""

    def settings(self) -> dict[str, dict]:
        """All settings of a full run."""
        return get_recipe(self.recipe).with_settings(self.changes).settings()


@dataclass(frozen=True)
class Experiment:
    """A set of rows for each data set, of which records are made.

    Args:
        name: what ``glf reproduce`` calls it.
        title: one line.
        rows: by data set.
        seeds: how many its tables are meant to have.
        squeezenet: whether its samples are also judged on SqueezeNet's features, where its weights
            are at hand.
        records: the experiment in whose folder its records lie, where it is a part of another one.
    """

    name: str
    title: str
    rows: dict[str, tuple[Row, ...]]
    seeds: int = 3
    records: str = ""
    squeezenet: bool = False

    @property
    def folder(self) -> str:
        return self.records or self.name


@dataclass(frozen=True)
class Cell:
    """One training and its measurement: a row with a seed.

    ``reduced`` has the settings of a run that is smaller than the row's, such as {"train.epochs":
    20}.
    """

    experiment: Experiment
    data: str
    row: Row
    seed: int
    reduced: dict = field(default_factory=dict)

    @property
    def changes(self) -> dict:
        return self.row.changes | self.reduced | ({"train.seed": self.seed} if self.seed else {})

    @property
    def recipe(self) -> Recipe:
        return get_recipe(self.row.recipe).with_settings(self.changes)

    @property
    def protocol(self) -> Protocol:
        return replace(Protocol(), **self.row.protocol)

    def record(self, results: Path) -> Path:
        """The path of its record."""
        return (
            results / self.experiment.folder / self.data / self.row.name / f"seed-{self.seed}.json"
        )

    def extras(self, results: Path) -> dict[str, Path]:
        """The extras that it is to have, by name, and their paths."""
        path, names = self.record(results), () if self.seed else self.row.extras
        return {name: path.with_name(f"{path.stem}-{name}") for name in names}

    @property
    def lender(self) -> "Cell | None":
        """The cell whose training lends this one its auto-encoder."""
        if not self.row.lender:
            return None
        rows = {row.name: row for row in self.experiment.rows[self.data]}
        return replace(self, row=rows[self.row.lender])

    def run(self, runs: Path) -> Path:
        """The folder of its training; cells that differ only in their measurement share it."""
        named = {name: value for name, value in self.changes.items() if name not in FREE_SETTINGS}
        parts = [
            f"{name.split('.')[1].replace('_', '-')}-{_short(value)}"
            for name, value in named.items()
        ]
        name = "-".join([self.row.recipe, *parts])
        if self.lender:
            name += f"-on-{self.lender.run(runs).name}"
        return runs / name


def differing(recorded: dict, wanted: dict) -> dict[str, tuple]:
    """The settings that differ, seed and what changes no number aside: by name, as recorded and as
    wanted.

    Compared as JSON has them; a setting that one of them does not know is None there.
    """
    recorded, wanted = json.loads(json.dumps([recorded, wanted]))
    names = {
        f"{group}.{key}" for side in (recorded, wanted) for group in side for key in side[group]
    }
    differences = {}
    for name in sorted(names - {*FREE_SETTINGS, "train.seed"}):
        group, key = name.split(".")
        old, new = (side.get(group, {}).get(key) for side in (recorded, wanted))
        if old != new:
            differences[name] = (old, new)
    return differences


def make_cells(
    experiment: Experiment,
    data: list[str] | None = None,
    rows: list[str] | None = None,
    seeds: int | None = None,
    reduced: dict | None = None,
) -> list[Cell]:
    """All cells of an experiment, or of some of its data sets and rows; the first seed of every row
    comes first.

    Real images know no seed of a training, so their rows have one cell.

    Raises:
        RecipeError: the experiment has no such data set or row, a recipe has no setting of
            ``reduced``, or ``seeds`` is below 1.
    """
    if seeds is not None and seeds < 1:
        raise RecipeError(f"seeds: expected at least 1, got {seeds}")
    for name in {"train.seed", "data.name"} & (reduced or {}).keys():
        raise RecipeError(f"{name}: a row has its own; give --seeds or --dataset")
    sets = [
        require_known(name, experiment.rows, f"data set of {experiment.name}")
        for name in data or experiment.rows
    ]
    names = {row.name: None for name in sets for row in experiment.rows[name]}
    chosen = [require_known(name, names, f"row of {experiment.name}") for name in rows or names]
    found = [
        Cell(experiment, name, row, seed, reduced or {})
        for seed in range(seeds or experiment.seeds)
        for name in sets
        for row in experiment.rows[name]
        if row.name in chosen and (seed == 0 or not row.real)
    ]
    for cell in found:
        _ = cell.recipe  # raises where it lacks a setting
    return found


def _short(value: object) -> str:
    return (
        f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"').replace("/", "-")
    )


def require_known(name: str, names: dict, kind: str) -> str:
    if name not in names:
        raise RecipeError(f"unknown {kind} {name!r}; {hint(name, names)}")
    return name
