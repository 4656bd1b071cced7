"""From records to tables: text, the same for the same records, with what was published beside what was measured."""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from glf_minimal.errors import RunError
from glf_minimal.records import read_records
from glf_minimal.reproduction import plan, published
from glf_minimal.reproduction.plan import Experiment, Row, differing
from glf_minimal.reproduction.published import MARKS, MEANINGS, Published

NOT_RUN = "not run"
LEVELS = (20, 10, 5, 2, 1)  # of FCD, for the table of convergence
Records = dict[str, list[dict]]  # by row, one a seed


@dataclass
class Text:
    """Markdown, which notebooks show as such."""

    content: str

    def markdown(self) -> str:
        return self.content

    def _repr_markdown_(self) -> str:
        return self.markdown()


@dataclass
class Table:
    """A table as text.

    Args:
        header: titles of the columns.
        rows: cells of each row, as many as there are titles.
        notes: sentences below it.
        commands: what makes its numbers.
        numbers: whether all but the first and the last column hold such.
    """

    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    numbers: bool = True

    def markdown(self) -> str:
        """The table, its notes and commands as MyST Markdown."""
        alignment = ["---", *["---:" if self.numbers else "---"] * (len(self.header) - 2), "---"]
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.header, alignment, *self.rows)]
        notes = ["", " ".join(self.notes)] if self.notes else []
        commands = ["", "```shell", *self.commands, "```"] if self.commands else []
        return "\n".join([*lines, *notes, *commands]) + "\n"

    def _repr_markdown_(self) -> str:
        return self.markdown()


def recorded(results: str | Path, experiment: Experiment, data: str) -> Records:
    """The records of an experiment's rows on a data set, in the order of the plan; rows without any are left out.

    Where a row has records of several lengths of training, only those of the longest: they are not to be averaged.
    """
    try:
        found = read_records(results, experiment.folder, data)
    except RunError:
        return {}
    longest = {name: max(record["training"]["epochs"] for record in mine) for name, mine in found.items()}
    return {
        row.name: [record for record in found[row.name] if record["training"]["epochs"] == longest[row.name]]
        for row in experiment.rows[data]
        if row.name in found
    }


def number(values: list[float], digits: int = 2) -> str:
    """Mean and, of several, standard deviation: "1.12" or "1.12 ± 0.05"."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def measured(records: list[dict], group: str, name: str) -> list[float]:
    """A metric of every seed; empty where it was not measured."""
    groups = (record["metrics"].get(group) for record in records)
    return [measures[name] for measures in groups if isinstance(measures, dict) and name in measures]


def reductions(record: dict, row: Row) -> dict[str, tuple]:
    """What a recorded run has otherwise than the row's full run: setting -> (recorded, full)."""
    return differing(record["settings"], row.settings())


def extent(records: list[dict], row: Row, seeds: int) -> str:
    """How much was run: "15 epochs, 3 seeds, CPU"; a run with less than the row's settings is called reduced."""
    count = f"{len(records)} seed{'s' if len(records) > 1 else ''}{f' of {seeds}' if len(records) < seeds else ''}"
    if row.real:
        return count
    less = reductions(records[0], row)
    done, planned = less.pop("train.epochs", (records[0]["training"]["epochs"],) * 2)
    parts = [f"{done} of {planned} epochs" if done != planned else f"{done} epochs"]
    parts += [f"{name} {value}, not {full}" for name, (value, full) in less.items()]
    hardware = {"CPU" if "threads" in record["training"]["hardware"] else "GPU" for record in records}
    reduced = "reduced: " if less or done != planned else ""
    return f"{reduced}{', '.join([*parts, count, ' and '.join(sorted(hardware))])}"


def commands(records: Records, experiment: Experiment, data: str) -> list[str]:
    """What makes an experiment's records on a data set, in full and, where there are such, at reduced length."""
    full = f"glf reproduce {experiment.name}{f' --dataset {data}' if len(experiment.rows) > 1 else ''}"
    reduced = set()
    for row in experiment.rows[data]:
        less = reductions(records[row.name][0], row) if row.name in records else {}
        if less:
            settings = [f"--set {name}={json.dumps(value)}" for name, (value, _) in sorted(less.items())]
            reduced.add(" ".join([*settings, f"--seeds {len(records[row.name])}"]))
    return [full, *(f"{full} {options}  # the reduced rows" for options in sorted(reduced))]


def cell(values: list[float], digits: int = 2) -> str:
    return number(values, digits) if values else "–"


def quoted(value: Published | None) -> str:
    """A published number with the mark of its status."""
    if value is None:
        return "–"
    return f"{value.value:g}{f' ± {value.sd:g}' if value.sd else ''}{MARKS[value.status]}"


def difference(values: list[float], value: Published | None, digits: int = 2) -> str:
    return f"{statistics.mean(values) - value.value:+.{digits}f}" if values and value else "–"


