"""From records to tables: text, the same for the same records, with what was published beside what
was measured.
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from glf_minimal.reproduction import plan, published
from glf_minimal.reproduction.cells import Experiment, Row
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
    """Markdown, which notebooks show as such."""

    content: str

    def markdown(self) -> str:
        return self.content

    _repr_markdown_ = __repr__ = markdown


@dataclass(repr=False)
class Table:
    """A table as text.

    Args:
        header: titles of the columns.
        rows: cells of each row, as many as there are titles.
        notes: paragraphs below it.
        commands: what makes its numbers.
        left: how many columns, from the left, hold words and not numbers.
    """

    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    left: int = 1

    def markdown(self) -> str:
        """The table, its notes and commands as MyST Markdown."""
        alignment = ["---" if place < self.left else "---:" for place in range(len(self.header))]
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.header, alignment, *self.rows)]
        notes = [line for note in self.notes for line in ("", note)]
        commands = ["", "```shell", *self.commands, "```"] if self.commands else []
        return "\n".join([*lines, *notes, *commands]) + "\n"

    _repr_markdown_ = __repr__ = markdown


def number(values: list[float], digits: int = 2) -> str:
    """Mean and, of several, standard deviation: "1.12" or "1.12 ± 0.05"; a dash for none."""
    if not values:
        return "–"
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def quoted(value: Published | None) -> str:
    """A published number with the mark of its status."""
    if value is None:
        return "–"
    return f"{value.value:g}{f' ± {value.sd:g}' if value.sd else ''}{MARKS[value.status]}"


def difference(values: list[float], value: Published | None, digits: int = 2) -> str:
    return f"{statistics.mean(values) - value.value:+.{digits}f}" if values and value else "–"


# column: group and name of the metric, digits, what it is
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
    """A sentence on the measures of samples, and one on each of the other columns."""
    of_samples = [column for column in columns if QUALITY[column][0] == "classifier"]
    names = f"{', '.join(of_samples[:-1])} and {of_samples[-1]}"
    own = [QUALITY[column][3] for column in columns if QUALITY[column][3]]
    return " ".join(
        [f"{names} compare 10,000 samples with the test images, on a classifier's features.", *own]
    )


def quality(
    results: str | Path,
    experiment: Experiment,
    data: str,
    columns: tuple[str, ...],
    only: tuple[Row, ...] = (),
    seeds: set[int] | None = None,
) -> Table:
    """The measured columns of an experiment, a line for each row; of ``only`` these rows, with
    their titles and ``seeds``, and without an explanation of the columns.
    """
    rows = read_rows(results, experiment, data)
    if seeds is not None:
        rows = {
            name: row.of_seeds(seeds) if row.seeds & seeds else row for name, row in rows.items()
        }
    chosen = [
        RecordedRow(experiment, row, rows[row.name].records)
        for row in only or experiment.rows[data]
    ]
    lines = []
    for row in chosen:
        values = [
            number(row.values(*QUALITY[column][:2]), QUALITY[column][2]) for column in columns
        ]
        lines.append([row.title, *(values if row else [NOT_RUN, *["–"] * (len(columns) - 1)])])
    below = [*([] if only else [explanation(columns)]), *notes(chosen)]
    return Table(["model", *columns], lines, below, commands(chosen, experiment, data))


def slide_deck(results: str | Path) -> Table:
    """What the slide deck prints of each model, beside the last epoch of the same model here."""
    rows, lines = read_rows(results, plan.SLIDE_DECK, "mnist"), []
    for name, reference in published.SLIDE_DECK.items():
        row, second = rows[name], "nll" if name == "glf" else "kl"
        last = [record["training"]["last"] for record in row.finished]
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
    """FCD of the report beside ours, both also as multiples of the VAE's, since the classifiers
    differ.
    """
    rows, theirs = read_rows(results, plan.FLOWAE_REPORT, "mnist"), published.FLOWAE_REPORT
    columns, lines, vae = ("precision", "recall", "test error"), [], rows["vae"].fcd
    for name, row in rows.items():
        reference, values = theirs.get(name), row.values("classifier", "fcd")
        ours = number(values) if row else NOT_RUN
        ratios = [
            f"{reference.value / theirs['vae'].value:.2f}" if reference else "–",
            f"{row.fcd / vae:.2f}" if row.fcd is not None and vae else "–",
        ]
        measures = [
            number(row.values(*QUALITY[column][:2]), QUALITY[column][2]) for column in columns
        ]
        lines.append([row.title, quoted(reference), ours, *ratios, *measures])
    header = ["model", "FCD, report", "FCD, ours", "report / VAE", "ours / VAE", *columns]
    below = [
        "The report's classifier is another one than ours, so only ratios compare.",
        explanation(("FCD", *columns)),
    ]
    every = list(rows.values())
    return Table(header, lines, below + notes(every), commands(every, plan.FLOWAE_REPORT, "mnist"))


def table_1(results: str | Path, data: str) -> Table:
    """Table 1 of the paper: FID where it was measured, and what can be measured without Inception's
    weights.
    """
    table, marks = quality(results, plan.TABLE_1, data, SAMPLES), set()
    rows = list(read_rows(results, plan.TABLE_1, data).values())
    for line, row in zip(table.rows, rows, strict=True):
        reference, values = (
            published.TABLE_1.get(row.row.name, {}).get(data),
            row.values("inception", "fid"),
        )
        away = f" ({difference(values, reference, 1)})" if values and reference else ""
        line[1:1] = [quoted(reference), number(values, 1) + away if values else NOT_RUN]
        line.append(f"{row.seconds:.0f}{_on_gpu(row, rows)}" if row.seconds is not None else "–")
        marks |= {reference.status} if reference else set()
    table.header[1:1] = ["FID, paper", "FID, ours"]
    table.header.append("seconds")
    if note := timing(rows):
        table.notes.append(note)
    table.notes.append(" ".join(f"{MEANINGS[status]}." for status in MEANINGS if status in marks))
    faces = {
        record.get("evaluation", {}).get("reference_images")
        for row in rows
        for record in row.finished
    }
    if data == "celeba" and (faces := faces - {None, CELEBA_TEST}):
        table.notes.append(
            f"Measured on {', '.join(map(str, sorted(faces)))} test faces; the official split "
            f"has {CELEBA_TEST}. With "
            f"fewer, they are those of a public subset of whole frames, squashed to 64 x 64 pixels."
        )
    if without_fid := [
        row for row in rows if not row or len(row.values("inception", "fid")) < len(row.finished)
    ]:
        table.notes.append("FID not run: needs the Inception weights.")
        fid = [line.partition("  #")[0] for line in commands(without_fid, plan.TABLE_1, data)]
        table.commands += [f"{line} --fid  # fills the column FID, ours" for line in fid]
    return table


def _on_gpu(row: RecordedRow, rows: list[RecordedRow]) -> str:
    """What marks the seconds of a row as those of a GPU, where other rows ran on a CPU."""
    return (
        " on a GPU"
        if row.clock == "seconds" and any(other.clock == "cpu_seconds" for other in rows)
        else ""
    )


def convergence(results: str | Path, data: str) -> Table:
    """Epochs and seconds of training until FCD is first at or below fixed levels."""
    rows, lines = list(read_rows(results, plan.CONVERGENCE, data).values()), []
    for row in rows:
        stages = [len({epoch["stage"] for epoch in record["history"]}) for record in row.records]
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
    """When a row's FCD first came down to a level: "epoch" and, if they compare, the seconds of
    ``row.clock``, each a mean over seeds.

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
    """One question of the ablations: all rows with the same seeds, and how much further seeds of a
    row differ.
    """
    rows, planned = read_rows(results, plan.ABLATIONS, "mnist"), plan.ABLATION_GROUPS[group][1]
    seeds = common_seeds(rows[row.name] for row in planned)
    table = quality(results, plan.ABLATIONS, "mnist", SAMPLES, planned, seeds)
    more = {
        row.title: rows[row.name].values("classifier", "fcd")
        for row in planned
        if rows[row.name].seeds - seeds
    }
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
    """How near samples of GLF come to the training set, beside test images and their
    reconstructions.
    """
    from scipy.stats import mannwhitneyu

    kinds, lines, extents = ("sample", "test", "reconstruction"), [], []
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
    """How long the recorded trainings took, and on what; one that several records share counts
    once, at the first.
    """
    records = [
        (experiment.name, record)
        for experiment in plan.EXPERIMENTS.values()
        for data in experiment.rows
        for row in read_rows(results, experiment, data).values()
        for record in row.records
    ]
    counted, hours = set(), {}
    for name, record in records:
        run = json.dumps([record["recipe"], record["settings"]], sort_keys=True)
        if run not in counted:
            counted.add(run)
            training = record["training"]
            clock = "cpu_seconds" if " thread" in training["hardware"] else "seconds"
            seconds = training.get(clock, training["seconds"])
            hardware = training["hardware"].replace(" 1 threads", " 1 thread")
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
