"""Tables of the records: what was measured, beside what was published.

The same records give the same text.
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from glf_minimal.reproduction import plan, published
from glf_minimal.reproduction.cells import Experiment
from glf_minimal.reproduction.published import MARKS, MEANINGS, Published
from glf_minimal.reproduction.recorded import (
    NOT_RUN,
    RecordedRow,
    commands,
    common_seeds,
    first_at,
    nearest_distances,
    notes,
    read_rows,
    timing,
)

CELEBA_TEST = 19_962  # images of the official split
LEVELS = (20, 10, 5, 2, 1)  # of FCD, for the table of convergence


@dataclass(repr=False)
class Text:
    """Markdown. A notebook shows it rendered."""

    content: str

    def markdown(self) -> str:
        """Its content."""
        return self.content

    _repr_markdown_ = __repr__ = markdown


@dataclass(repr=False)
class Table:
    """A table whose cells are text. A notebook shows it rendered.

    Args:
        header: the titles of the columns.
        rows: for each row its cells, as many as there are titles.
        notes: paragraphs below the table.
        commands: the commands that make its numbers.
        left: how many columns, counted from the left, hold words; the others are aligned right.
    """

    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    left: int = 1

    def markdown(self) -> str:
        """The table, its notes and its commands as MyST Markdown."""
        alignment = ["---" if index < self.left else "---:" for index in range(len(self.header))]
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.header, alignment, *self.rows)]
        notes = [line for note in self.notes for line in ("", note)]
        commands = ["", "```shell", *self.commands, "```"] if self.commands else []
        return "\n".join([*lines, *notes, *commands]) + "\n"

    _repr_markdown_ = __repr__ = markdown


def number(values: list[float], digits: int = 2) -> str:
    """The mean of these values and, if there are several, their standard deviation.

    "1.12" or "1.12 ± 0.05"; a dash for no values.
    """
    if not values:
        return "–"
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def quoted(value: Published | None) -> str:
    """A published number with the mark of its status: "8.2 ± 0.1‡"; a dash for none."""
    if value is None:
        return "–"
    return f"{value.value:g}{f' ± {value.sd:g}' if value.sd else ''}{MARKS[value.status]}"


def difference(values: list[float], value: Published | None, digits: int = 2) -> str:
    """The mean of our values minus a published number: "+0.45"; a dash if one is missing."""
    return f"{statistics.mean(values) - value.value:+.{digits}f}" if values and value else "–"


# By column: group and name of the metric, digits after the point, an explanation.
QUALITY = {
    "FCD": ("classifier", "fcd", 2, ""),
    "KID": ("classifier", "kid", 3, ""),
    "precision": ("classifier", "precision", 3, ""),
    "recall": ("classifier", "recall", 3, ""),
    "coverage": ("classifier", "coverage", 3, ""),
    "test error": (
        "reconstruction",
        "mse_per_image",
        2,
        "Test error is the squared error of reconstructed test images, summed over pixels.",
    ),
    "NLL": (
        "latents",
        "nll",
        1,
        "NLL is that of the latents of test images under the model's prior, in nats; it compares "
        "only models whose "
        "auto-encoder is the same.",
    ),
}
SAMPLES = ("FCD", "precision", "recall", "coverage", "test error", "NLL")


def explanation(columns: tuple[str, ...]) -> str:
    """Explain the columns: one sentence on all measures of samples, one on each other column."""
    of_samples = [column for column in columns if QUALITY[column][0] == "classifier"]
    names = f"{', '.join(of_samples[:-1])} and {of_samples[-1]}"
    own = [QUALITY[column][3] for column in columns if QUALITY[column][3]]
    return " ".join(
        [f"{names} compare 10,000 samples with the test images, on a classifier's features.", *own]
    )


def quality(
    results: str | Path, experiment: Experiment, data: str, columns: tuple[str, ...]
) -> Table:
    """These measures of every row of an experiment, with an explanation of the columns."""
    rows = list(read_rows(results, experiment, data).values())
    table = _quality(rows, experiment, data, columns)
    table.notes.insert(0, explanation(columns))
    return table


def _quality(
    rows: list[RecordedRow], experiment: Experiment, data: str, columns: tuple[str, ...]
) -> Table:
    """These measures of these rows, one line per row."""
    lines = [
        [row.title, *(_measures(row, columns) if row else [NOT_RUN, *["–"] * (len(columns) - 1)])]
        for row in rows
    ]
    return Table(["model", *columns], lines, notes(rows), commands(rows, experiment, data))


def _measures(row: RecordedRow, columns: tuple[str, ...]) -> list[str]:
    """The numbers of one row in these columns of QUALITY."""
    numbers = []
    for column in columns:
        group, name, digits, _ = QUALITY[column]
        numbers.append(number(row.values(group, name), digits))
    return numbers


def slide_deck(results: str | Path) -> Table:
    """The losses that the slide deck prints for each model, beside those of our last epoch."""
    rows = read_rows(results, plan.SLIDE_DECK, "mnist")
    lines = []
    for name, reference in published.SLIDE_DECK.items():
        row = rows[name]
        second = "nll" if name == "glf" else "kl"
        last = [record.training["last"] for record in row.finished]
        values = {
            "recon": [epoch["recon"] for epoch in last],
            "second": [epoch[second] for epoch in last],
        }
        values["total"] = [sum(pair) for pair in zip(*values.values(), strict=True)]
        names = {
            "total": "total",
            "recon": "reconstruction",
            "second": "NLL" if second == "nll" else "KL",
        }
        for quantity, label in names.items():
            ours = number(values[quantity]) if row else NOT_RUN
            title = row.title if quantity == "total" else ""
            numbers = [
                quoted(reference[quantity]),
                ours,
                difference(values[quantity], reference[quantity]),
            ]
            lines.append([title, label, *numbers])
    below = [
        "Nats per image, means over the last epoch of the training; total = reconstruction + KL "
        "or NLL."
    ]
    planned = [rows[name] for name in published.SLIDE_DECK]
    header = ["model", "quantity", "deck", "ours", "difference"]
    return Table(
        header, lines, below + notes(planned), commands(planned, plan.SLIDE_DECK, "mnist"), left=2
    )


def flowae_report(results: str | Path) -> Table:
    """The report's FCD beside ours.

    Both also stand as multiples of the VAE's, since the two use different classifiers.
    """
    rows = read_rows(results, plan.FLOWAE_REPORT, "mnist")
    theirs = published.FLOWAE_REPORT
    columns = ("precision", "recall", "test error")
    vae = rows["vae"].fcd
    lines = []
    for name, row in rows.items():
        reference = theirs.get(name)
        ours = number(row.values("classifier", "fcd")) if row else NOT_RUN
        ratios = [
            f"{reference.value / theirs['vae'].value:.2f}" if reference else "–",
            f"{row.fcd / vae:.2f}" if row.fcd is not None and vae else "–",
        ]
        lines.append([row.title, quoted(reference), ours, *ratios, *_measures(row, columns)])
    header = ["model", "FCD, report", "FCD, ours", "report / VAE", "ours / VAE", *columns]
    below = [
        "The report's classifier is another one than ours, so only ratios compare.",
        explanation(("FCD", *columns)),
    ]
    every = list(rows.values())
    return Table(header, lines, below + notes(every), commands(every, plan.FLOWAE_REPORT, "mnist"))


def table_1(results: str | Path, data: str) -> Table:
    """Table 1 of the paper.

    It has FID where it was measured, and the measures that do not need Inception's weights.
    """
    rows = list(read_rows(results, plan.TABLE_1, data).values())
    table = _quality(rows, plan.TABLE_1, data, SAMPLES)
    table.notes.insert(0, explanation(SAMPLES))
    marks = set()
    for line, row in zip(table.rows, rows, strict=True):
        reference = published.TABLE_1.get(row.row.name, {}).get(data)
        values = row.values("inception", "fid")
        away = f" ({difference(values, reference, 1)})" if values and reference else ""
        line[1:1] = [quoted(reference), number(values, 1) + away if values else NOT_RUN]
        line.append(f"{row.seconds:.0f}{_on_gpu(row, rows)}" if row.seconds is not None else "–")
        marks |= {reference.status} if reference else set()
    table.header[1:1] = ["FID, paper", "FID, ours"]
    table.header.append("seconds")
    if note := timing(rows):
        table.notes.append(note)
    table.notes.append(" ".join(f"{MEANINGS[status]}." for status in MEANINGS if status in marks))
    faces = {record.evaluation.get("reference_images") for row in rows for record in row.finished}
    if data == "celeba" and (faces := faces - {None, CELEBA_TEST}):
        table.notes.append(
            f"Measured on {', '.join(map(str, sorted(faces)))} test faces; the official split "
            f"has {CELEBA_TEST}. With fewer, they are those of a public subset of whole frames, "
            "squashed to 64 x 64 pixels."
        )
    if without_fid := [
        row for row in rows if not row or len(row.values("inception", "fid")) < len(row.finished)
    ]:
        table.notes.append("FID not run: needs the Inception weights.")
        fid = [line.partition("  #")[0] for line in commands(without_fid, plan.TABLE_1, data)]
        table.commands += [f"{line} --fid  # fills the column FID, ours" for line in fid]
    return table


def _on_gpu(row: RecordedRow, rows: list[RecordedRow]) -> str:
    """The mark for seconds of a GPU, if other rows of the table ran on a CPU; else nothing."""
    return (
        " on a GPU"
        if row.clock == "seconds" and any(other.clock == "cpu_seconds" for other in rows)
        else ""
    )


def convergence(results: str | Path, data: str) -> Table:
    """How many epochs and seconds of training it took until FCD was first down to fixed levels."""
    rows = list(read_rows(results, plan.CONVERGENCE, data).values())
    lines = []
    for row in rows:
        stages = [len({epoch["stage"] for epoch in record.history}) for record in row.records]
        final = number([curve[-1]["fcd"] for curve in row.curves]) if row.curves else NOT_RUN
        reached = [_reached(row, level, _on_gpu(row, rows)) for level in LEVELS]
        lines.append([row.title, str(max(stages, default="–")), final, *reached])
    header = ["model", "stages", "FCD at the end", *(f"FCD ≤ {level}" for level in LEVELS)]
    below = [
        "Epochs, and seconds of training in brackets, until the FCD of a straight line between "
        "snapshots is down to "
        "this, means over seeds; a dash where not every seed got there. The first snapshot "
        "counts from its own epoch. "
        "A model of two stages has snapshots of the second only, so it cannot reach any level in "
        "the first half of its "
        "epochs.",
        *filter(None, [timing(rows)]),
    ]
    bare = [row.title for row in rows if row and not row.curves]
    below += [f"Recorded without a learning curve: {'; '.join(bare)}."] if bare else []
    return Table(header, lines, below + notes(rows), commands(rows, plan.CONVERGENCE, data))


def time_to(level: float, row: RecordedRow) -> dict[str, float]:
    """When a row's FCD first came down to a level, a mean over seeds.

    Returns the "epoch" and, if times compare, the seconds of ``row.clock``.

    Empty if a seed never got there or its training diverged.
    """
    clocks = ["epoch", row.clock] if row.clock else ["epoch"]
    if row.diverged or first_at(level, row.curves) is None:
        return {}
    return {clock: first_at(level, row.curves, clock) for clock in clocks}


def _reached(row: RecordedRow, level: float, mark: str) -> str:
    times = time_to(level, row)
    if not times:
        return "–"
    seconds = f" ({times[row.clock]:.0f} s{mark})" if row.clock else ""
    return f"{times['epoch']:.2g}{seconds}"


def ablation(results: str | Path, group: str) -> Table:
    """The rows that answer one question of the ablations.

    They are compared on the seeds that all of them have. A note below gives FCD over all seeds of a
    row that has more.
    """
    recorded = read_rows(results, plan.ABLATIONS, "mnist")
    # A row that answers several questions has a title for each.
    rows = [replace(recorded[row.name], row=row) for row in plan.ABLATION_GROUPS[group][1]]
    seeds = common_seeds(rows)
    shown = [row.of_seeds(seeds) if row.seeds & seeds else row for row in rows]
    table = _quality(shown, plan.ABLATIONS, "mnist", SAMPLES)
    more = {row.row.title: row.values("classifier", "fcd") for row in rows if row.seeds - seeds}
    if more:
        spreads = "; ".join(
            f"{title}: {number(fcd)} over {len(fcd)} seeds" for title, fcd in more.items()
        )
        table.notes.insert(
            0,
            f"Shown are the seeds that all rows have, to compare like with like. FCD of {spreads}.",
        )
    return table


def memorization(results: str | Path) -> Table:
    """How near GLF's samples, test images and reconstructions of those are to the training set."""
    from scipy.stats import mannwhitneyu

    kinds = ("sample", "test", "reconstruction")
    lines, extents = [], []
    for data in plan.TABLE_1.rows:
        if not (found := nearest_distances(results, data)):
            lines.append([f"{data} ({NOT_RUN})", *["–"] * 5])
            continue
        medians = [number([statistics.median(found[kind])]) for kind in kinds]
        pairs = [(found["sample"], found[kind]) for kind in kinds[1:]]
        nearer = [f"{1 - mannwhitneyu(a, b).statistic / (len(a) * len(b)):.2f}" for a, b in pairs]
        lines.append([data, *medians, *nearer])
        extents.append(f"{data}: {read_rows(results, plan.TABLE_1, data)['glf'].extent}")
    header = [
        "data set",
        "samples",
        "test images",
        "reconstructions",
        "nearer than test",
        "than reconstructions",
    ]
    below = [
        "Median distance of 1,000 images to the nearest training image, on a classifier's "
        "features; then, how often a "
        "sample is nearer to the training images than a test image is, and than the "
        "reconstruction of a test image: "
        "0.5 for images that are like new ones, 1 for copies."
    ]
    return Table(
        header, lines, below + ([f"GLF of Table 1; {'; '.join(extents)}."] if extents else [])
    )


