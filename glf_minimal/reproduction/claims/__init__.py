"""The claims of the paper and its companions, in the order of the book's page, and that page."""

from collections.abc import Sequence
from pathlib import Path

from glf_minimal.reproduction.claims import companions, method, samples
from glf_minimal.reproduction.judging import Claim, Judgement
from glf_minimal.reproduction.once import kept
from glf_minimal.reproduction.tables import Table, Text

OF_THE_PAPER = (
    samples.best_samples_on_grey,
    samples.best_samples_in_colour,
    method.faster_convergence,
    method.single_stage,
    method.reconstruction,
    method.stop_gradient,
    method.divergence,
    method.towards_glf,
    samples.perceptual,
    samples.better_than_glann,
    samples.competitive_with_gans,
)
CLAIMS = (
    *OF_THE_PAPER,
    companions.slide_deck,
    companions.flowae_report,
    companions.clear_or_varied,
    companions.compact_clusters,
)


@kept
def judge_claims(results: str | Path) -> list[tuple[Claim, Judgement]]:
    """Judge every claim from the records in a folder."""
    return [(claim, claim(results)) for claim in CLAIMS]


def verdicts(results: str | Path, claims: Sequence[Claim] = CLAIMS) -> Table:
    """Claims with their verdicts, one per line."""
    lines = []
    for claim, judged in judge_claims(results):
        if claim not in claims:
            continue
        cells = [claim.text, claim.source, judged.met or "–", judged.edition or "–"]
        lines.append([*cells, f"**{judged.said}**"])
    header = ["claim", "source", "comparisons met", "decided by", "verdict"]
    return Table(header, lines, left=5)


def evidence(results: str | Path) -> Text:
    """Every claim with its verdict, the numbers behind it, and the rule."""
    entries = []
    for claim, judged in judge_claims(results):
        count = f" (comparisons met: {judged.met})" if judged.met else ""
        sentences = [f"**{judged.said}**{count}.", f"*Supported if:* {claim.rule}."]
        if judged.evidence:
            sentences.insert(1, judged.evidence)
        entries.append(f"{claim.text} ({claim.source})\n: {' '.join(sentences)}\n")
    return Text("\n".join(entries))
