"""What the paper's two companions claim: the slide deck and the report on FlowAE."""

import statistics
from itertools import combinations
from pathlib import Path

from glf_minimal.reproduction import plan, published
from glf_minimal.reproduction.extras import read_latent_maps, silhouette
from glf_minimal.reproduction.judging import (
    ALL,
    HALF,
    NOT_SUPPORTED,
    NOT_TESTED,
    SUPPORTED,
    Judgement,
    Source,
    claim,
    clearly_lower,
    comparable_rows,
    percent,
    ranking,
    verdict,
)
from glf_minimal.reproduction.recorded import RecordedRow, read_rows
from glf_minimal.reproduction.tables import number

DECK_TOLERANCE = 0.05  # of the deck's reconstruction error
COMPACTER = 0.05  # of a silhouette, which goes from -1 to 1


@claim(
    "The reconstructions of the slide deck's four models come out again",
    "slide deck",
    supported=f"within {percent(DECK_TOLERANCE)} of the deck's {ALL}",
    partly=HALF,
)
def slide_deck(results: str | Path) -> Judgement:
    rows = read_rows(results, plan.SLIDE_DECK, "mnist")
    met, evidence, sources = [], [], []
    for name, reference in published.SLIDE_DECK.items():
        row = rows[name]
        if row.finished and not row.reductions:
            ours = statistics.mean(record.training["last"]["recon"] for record in row.finished)
            theirs = reference["recon"].value
            met.append(abs(ours - theirs) <= DECK_TOLERANCE * theirs)
            numbers = f"{ours:.1f}, in the deck {theirs:.1f}"
            evidence.append(f"{row.row.title} ({row.extent}): {numbers}")
            sources.append(("slide-deck", "mnist", row))
    return verdict(met, len(published.SLIDE_DECK), evidence, sources)


@claim(
    "FlowAE is best, then AdvAE, AAE and the VAE",
    "FlowAE report",
    supported="the same order in every pair of them",
    partly=HALF,
)
def flowae_report(results: str | Path) -> Judgement:
    models = set(published.FLOWAE_REPORT) - {"real"}
    order = sorted(models, key=lambda name: published.FLOWAE_REPORT[name].value)
    rows = _report_rows(results, *order)
    pairs = list(combinations(order, 2))
    met = [
        clearly_lower(rows[better], rows[worse])
        for better, worse in pairs
        if better in rows and worse in rows
    ]
    evidence = [f"{_report_extent(rows)}: {ranking(rows, order)}"] if met else []
    return verdict(met, len(pairs), evidence, _sources(rows) if met else ())


@claim(
    "VAE samples have variety but lack clarity, AAE samples are clearer but lack variety",
    "FlowAE report",
    supported="precision of the AAE's samples is higher than that of the VAE's, and recall and "
    "coverage, where it was measured, are both lower",
    partly="one of the two",
)
def clear_or_varied(results: str | Path) -> Judgement:
    """Judge whether an AAE's samples are clearer than a VAE's, and have less variety.

    Clarity is taken as precision, the share of samples that lie among real images, and variety as
    recall, the share of real images that lie among samples, and coverage: recall alone is high also
    for samples that are far from all images.
    """
    rows = _report_rows(results, "flowae", "vae", "aae")
    if not {"vae", "aae"} <= rows.keys():
        return Judgement(NOT_TESTED)
    aae, vae = rows["aae"], rows["vae"]
    metrics = ("precision", "recall", "coverage")
    measured = [metric for metric in metrics if aae.values("classifier", metric)]
    met = [
        clearly_lower(vae, aae, ("classifier", "precision")),
        all(
            clearly_lower(aae, vae, ("classifier", metric))
            for metric in measured
            if metric != "precision"
        ),
    ]
    numbers = [
        f"{metric} {number(aae.values('classifier', metric))} of the AAE, "
        f"{number(vae.values('classifier', metric))} of the VAE"
        for metric in measured
    ]
    evidence = [f"{_report_extent(rows)}: {'; '.join(numbers)}"]
    return verdict(met, 2, evidence, _sources(rows))


@claim(
    "The latents of an auto-encoder form more compact clusters than those of a VAE",
    "FlowAE report",
    supported=f"the silhouette of digits in its t-SNE map is larger by {COMPACTER:g} or more",
)
def compact_clusters(results: str | Path) -> Judgement:
    rows = _report_rows(results, "flowae", "vae")
    maps = read_latent_maps(results)
    if not {"flowae", "vae"} <= rows.keys() & maps.keys():
        return Judgement(NOT_TESTED)
    own, vae = (silhouette(maps[name]) for name in ("flowae", "vae"))
    numbers = f"silhouette {own:.2f} of the auto-encoder's clusters, {vae:.2f} of the VAE's"
    return Judgement(
        SUPPORTED if own - vae >= COMPACTER else NOT_SUPPORTED,
        f"{_report_extent(rows)}, maps of seed 0: {numbers}.",
        edition="flowae-report (mnist)",
        seeds=1,
    )


def _report_rows(results: str | Path, *names: str) -> dict[str, RecordedRow]:
    return comparable_rows(read_rows(results, plan.FLOWAE_REPORT, "mnist"), "flowae", names)


def _sources(rows: dict[str, RecordedRow]) -> list[Source]:
    return [("flowae-report", "mnist", row) for row in rows.values()]


def _report_extent(rows: dict[str, RecordedRow]) -> str:
    return f"binarized mnist ({rows['flowae'].extent})"
