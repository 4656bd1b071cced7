"""What the paper claims of the samples.

The claims are that they are better than those of other models, and better still with a
perceptual loss.
"""

from pathlib import Path

from glf_minimal.reproduction import plan, published
from glf_minimal.reproduction.judging import (
    ALL,
    CLEARLY,
    FCD,
    FSD,
    FULL,
    HALF,
    NOT_TESTED,
    SMALL,
    WHICH,
    Edition,
    Judgement,
    Source,
    claim,
    clearly_lower,
    comparable_rows,
    deciding,
    judges_disagree,
    percent,
    ranking,
    verdict,
)
from glf_minimal.reproduction.recorded import RecordedRow, read_rows
from glf_minimal.reproduction.tables import number

RIVALS = tuple(row for row in published.TABLE_1 if row != "glf" and "perceptual" not in row)
# Rows of the small edition that the paper's table does not have.
FURTHER = ("ae-gmm", "wae-mmd", "flowae", "advae", "glann")
GAIN = 0.2  # of FCD, by a perceptual loss
OWN_FEATURES = "FSD does not judge, as the loss compares its features"


def best_samples(
    results: str | Path,
    sets: tuple[str, ...],
    ours: str = "glf",
    rivals: tuple[str, ...] = RIVALS,
    judges: tuple[tuple[str, str], ...] = (FCD, FSD),
) -> Judgement:
    """Judge whether a row of Table 1 has better samples than each of its rivals.

    They are compared on each of these data sets. All judges that have judged both rows must say
    so. If a training of ``ours`` diverged, every rival with a finished training is better.
    """
    met: list[bool] = []
    evidence: list[str] = []
    sources: list[Source] = []
    missing = []
    for data in sets:
        edition, every, rows = deciding(results, data, ours, rivals)
        chosen = [name for name in rivals if name in rows]
        if every[ours].diverged:
            chosen_met = [False for name in rivals if every[name].finished]
        else:
            chosen_met = [_better(rows[ours], rows[name], judges) for name in chosen]
        met += chosen_met
        if chosen_met:
            sources.append((edition.title, data, rows.get(ours, every[ours])))
        else:
            missing.append(data)
        if chosen:
            evidence.append(_numbers(edition, data, rows, (ours, *chosen), judges))
            evidence += _disagreements(data, rows, ours, chosen, judges)
        for row in (every[name] for name in (ours, *rivals)):
            if row.diverged:
                count = f"{row.diverged} of {len(row.records)}"
                evidence.append(f"{data}: {row.row.title} diverged, {count}")
    return verdict(met, len(rivals) * len(sets), evidence, sources, missing)


def _better(
    ours: RecordedRow, rival: RecordedRow, judges: tuple[tuple[str, str], ...] = (FCD, FSD)
) -> bool:
    """Whether all of these judges that have judged both rows put ``ours`` clearly before."""
    judged = [judge for judge in judges if ours.values(*judge) and rival.values(*judge)]
    return bool(judged) and all(clearly_lower(ours, rival, judge) for judge in judged)


def _numbers(
    edition: Edition,
    data: str,
    rows: dict[str, RecordedRow],
    names: tuple[str, ...],
    judges: tuple[tuple[str, str], ...],
) -> str:
    """The distances of these rows by each judge, as evidence."""
    rankings = [ranking(rows, names, judge) for judge in judges]
    extent = rows[names[0]].extent
    return f"{edition.title}, {data} ({extent}): {'. '.join(filter(None, rankings))}"


def _disagreements(
    data: str,
    rows: dict[str, RecordedRow],
    ours: str,
    rivals: list[str],
    judges: tuple[tuple[str, str], ...],
) -> list[str]:
    """With which rivals the two judges clearly disagree, as evidence."""
    titles = [
        rows[name].row.title
        for name in rivals
        if len(judges) > 1 and judges_disagree(rows[ours], rows[name])
    ]
    if not titles:
        return []
    what = f"the judges disagree whether {rows[ours].row.title} is better than {', '.join(titles)}"
    return [f"{data}: {what}"]


@claim(
    "On MNIST and Fashion-MNIST GLF's samples are better than those of the other models "
    "without a perceptual loss",
    "paper, Table 1‡",
    supported=f"FCD and, where it was measured, FSD are lower {CLEARLY} {ALL}; {WHICH}",
    partly=HALF,
)
def best_samples_on_grey(results: str | Path) -> Judgement:
    judged = best_samples(results, plan.GREY)
    deck = comparable_rows(read_rows(results, plan.SLIDE_DECK, "mnist"), of=("glf", *RIVALS))
    quoted = _quoted("Not counted", "slide-deck", "mnist", deck, ("glf", *RIVALS))
    return _with_sentences(judged, [*_quotes(results, plan.GREY), quoted])


