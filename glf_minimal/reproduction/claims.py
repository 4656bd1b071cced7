"""The claims of the paper and its companions, each with its verdict."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from glf_minimal.reproduction import plan, rules
from glf_minimal.reproduction.tables import Table, Text


@dataclass(frozen=True)
class Claim:
    """A claim.

    Args:
        text: what is claimed.
        source: where.
        rule: when it counts as supported, and when as partly.
        judge: what decides it, from the folder of the records.
    """

    text: str
    source: str
    rule: str
    judge: Callable[[str | Path], rules.Judgement]


ALL, HALF = "in every comparison", "in at least half of them"
CLAIMS = (
    Claim(
        "On MNIST and Fashion-MNIST GLF's samples are better than those of the other models "
        "without a perceptual loss",
        "paper, Table 1‡",
        f"its FCD is lower {ALL}; partly: {HALF}",
        rules.best_samples_on_grey,
    ),
    Claim(
        "GLF converges faster than VAEs with a flow prior and two-stage models",
        "paper",
        "it reaches their best FCD at least a tenth sooner, by epochs and, where both were timed "
        "on one machine, by "
        f"seconds, {ALL}; between snapshots by a straight line; partly: {HALF}",
        rules.faster_convergence,
    ),
    Claim(
        "One stage is enough: nothing is lost by training flow and auto-encoder together",
        "paper",
        "FCD is not above FlowAE's, its two-stage twin, at as many epochs in all, of which the "
        "twin's auto-encoder has "
        f"half, {ALL}; partly: {HALF}",
        rules.single_stage,
    ),
    Claim(
        "The flow costs little reconstruction",
        "paper",
        "test error within 2 % of the same auto-encoder without a flow; partly: within 20 %",
        rules.reconstruction,
    ),
    Claim(
        "At β = 1, without the stop-gradient the latents collapse, with it they do not",
        "paper",
        "without it the NLL falls by more than 20 nats, test error and FCD rise by more than 20 "
        "%, or the training "
        f"diverges, and with it does not; partly: {HALF}",
        rules.stop_gradient,
    ),
    Claim(
        "A VAE with a flow prior approaches GLF as β grows",
        "paper, Fig. 3; slide deck",
        "each larger β brings test error and FCD nearer to GLF's, or leaves them no further away "
        "than seeds of GLF are "
        "(two standard deviations, if there are seeds; they need not arrive), in ablation and "
        f"Fig. 3; partly: {HALF}",
        rules.towards_glf,
    ),
    Claim(
        "The reconstructions of the slide deck's four models come out again",
        "slide deck",
        f"within 5 % of the deck's {ALL}; partly: {HALF}",
        rules.slide_deck,
    ),
    Claim(
        "FlowAE is best, then AdvAE, AAE and the VAE",
        "FlowAE report",
        f"the same order in every pair of them; partly: {HALF}",
        rules.flowae_report,
    ),
    Claim(
        "VAE samples have variety but lack clarity, AAE samples are clearer but lack variety",
        "FlowAE report",
        "precision of the AAE's samples is higher than that of the VAE's, and recall lower; "
        "partly: one of the two",
        rules.clear_or_varied,
    ),
    Claim(
        "The latents of an auto-encoder form more compact clusters than those of a VAE",
        "FlowAE report",
        "the silhouette of digits in its t-SNE map is larger by 0.05 or more",
        rules.compact_clusters,
    ),
    Claim(
        "On CIFAR-10 and CelebA GLF's samples are better than those of the other models without "
        "a perceptual loss",
        "paper, Table 1‡",
        f"its FCD is lower {ALL}; partly: {HALF}",
        lambda results: rules.best_samples(results, plan.COLOUR),
    ),
    Claim(
        "A perceptual loss makes the samples much better",
        "paper, Table 1‡ and Fig. 5",
        "FCD (with VGG16, else SqueezeNet) is lower by 20 % or more than with squared error "
        f"{ALL}; partly: {HALF}",
        rules.perceptual,
    ),
    Claim(
        "With a perceptual loss GLF's samples are better than GLANN's",
        "paper, Table 1‡",
        f"its FCD is lower {ALL}; partly: {HALF}",
        lambda results: rules.best_samples(
            results, plan.PAPER_DATA, "glf-perceptual", ("glann-perceptual",)
        ),
    ),
    Claim(
        "GLF's samples are competitive with GANs",
        "paper, abstract",
        "FID is not above that of GANs under the same protocol",
        lambda results: rules.Judgement(
            rules.NOT_TESTED,
            "No GAN is trained here, and the paper's benchmark of GANs is not in the sources.",
        ),
    ),
    Claim(
        "The reconstruction of regularized GLF with β = 1 and with β = 10 diverges on CIFAR-10",
        "paper, caption of Fig. 4",
        "it ends as no finite number, or with more than twice GLF's error on test images (on "
        "those of the training "
        "batch norm hides a part of it), in both; partly: in one; a reduced training might still "
        "have done so later",
        rules.divergence,
    ),
)


def claims(results: str | Path) -> Table:
    """Every claim with its verdict."""
    judged = [(claim, claim.judge(results)) for claim in CLAIMS]
    lines = [
        [claim.text, claim.source, found.met or "–", f"**{found.verdict}**"]
        for claim, found in judged
    ]
    return Table(["claim", "source", "comparisons met", "verdict"], lines, left=4)


def evidence(results: str | Path) -> Text:
    """Every claim with the numbers behind its verdict, and the rule."""
    entries = []
    for claim in CLAIMS:
        verdict, numbers, met = claim.judge(results)
        count = f" (comparisons met: {met})" if met else ""
        parts = [
            f"**{verdict}**{count}.",
            *([numbers] if numbers else []),
            f"*Supported if:* {claim.rule}.",
        ]
        entries.append(f"{claim.text} ({claim.source})\n: {' '.join(parts)}\n")
    return Text("\n".join(entries))