QUALITY = {  # column: group and name of the metric, digits
    "FCD": ("classifier", "fcd", 2),
    "KID": ("classifier", "kid", 3),
    "precision": ("classifier", "precision", 3),
    "recall": ("classifier", "recall", 3),
    "coverage": ("classifier", "coverage", 3),
    "test error": ("reconstruction", "mse_per_image", 2),
    "NLL": ("latents", "nll", 1),
}
EXPLANATION = (
    "FCD, precision, recall and coverage compare 10,000 samples with the test images; test error is the squared error "
    "of reconstructed test images, summed over pixels; NLL is of their latents, in nats."
)


def quality(
    results: str | Path, experiment: Experiment, data: str, columns: tuple[str, ...], rows: tuple[Row, ...] = ()
) -> Table:
    """The measured columns of an experiment, a line for each row that has records."""
    records = recorded(results, experiment, data)
    lines, reasons, diverged = [], {}, []
    for row in rows or experiment.rows[data]:
        if row.name not in records:
            lines.append([row.title, *[NOT_RUN if c == columns[0] else "–" for c in columns], NOT_RUN])
            reasons.setdefault(f"needs {row.needs}" if row.needs else "not yet trained", []).append(row.title)
            continue
        mine = records[row.name]
        values = [cell(measured(mine, *QUALITY[c][:2]), QUALITY[c][2]) for c in columns]
        lines.append([row.title, *values, extent(mine, row, experiment.seeds)])
        ends = (f"{row.title}, seed {record['seed']}: {record['metrics']['classifier']}" for record in mine)
        diverged += [end for end in ends if ": diverged: " in end]
    notes = [EXPLANATION] if "test error" in columns else []
    notes += [f"{end}." for end in diverged]
    notes += [f"Not run: {', '.join(names)} ({reason})." for reason, names in reasons.items()]
    return Table(["model", *columns, "run"], lines, notes, commands(records, experiment, data))


def slide_deck(results: str | Path) -> Table:
    """What the slide deck prints of each model, beside the last epoch of the same model here."""
    records, lines = recorded(results, plan.SLIDE_DECK, "mnist"), []
    rows = {row.name: row for row in plan.SLIDE_DECK.rows["mnist"]}
    for name, reference in published.SLIDE_DECK.items():
        second = "nll" if name == "glf" else "kl"
        if name not in records:
            lines.append([rows[name].title, "total", quoted(reference["total"]), NOT_RUN, "–", NOT_RUN])
            continue
        last = [record["training"]["last"] for record in records[name]]
        values = {"recon": [row["recon"] for row in last], "second": [row[second] for row in last]}
        values["total"] = [sum(pair) for pair in zip(*values.values(), strict=True)]
        names = {"total": "total", "recon": "reconstruction", "second": "NLL" if second == "nll" else "KL"}
        run = extent(records[name], rows[name], plan.SLIDE_DECK.seeds)
        for quantity, label in names.items():
            line = [
                quoted(reference[quantity]),
                number(values[quantity]),
                difference(values[quantity], reference[quantity]),
            ]
            lines.append([*((rows[name].title, label) if quantity == "total" else ("", label)), *line, run])
            run = ""
    notes = ["Nats per image, means over the last epoch of the training; total = reconstruction + KL or NLL."]
    return Table(
        ["model", "quantity", "deck", "ours", "difference", "run"],
        lines,
        notes,
        commands(records, plan.SLIDE_DECK, "mnist"),
    )


def flowae_report(results: str | Path) -> Table:
    """FCD of the report beside ours, both also as multiples of the VAE's, since the classifiers differ."""
    records, lines = recorded(results, plan.FLOWAE_REPORT, "mnist"), []
    ours = {name: measured(mine, "classifier", "fcd") for name, mine in records.items()}
    of_vae = statistics.mean(ours["vae"]) if "vae" in ours else None
    for row in plan.FLOWAE_REPORT.rows["mnist"]:
        reference = published.FLOWAE_REPORT.get(row.name)
        theirs = [
            quoted(reference),
            f"{reference.value / published.FLOWAE_REPORT['vae'].value:.2f}" if reference else "–",
        ]
        if row.name not in records:
            lines.append([row.title, *theirs[:1], NOT_RUN, "–", theirs[1], *["–"] * 4, NOT_RUN])
            continue
        mine, values = records[row.name], ours[row.name]
        relative = f"{statistics.mean(values) / of_vae:.2f}" if of_vae else "–"
        measures = [cell(measured(mine, *QUALITY[c][:2]), QUALITY[c][2]) for c in ("precision", "recall", "test error")]
        run = extent(mine, row, plan.FLOWAE_REPORT.seeds)
        lines.append(
            [row.title, theirs[0], number(values), difference(values, reference), theirs[1], relative, *measures, run]
        )
    header = ["model", "FCD, report", "ours", "difference", "report / VAE", "ours / VAE", "precision", "recall"]
    notes = ["The report's classifier is another one than ours, so only ratios compare.", EXPLANATION]
    return Table([*header, "test error", "run"], lines, notes, commands(records, plan.FLOWAE_REPORT, "mnist"))