def _quotes(results: str | Path, sets: tuple[str, ...]) -> list[str]:
    """What stands beside the verdict where the small edition decides, as sentences.

    That is its rows that the paper's table does not have, and the full table.
    """
    sentences = []
    for data in sets:
        edition, every, _ = deciding(results, data, "glf", RIVALS)
        if edition is not SMALL:
            continue
        further = comparable_rows(every, of=("glf", *FURTHER))
        full = comparable_rows(FULL.read(results, data), of=("glf", *RIVALS))
        lead = "Not in the paper's table, and not counted"
        sentences += [
            _quoted(lead, SMALL.title, data, further, FURTHER),
            _quoted("Not counted", FULL.title, data, full, ("glf", *RIVALS)),
        ]
    return sentences


def _quoted(
    lead: str, title: str, data: str, rows: dict[str, RecordedRow], names: tuple[str, ...]
) -> str:
    """A sentence with the distances of these rows; empty where GLF has no rival among them."""
    found = [name for name in names if name in rows]
    if len(rows) < 2:
        return ""
    # Several extents, as the slide deck gave each model its own number of epochs.
    extents = "; ".join(sorted({rows[name].extent for name in found}))
    return f"{lead}: {title}, {data} ({extents}): {ranking(rows, found)}."


def _with_sentences(judged: Judgement, sentences: list[str]) -> Judgement:
    """The judgement with these sentences behind its evidence; empty ones are left out."""
    return judged._replace(evidence=" ".join(filter(None, [judged.evidence, *sentences])))


@claim(
    "On CIFAR-10 and CelebA GLF's samples are better than those of the other models without "
    "a perceptual loss",
    "paper, Table 1‡",
    supported=f"FCD and, where it was measured, FSD are lower {CLEARLY} {ALL}; {WHICH}",
    partly=HALF,
)
def best_samples_in_colour(results: str | Path) -> Judgement:
    return _with_sentences(best_samples(results, plan.COLOUR), _quotes(results, plan.COLOUR))


@claim(
    "A perceptual loss makes the samples much better",
    "paper, Table 1‡ and Fig. 5",
    supported=f"FCD (with VGG16, else SqueezeNet) is lower by {percent(GAIN)} or more than with "
    f"squared error {ALL}; {WHICH}; {OWN_FEATURES}",
    partly=HALF,
)
def perceptual(results: str | Path) -> Judgement:
    met: list[bool] = []
    evidence: list[str] = []
    sources: list[Source] = []
    missing = []
    for data in plan.TABLE_1.rows:
        for edition in (SMALL, FULL):
            plain, row = _with_and_without(edition.read(results, data))
            if plain and row:
                break
        else:
            missing.append(data)
            continue
        met.append(row.fcd <= (1 - GAIN) * plain.fcd)
        sources.append((edition.title, data, row))
        parts = [
            f"FCD of {row.row.title} {row.fcd:.2f}, of GLF {plain.fcd:.2f}",
            *_coverages(row, plain),
        ]
        evidence.append(f"{edition.title}, {data} ({row.extent}): {'; '.join(parts)}")
    return verdict(met, len(plan.TABLE_1.rows), evidence, sources, missing)


def _with_and_without(rows: dict[str, RecordedRow]) -> tuple[RecordedRow, RecordedRow]:
    """GLF, and GLF with a perceptual loss, on the seeds that both have.

    Two rows without records where the two may not be compared.
    """
    plain = rows["glf"]
    row = rows["glf-perceptual"] or rows["glf-squeezenet"]
    reductions = dict(row.reductions)
    reductions.pop("model.reconstruction", None)  # in this the two are to differ
    seeds = row.seeds & plain.seeds
    if (reductions, row.images) != (plain.reductions, plain.images):
        seeds = set()
    return plain.of_seeds(seeds), row.of_seeds(seeds)


def _coverages(one: RecordedRow, other: RecordedRow) -> list[str]:
    """The coverage of two rows, where it was measured of both."""
    values = [row.values("classifier", "coverage") for row in (one, other)]
    return [f"coverage {number(values[0])}, {number(values[1])}"] if all(values) else []


@claim(
    "With a perceptual loss GLF's samples are better than GLANN's",
    "paper, Table 1‡",
    supported=f"its FCD is lower {CLEARLY} {ALL}; {WHICH}, with SqueezeNet in the place of VGG16 "
    f"in the former; {OWN_FEATURES}",
    partly=HALF,
)
def better_than_glann(results: str | Path) -> Judgement:
    return best_samples(
        results, tuple(plan.PAPER_DATA), "glf-perceptual", ("glann-perceptual",), (FCD,)
    )


@claim(
    "GLF's samples are competitive with GANs",
    "paper, abstract",
    supported="FID is not above that of GANs under the same protocol",
)
def competitive_with_gans(results: str | Path) -> Judgement:
    return Judgement(
        NOT_TESTED,
        "No GAN is trained here, and the paper's benchmark of GANs is not in the sources.",
    )
