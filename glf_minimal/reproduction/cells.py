"""Experiments, rows and cells. A cell is a row with a seed: one training and its measurement."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from glf_minimal.errors import RecipeError, hint
from glf_minimal.evaluation.protocol import Protocol
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.recipes.recipe import Recipe
from glf_minimal.reproduction.records import RecordPath
from glf_minimal.training.settings import FREE_SETTINGS, difference


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
        record: "EXPERIMENT/ROW" whose record is this row's, too: the same training and protocol.
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
    record: str = ""

    def settings(self) -> dict[str, dict]:
        """All settings of a full run."""
        return get_recipe(self.recipe).with_settings(self.changes).settings()


@dataclass(frozen=True, eq=False)  # hashable in spite of its dict; each is made once
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
        """The folder of its records."""
        return self.records or self.name

    def path(self, results: str | Path, data: str, row: str, seed: int = 0) -> RecordPath:
        """Where the record of a row lies, and what lies beside it."""
        planned = next((one for one in self.rows.get(data, ()) if one.name == row), None)
        folder, name = self.folder, row
        if planned and planned.record:
            folder, _, name = planned.record.partition("/")
        return RecordPath(Path(results), folder, data, name, seed)


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

    def __str__(self) -> str:
        return f"{self.experiment.name} {self.data} {self.row.name} seed {self.seed}"

    @property
    def changes(self) -> dict:
        """Settings that differ from the recipe: the row's, those of a reduced run, the seed."""
        return self.row.changes | self.reduced | ({"train.seed": self.seed} if self.seed else {})

    @property
    def recipe(self) -> Recipe:
        """The recipe with these changes."""
        return get_recipe(self.row.recipe).with_settings(self.changes)

    @property
    def protocol(self) -> Protocol:
        """How the row is measured."""
        return replace(Protocol(), **self.row.protocol)

    def path(self, results: Path) -> RecordPath:
        """Where its record lies, and what lies beside it."""
        return self.experiment.path(results, self.data, self.row.name, self.seed)

    def record(self, results: Path) -> Path:
        """The path of its record's JSON file."""
        return self.path(results).json

    def extras(self, results: Path) -> dict[str, Path]:
        """The paths of the extras that it is to have, by name. Only the first seed has some."""
        names = () if self.seed else self.row.extras
        return {name: self.path(results).extra(name) for name in names}

    @property
    def lender(self) -> "Cell | None":
        """The cell whose training lends this one its auto-encoder."""
        if not self.row.lender:
            return None
        rows = {row.name: row for row in self.experiment.rows[self.data]}
        return replace(self, row=rows[self.row.lender])

    def run(self, runs: Path) -> Path:
        """The folder of its training; cells that differ only in their measurement share it.

        Earlier versions wrote a list as "[500, 500]" in its name; such a folder is still used.
        """
        earlier = runs / self._run_name(_short_value_before)
        return earlier if earlier.is_dir() else runs / self._run_name(short_value)

    def _run_name(self, written: Callable[[object], str]) -> str:
        """The name of that folder, with values ``written`` in this way."""
        parts = [self.row.recipe]
        for name, value in self.changes.items():
            if name not in FREE_SETTINGS:
                parts.append(f"{name.split('.')[1].replace('_', '-')}-{written(value)}")
        if self.lender:
            parts.append(f"on-{self.lender._run_name(written)}")
        return "-".join(parts)


def differing(recorded: dict, wanted: dict) -> dict[str, tuple]:
    """The settings that differ, as (recorded, wanted) by name, in the order of their names.

    Neither the seed counts nor what changes no number.
    """
    found = difference(recorded, wanted, levels=2, free=(*FREE_SETTINGS, "train.seed"))
    return dict(sorted(found.items()))


def make_cells(
    experiment: Experiment,
    data: list[str] | None = None,
    rows: list[str] | None = None,
    seeds: int | None = None,
    reduced: dict | None = None,
) -> list[Cell]:
    """The cells of an experiment, the first seed of every row first.

    ``data`` and ``rows`` choose some of its data sets and rows.

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


def short_value(value: object) -> str:
    """A setting's value as part of a name: 0.50 as "0.5", [500, 500] as "500-500"."""
    if isinstance(value, list | tuple):
        return "-".join(map(short_value, value))
    return _short_value_before(value)


def _short_value_before(value: object) -> str:
    """The same as earlier versions wrote it: [500, 500] as "[500, 500]"."""
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value).strip('"').replace("/", "-")


def require_known(name: str, names: dict, kind: str) -> str:
    """The name itself; RecipeError with a hint if it is none of ``names``."""
    if name not in names:
        raise RecipeError(f"unknown {kind} {name!r}; {hint(name, names)}")
    return name
