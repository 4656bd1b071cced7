"""The small edition of Table 1 as tables: two judges, and what the decoder costs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from glf_minimal.errors import RecipeError
from glf_minimal.recipes.build import build_flow
from glf_minimal.reproduction.plan import NAMES
from glf_minimal.reproduction.recorded import NOT_RUN, RecordedRow, notes, read_rows, timing
from glf_minimal.reproduction.records import Record
from glf_minimal.reproduction.small_edition import (
    DENSITIES,
    SWEEPS,
    TABLE_1_SMALL,
    TUNED_ON,
    TUNING,
    sweep_rows,
)
from glf_minimal.reproduction.tables import Table, number
from glf_minimal.reproduction.tuning import best_try, read_tries, validation_distance

Column = Callable[[RecordedRow], str]  # what a cell of a column says of a row
OWN_JUDGE = "◊"  # marks what was trained on the features that judge it


def trained_on_squeezenet(row: RecordedRow) -> bool:
    """Whether the row's loss compares SqueezeNet's features, which the second judge compares."""
    return row.row.changes.get("model.reconstruction") == "squeezenet" and not row.row.real


def small_table(results: str | Path, data: str) -> Table:
    """Make the table of the small edition on one data set, with a line for every row.

    It has the FCD and the FSD of the samples, by how much these exceed the distances of the
    reconstructions, and the coverage.
    """
    rows = list(read_rows(results, TABLE_1_SMALL, data).values())
    columns = (
        ("FCD", _fcd),
        ("of it above reconstructions", _fcd_above),
        ("FSD", _fsd),
        ("of it above reconstructions", _fsd_above),
        ("coverage", _coverage),
        ("test error", lambda row: number(row.values("reconstruction", "mse_per_image"))),
        ("seconds", _seconds),
    )
    below = [
        "FCD and FSD are Fréchet distances of 10,000 samples from the test images: on the features "
        "of the data set's classifier, and on those of SqueezeNet, which was trained on ImageNet. "
        "Lower is better. The columns beside them take off the distance of the reconstructions of "
        "the test images: what is left is the part that the distribution of the latents answers "
        "for. It can be below 0 where the decoder draws better pictures from the model's own "
        "latents than from the encoder's. Test error is the squared error of reconstructed test "
        "images, summed over pixels.",
        f"{OWN_JUDGE} FSD does not judge these rows fairly: they were trained on the features that "
        "it compares.",
        "AE + mixture, FlowAE and AdvAE use the auto-encoder of the GLF above them; their seconds "
        "are those of their own training alone.",
        *filter(None, [timing(rows)]),
    ]
    command = f"glf reproduce {TABLE_1_SMALL.name} --dataset {data}"
    header = ["model", *(title for title, _ in columns)]
    return Table(header, _lines(rows, columns), below + notes(rows), [command])


def _lines(rows: list[RecordedRow], columns: tuple[tuple[str, Column], ...]) -> list[list[str]]:
    """A line for each row; of one that has not been run, dashes."""
    lines = []
    for row in rows:
        if row:
            cells = [column(row) for _, column in columns]
        else:
            cells = [NOT_RUN, *["–"] * (len(columns) - 1)]
        lines.append([row.title, *cells])
    return lines


def _fcd(row: RecordedRow) -> str:
    return number(row.values("classifier", "fcd"))


def _fcd_above(row: RecordedRow) -> str:
    return number(above_reconstructions(row, "classifier", "fcd"))


def _fsd(row: RecordedRow) -> str:
    return number(row.values("squeezenet", "fsd"), 0) + _own_judge(row)


def _fsd_above(row: RecordedRow) -> str:
    return number(above_reconstructions(row, "squeezenet", "fsd"), 0) + _own_judge(row)


def _own_judge(row: RecordedRow) -> str:
    return OWN_JUDGE if trained_on_squeezenet(row) else ""


def _coverage(row: RecordedRow) -> str:
    return number(row.values("classifier", "coverage"))


def _seconds(row: RecordedRow) -> str:
    return f"{row.seconds:.0f}" if row.seconds is not None else "–"


def above_reconstructions(row: RecordedRow, group: str, name: str) -> list[float]:
    """For each seed, how much farther than its reconstructions a row's samples are."""
    samples = row.values(group, name)
    rebuilt = row.values("reconstruction", name)
    if len(samples) != len(rebuilt):
        return []
    return [own - floor for own, floor in zip(samples, rebuilt, strict=True)]


