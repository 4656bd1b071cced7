"""The systems one would choose between, side by side: what each gives and what it takes."""

from pathlib import Path

from glf_minimal.reproduction.plan import NAMES
from glf_minimal.reproduction.recorded import NOT_RUN, RecordedRow, notes, read_rows
from glf_minimal.reproduction.records import Record, Status
from glf_minimal.reproduction.small_edition import SWEEPS, TABLE_1_SMALL, TUNING
from glf_minimal.reproduction.small_tables import above_reconstructions
from glf_minimal.reproduction.tables import Table, number
from glf_minimal.reproduction.tuning import read_tries, validation_distance

SYSTEMS = ("vae-flow-prior-tuned", "ae-gmm", "flowae", "glf")  # rows of the small edition
TUNED = {  # sweeps, with what they try
    "vae": "VAE: β",
    "vae-flow-prior": "VAE, flow prior: β",
    "ae-gmm": "AE + mixture: number of Gaussians",
    "glf": "GLF: β",
}


def choice(results: str | Path) -> Table:
    """The small edition's rows of ``SYSTEMS``, on every data set where one of them has been run."""
    lines, below, not_run = [], [], []
    for data in TABLE_1_SMALL.rows:
        recorded = read_rows(results, TABLE_1_SMALL, data)
        rows = [recorded[name] for name in SYSTEMS]
        if not any(rows):
            not_run.append(NAMES[data])
            continue
        names = [NAMES[data], *[""] * (len(rows) - 1)]
        lines += [[name, *_numbers(row)] for name, row in zip(names, rows, strict=True)]
        below.append(f"{NAMES[data]}. {' '.join(notes(rows))}")
    header = [
        "data set",
        "system",
        "FCD (above reconstructions)",
        "FSD (above reconstructions)",
        "NLL",
        "seconds",
    ]
    command = f"glf reproduce {TABLE_1_SMALL.name}"
    return Table(header, lines, below + _not_run(not_run), [command], left=2)


def _numbers(row: RecordedRow) -> list[str]:
    if not row:
        return [row.title, NOT_RUN, *["–"] * 3]
    own_latents = not row.row.lender and row.row.name != "glf"
    seconds = f"{row.seconds:.0f}" if row.seconds is not None else "–"
    return [
        row.title,
        _distance(row, "classifier", "fcd", 2),
        _distance(row, "squeezenet", "fsd", 0),
        "–" if own_latents else number(row.values("latents", "nll"), 1),
        f"+ {seconds}" if row.row.lender else seconds,
    ]


def _distance(row: RecordedRow, group: str, name: str, digits: int) -> str:
    above = number(above_reconstructions(row, group, name), digits)
    return f"{number(row.values(group, name), digits)} ({above})"


def stakes(results: str | Path) -> Table:
    """How much the choice of each system's own setting matters: its best and its worst try."""
    lines, not_run = [], []
    for data in TUNING.rows:
        tried = {sweep: read_tries(results, sweep, data) for sweep in TUNED}
        if not any(tried.values()):
            not_run.append(NAMES[data])
            continue
        names = [NAMES[data], *[""] * (len(TUNED) - 1)]
        for name, sweep in zip(names, TUNED, strict=True):
            lines.append([name, TUNED[sweep], *_ends(tried[sweep], sweep)])
    header = ["data set", "what is tried", "tries", "best", "worst"]
    return Table(header, lines, _not_run(not_run), [f"glf reproduce {TUNING.name}"], left=2)


def _ends(tries: dict[str, Record], sweep: str) -> list[str]:
    """How many tries of a sweep have been run, and the FCD of the best and the worst of them."""
    if not tries:
        return [NOT_RUN, "–", "–"]
    distances = [validation_distance(record) for record in tries.values()]
    measured = [distance for distance in distances if distance is not None]
    best = f"{min(measured):.2f}" if measured else "–"
    worst = str(Status.DIVERGED) if None in distances else f"{max(measured):.2f}"
    return [f"{len(tries)} of {len(SWEEPS[sweep])}", best, worst]


def _not_run(names: list[str]) -> list[str]:
    """The note that names the data sets that have no lines."""
    return [f"{', '.join(names)}: {NOT_RUN}."] if names else []


CHOICE_TABLES = {"choice": choice, "choice-stakes": stakes}