def table_1(results: str | Path, data: str) -> Table:
    """Table 1 of the paper: FID where it was measured, and what can be measured without Inception's weights."""
    table = quality(results, plan.TABLE_1, data, ("FCD", "precision", "recall", "coverage", "test error", "NLL"))
    records = recorded(results, plan.TABLE_1, data)
    fid_missing, marks = False, set()
    for line, row in zip(table.rows, plan.TABLE_1.rows[data], strict=True):
        reference = published.TABLE_1.get(row.name, {}).get(data)
        values = measured(records.get(row.name, []), "inception", "fid")
        fid_missing |= row.name in records and not values
        seconds = [record["training"]["seconds"] for record in records.get(row.name, []) if not row.real]
        ours = [number(values, 1) if values else NOT_RUN, difference(values, reference, 1)]
        line[1:1] = [quoted(reference), *ours]
        line.insert(-1, f"{statistics.mean(seconds):.0f}" if seconds else "–")
        marks |= {reference.status} if reference else set()
    table.header[1:1] = ["FID, paper", "FID, ours", "difference"]
    table.header.insert(-1, "seconds")
    table.notes += [f"{MEANINGS[status]}." for status in MEANINGS if status in marks]
    if fid_missing:
        table.notes.append("FID not run: needs the Inception weights.")
        table.commands.append(f"{table.commands[0]} --fid  # fills the column FID, ours")
    return table


def convergence(results: str | Path, data: str) -> Table:
    """Epochs and seconds of training until FCD is first at or below fixed levels."""
    records, lines = recorded(results, plan.CONVERGENCE, data), []
    for row in plan.CONVERGENCE.rows[data]:
        curves = [record["curve"] for record in records.get(row.name, []) if "curve" in record]
        if not curves:
            lines.append([row.title, "–", NOT_RUN, *["–"] * len(LEVELS), NOT_RUN])
            continue
        stages = len(dict.fromkeys(epoch["stage"] for epoch in records[row.name][0]["history"]))
        reached = []
        for level in LEVELS:
            firsts = [next((point for point in curve if point["fcd"] <= level), None) for curve in curves]
            if None in firsts:
                reached.append("–")
                continue
            epochs, seconds = ([point[key] for point in firsts] for key in ("epoch", "seconds"))
            reached.append(f"{statistics.mean(epochs):.3g} ({statistics.mean(seconds):.0f} s)")
        final = number([curve[-1]["fcd"] for curve in curves])
        run = extent(records[row.name], row, plan.CONVERGENCE.seeds)
        lines.append([row.title, str(stages), final, *reached, run])
    header = ["model", "stages", "FCD at the end", *(f"FCD ≤ {level}" for level in LEVELS), "run"]
    notes = ["Epochs, and seconds of training in brackets, to the first snapshot at this FCD or below; – is never."]
    return Table(header, lines, notes, commands(records, plan.CONVERGENCE, data))


def ablation(results: str | Path, group: str) -> Table:
    """One question of the ablations."""
    columns = ("FCD", "precision", "recall", "coverage", "test error", "NLL")
    return quality(results, plan.ABLATIONS, "mnist", columns, plan.ABLATION_GROUPS[group][1])


def compute(results: str | Path) -> Table:
    """How long the recorded trainings took, and on what; one that several records share counts once."""
    runs: dict[tuple[str, str], dict[str, float]] = {}
    for experiment in plan.EXPERIMENTS.values():
        if experiment.records:  # counted there
            continue
        for data in experiment.rows:
            for mine in recorded(results, experiment, data).values():
                for record in mine:
                    training = record["training"]
                    trained = json.dumps(record["settings"] | {"recipe": record["recipe"]}, sort_keys=True)
                    runs.setdefault((experiment.name, training["hardware"]), {})[trained] = training["seconds"]
    lines = [
        [name, str(len(trained)), f"{sum(trained.values()) / 3600:.1f}", hardware]
        for (name, hardware), trained in runs.items()
    ]
    notes = [] if lines else [f"Nothing has been recorded yet: {NOT_RUN}."]
    return Table(["experiment", "trainings", "hours", "hardware"], lines, notes)


_SAMPLES = ("FCD", "precision", "recall", "coverage", "test error", "NLL")
TABLES: dict[str, Callable[[str | Path], Table]] = {
    "compute": compute,
    "first-ranking": lambda results: quality(results, plan.FIRST_RANKING, "mnist", ("FCD", "KID", *_SAMPLES[1:])),
    "slide-deck": slide_deck,
    "slide-deck-samples": lambda results: quality(results, plan.SLIDE_DECK, "mnist", _SAMPLES),
    "flowae-report": flowae_report,
    **{f"table-1-{data}": lambda results, data=data: table_1(results, data) for data in plan.TABLE_1.rows},
    **{f"convergence-{data}": lambda results, data=data: convergence(results, data) for data in plan.CONVERGENCE.rows},
    **{f"ablation-{group}": lambda results, group=group: ablation(results, group) for group in plan.ABLATION_GROUPS},
}