def sweeps(results: str | Path, data: str) -> Table:
    """What each try of the sweeps on one data set is worth on held-out images, the best marked."""
    lines = []
    for sweep in SWEEPS:
        tries = read_tries(results, sweep, data)
        try:
            best = best_try(tries, sweep, data)
        except RecipeError:  # not all of it has been run
            best = None
        for row in sweep_rows(sweep, data):
            system, _, settings = row.title.partition(": ")
            chosen = "chosen" if row.name == best else ""
            lines.append([system, settings, _validation(tries.get(row.name)), chosen])
    others = [name for name, tuned_on in TUNED_ON.items() if tuned_on == data and name != data]
    below = [
        "Validation FCD: 5,000 samples against 5,000 training images that were held out; the test "
        f"images play no part. One seed. The choice also holds for {NAMES[others[0]]}."
    ]
    command = f"glf reproduce {TUNING.name} --dataset {data}"
    return Table(["system", "settings", "validation FCD", ""], lines, below, [command], left=2)


def _validation(record: Record | None) -> str:
    """What a table of sweeps says of a try."""
    if record is None:
        return NOT_RUN
    distance = validation_distance(record)
    return str(record.status) if distance is None else f"{distance:.2f}"


def densities(results: str | Path, data: str) -> Table:
    """Densities on the latents of one auto-encoder: what each is worth, and what it takes."""
    rows = list(read_rows(results, DENSITIES, data).values())
    columns = (
        ("FCD", _fcd),
        ("above reconstructions", _fcd_above),
        ("FSD", _fsd),
        ("coverage", _coverage),
        ("NLL", lambda row: number(row.values("latents", "nll"), 1)),
        ("parameters", lambda row: f"{density_parameters(row.records[0].settings):,}"),
        ("seconds", _seconds),
    )
    below = [
        "All rows share the auto-encoder of the first one, and so the distance of its "
        "reconstructions. NLL is that of the latents of test images, in nats: here it compares, as "
        "the latents are the same. Parameters and seconds are those of the density alone, but "
        "the seconds of the first row include the auto-encoder, and those of the mixture in its "
        "noise are the mixture's.",
    ]
    command = f"glf reproduce {DENSITIES.name} --dataset {data}"
    header = ["density", *(title for title, _ in columns)]
    return Table(header, _lines(rows, columns), below + notes(rows), [command])


def density_parameters(settings: dict[str, dict]) -> int:
    """How many parameters the density on the latents has, by the settings of its training."""
    model, dim = settings["model"], settings["networks"]["latent_dim"]
    count = 0
    if components := model.get("components"):
        # Of each Gaussian weight, mean and covariance; the weights sum to 1.
        count += components * (1 + dim + dim * (dim + 1) // 2) - 1
    if settings.get("flow"):
        with torch.random.fork_rng([]):  # the flow's weights are drawn, and are not wanted
            count += sum(parameter.numel() for parameter in build_flow(settings).parameters())
    return count


SMALL_TABLES: dict[str, Callable[[str | Path], Table]] = {
    **{f"table-1-small-{data}": partial(small_table, data=data) for data in TABLE_1_SMALL.rows},
    **{f"densities-{data}": partial(densities, data=data) for data in DENSITIES.rows},
    **{f"tuning-{data}": partial(sweeps, data=data) for data in TUNING.rows},
}