def compute(results: str | Path) -> Table:
    """How many hours the recorded trainings took, on which hardware.

    A training that several records share counts once, for the first of their experiments.
    """
    records = [
        (experiment.name, record)
        for experiment in plan.EXPERIMENTS.values()
        for data in experiment.rows
        for row in read_rows(results, experiment, data).values()
        for record in row.records
    ]
    counted = set()
    hours = {}
    for name, record in records:
        run = json.dumps([record["recipe"], record.settings], sort_keys=True)
        if run not in counted:
            counted.add(run)
            training = record.training
            clock = "cpu_seconds" if " thread" in training["hardware"] else "seconds"
            seconds = training.get(clock, training["seconds"])
            hardware = training["hardware"]
            software = ", ".join(
                f"{name} {training['versions'][name]}" for name in ("python", "torch")
            )
            hours.setdefault((name, hardware, software), []).append(seconds / 3600)
    lines = [[*kind, str(len(runs)), f"{sum(runs):.1f}"] for kind, runs in hours.items()]
    below = [] if lines else [f"Nothing has been recorded yet: {NOT_RUN}."]
    return Table(["experiment", "hardware", "software", "trainings", "hours"], lines, below, left=3)


TABLES: dict[str, Callable[[str | Path], Table]] = {
    "compute": compute,
    "memorization": memorization,
    "first-ranking": lambda results: quality(
        results, plan.FIRST_RANKING, "mnist", ("FCD", "KID", *SAMPLES[1:])
    ),
    "slide-deck": slide_deck,
    "slide-deck-samples": lambda results: quality(results, plan.SLIDE_DECK, "mnist", SAMPLES),
    "flowae-report": flowae_report,
    **{
        f"table-1-{data}": lambda results, data=data: table_1(results, data)
        for data in plan.TABLE_1.rows
    },
    **{
        f"convergence-{data}": lambda results, data=data: convergence(results, data)
        for data in plan.CONVERGENCE.rows
    },
    **{
        f"ablation-{group}": lambda results, group=group: ablation(results, group)
        for group in plan.ABLATION_GROUPS
    },
}
