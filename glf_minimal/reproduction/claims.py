"""The claims of the paper and its companions, each judged by a rule from the records."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from glf_minimal.reproduction import plan, published
from glf_minimal.reproduction.tables import Records, Table, Text, measured, recorded, reductions

SUPPORTED, PARTLY, NOT_SUPPORTED, NOT_TESTED = "supported", "partly", "not supported", "not tested"
Judgement = tuple[str, str]  # verdict, evidence


@dataclass(frozen=True)
class Claim:
    """A claim.

    Args:
        text: what is claimed.
        source: where.
        rule: when it counts as supported, and when as partly.
        judge: folder of the records -> verdict and evidence.
    """

    text: str
    source: str
    rule: str
    judge: Callable[[str | Path], Judgement]


def _share(met: list[bool], of: int | None = None) -> str:
    """All met: supported; at least half: partly; fewer: not supported. At most partly where ``of`` are planned."""
    if all(met) and len(met) == (of or len(met)):
        return SUPPORTED
    return PARTLY if 2 * sum(met) >= len(met) else NOT_SUPPORTED


def _mean(records: Records, row: str, group: str, name: str) -> float | None:
    """Mean over seeds of a metric of a row, None where it was not measured."""
    values = measured(records.get(row, []), group, name)
    return statistics.mean(values) if values else None


def _alike(results: str | Path, experiment: plan.Experiment, data: str) -> Records:
    """The records of GLF and of those rows that were run in full, or reduced, as GLF was; others are no match."""
    records, rows = recorded(results, experiment, data), {row.name: row for row in experiment.rows[data]}
    reduced = {name: reductions(mine[0], rows[name]) for name, mine in records.items()}
    return {name: mine for name, mine in records.items() if reduced[name] == reduced.get("glf")}


def _fcd(records: Records) -> dict[str, float]:
    found = {row: _mean(records, row, "classifier", "fcd") for row in records if row != "real"}
    return {row: value for row, value in found.items() if value is not None}


def _error(records: Records, row: str) -> float | None:
    return _mean(records, row, "reconstruction", "mse_per_image")


def _titles(experiment: plan.Experiment, data: str) -> dict[str, str]:
    return {row.name: row.title for row in experiment.rows[data]}


def best_samples(results: str | Path) -> Judgement:
    rivals = [row for row in published.TABLE_1 if row != "glf" and "perceptual" not in row]
    met, evidence = [], []
    for data in plan.TABLE_1.rows:
        fcd, titles = _fcd(_alike(results, plan.TABLE_1, data)), _titles(plan.TABLE_1, data)
        others = sorted((fcd[row], titles[row]) for row in rivals if row in fcd)
        if others:
            met += [fcd["glf"] < value for value, _ in others]
            listed = ", ".join(f"{title} {value:.2f}" for value, title in others)
            evidence.append(f"{data}: FCD of GLF {fcd['glf']:.2f}; {listed}.")
    planned = len(rivals) * len(plan.TABLE_1.rows)
    evidence.append(f"{len(met)} of {planned} comparisons could be made.")
    return (_share(met, planned), " ".join(evidence)) if met else (NOT_TESTED, "No records yet.")


def faster_convergence(results: str | Path) -> Judgement:
    rivals, met, evidence = ("vae-flow-prior", "flowae", "two-stage-vae"), [], []
    for data in plan.CONVERGENCE.rows:
        records, titles = _alike(results, plan.CONVERGENCE, data), _titles(plan.CONVERGENCE, data)
        curves = {row: mine[0]["curve"] for row, mine in records.items() if "curve" in mine[0]}
        for row in [row for row in rivals if {"glf", row} <= curves.keys()]:
            best = min(curves[row], key=lambda point: point["fcd"])
            ours = next((point for point in curves["glf"] if point["fcd"] <= best["fcd"]), None)
            met.append(ours is not None and ours["epoch"] < best["epoch"])
            reached = f"GLF after {ours['epoch']}" if ours else "GLF never"
            evidence.append(
                f"{data}: the best of {titles[row]}, FCD {best['fcd']:.2f}, came after {best['epoch']} "
                f"epochs, {reached}."
            )
    planned = len(rivals) * len(plan.CONVERGENCE.rows)
    evidence.append(f"{len(met)} of {planned} comparisons could be made.")
    return (_share(met, planned), " ".join(evidence)) if met else (NOT_TESTED, "No learning curves yet.")


def single_stage(results: str | Path) -> Judgement:
    met, evidence = [], []
    for experiment in (plan.TABLE_1, plan.FIRST_RANKING):
        for data in experiment.rows:
            fcd = _fcd(_alike(results, experiment, data))
            if {"glf", "flowae"} <= fcd.keys():
                met.append(fcd["glf"] <= fcd["flowae"])
                evidence.append(
                    f"{experiment.name}, {data}: FCD {fcd['glf']:.2f} in one stage, {fcd['flowae']:.2f} in two."
                )
    return (_share(met), " ".join(evidence)) if met else (NOT_TESTED, "No records yet.")


def reconstruction(results: str | Path) -> Judgement:
    records = recorded(results, plan.FIRST_RANKING, "mnist")
    glf, ae = _error(records, "glf"), _error(records, "ae")
    if glf is None or ae is None:
        return NOT_TESTED, "No records yet."
    return (
        SUPPORTED if glf <= 1.02 * ae else PARTLY if glf <= 1.2 * ae else NOT_SUPPORTED,
        f"Squared error of test images: GLF {glf:.4f}, the same auto-encoder without a flow {ae:.4f}.",
    )


def stop_gradient(results: str | Path) -> Judgement:
    records = recorded(results, plan.FIRST_RANKING, "mnist")
    rows = ("glf", "regularized-glf")
    if not set(rows) <= records.keys():
        return NOT_TESTED, "No records yet."
    (nll, bad_nll), (error, bad_error), (fcd, bad_fcd) = (
        [_mean(records, row, *metric) for row in rows]
        for metric in (("latents", "nll"), ("reconstruction", "mse_per_image"), ("classifier", "fcd"))
    )
    return (
        _share([bad_nll < nll - 20, bad_error > 1.2 * error, bad_fcd > 1.2 * fcd]),
        f"Without it the NLL falls to {bad_nll:.0f} (with it {nll:.1f}), the error rises to {bad_error:.1f} "
        f"({error:.1f}), FCD to {bad_fcd:.1f} ({fcd:.1f}).",
    )


def towards_glf(results: str | Path) -> Judgement:
    records = recorded(results, plan.ABLATIONS, "mnist")
    rows = [row.name for row in plan.ABLATION_GROUPS["beta-vae"][1]]
    if not set(rows) <= records.keys():
        return NOT_TESTED, "No records yet."
    errors = [_error(records, row) for row in rows]
    fcd = [_mean(records, row, "classifier", "fcd") for row in rows]
    met = [all(abs(b - values[-1]) < abs(a - values[-1]) for a, b in pairwise(values[:-1])) for values in (errors, fcd)]
    betas = "1, 10, 100, 400"
    return _share(met), (
        f"β = {betas}: test error {', '.join(f'{v:.2f}' for v in errors[:-1])}, GLF {errors[-1]:.2f}; "
        f"FCD {', '.join(f'{v:.2f}' for v in fcd[:-1])}, GLF {fcd[-1]:.2f}."
    )


def slide_deck(results: str | Path) -> Judgement:
    records, titles = recorded(results, plan.SLIDE_DECK, "mnist"), _titles(plan.SLIDE_DECK, "mnist")
    met, evidence = [], []
    for row, reference in published.SLIDE_DECK.items():
        if row in records:
            ours = statistics.mean(record["training"]["last"]["recon"] for record in records[row])
            theirs = reference["recon"].value
            met.append(abs(ours - theirs) <= 0.05 * theirs)
            evidence.append(f"{titles[row]} {ours:.1f} ({theirs:.1f})")
    return (_share(met), f"Ours (the deck's): {', '.join(evidence)}.") if met else (NOT_TESTED, "No records yet.")


def flowae_report(results: str | Path) -> Judgement:
    fcd, titles = _fcd(recorded(results, plan.FLOWAE_REPORT, "mnist")), _titles(plan.FLOWAE_REPORT, "mnist")
    theirs = sorted(
        (row for row in published.FLOWAE_REPORT if row != "real"), key=lambda r: published.FLOWAE_REPORT[r].value
    )
    if not set(theirs) <= fcd.keys():
        return NOT_TESTED, "No records yet."
    ours = sorted(theirs, key=fcd.get)
    verdict = SUPPORTED if ours == theirs else PARTLY if ours[0] == theirs[0] else NOT_SUPPORTED
    return verdict, f"FCD here: {', '.join(f'{titles[row]} {fcd[row]:.2f}' for row in ours)}."


def _later(results: str | Path) -> Judgement:
    return NOT_TESTED, ""


ALL, HALF = "in every comparison", "in at least half of them"
MADE = "in every planned comparison"
CLAIMS = (
    Claim(
        "GLF's samples are better than those of the other models of Table 1 (those without a perceptual loss)",
        "paper, Table 1",
        f"its FCD is lower {MADE}; partly: in at least half of those made",
        best_samples,
    ),
    Claim(
        "GLF converges faster than VAEs with a flow prior and two-stage models",
        "paper",
        f"it reaches their best FCD in fewer epochs, {MADE}; partly: in at least half of those made",
        faster_convergence,
    ),
    Claim(
        "One stage is enough: nothing is lost by training flow and auto-encoder together",
        "paper",
        f"FCD is not above FlowAE's, its two-stage twin, at as many epochs in all; partly: {HALF}",
        single_stage,
    ),
    Claim(
        "The flow costs little reconstruction",
        "paper",
        "test error within 2 % of the same auto-encoder without a flow; partly: within 20 %",
        reconstruction,
    ),
    Claim(
        "Without the stop-gradient the latents collapse, with it they do not",
        "paper",
        f"without it the NLL falls by more than 20 nats, test error and FCD rise by more than 20 %; partly: {HALF}",
        stop_gradient,
    ),
    Claim(
        "A VAE with a flow prior approaches GLF as β grows",
        "paper, Fig. 3; slide deck",
        "each larger β brings test error and FCD nearer to GLF's; partly: one of the two",
        towards_glf,
    ),
    Claim(
        "Reconstructions of the slide deck's four models",
        "slide deck",
        f"within 5 % of the deck's {ALL}; partly: {HALF}",
        slide_deck,
    ),
    Claim(
        "FlowAE is best, then AdvAE, AAE and the VAE",
        "FlowAE report",
        "the same order; partly: the same best",
        flowae_report,
    ),
    Claim(
        "A perceptual loss makes the samples much better",
        "paper, Table 1 and Fig. 5",
        "needs the VGG16 weights",
        _later,
    ),
    Claim("The same holds for CIFAR-10 and CelebA", "paper, Table 1", "needs a GPU", _later),
    Claim("Regularized GLF with β = 1 and 10 diverges on CIFAR-10", "paper, Fig. 4", "needs a GPU", _later),
)


def claims(results: str | Path) -> Table:
    """Every claim with its verdict."""
    lines = [[claim.text, claim.source, f"**{claim.judge(results)[0]}**"] for claim in CLAIMS]
    return Table(["claim", "source", "verdict"], lines, numbers=False)


def evidence(results: str | Path) -> Text:
    """Every claim with the numbers behind its verdict, and the rule."""
    entries = []
    for claim in CLAIMS:
        verdict, numbers = claim.judge(results)
        rule = "Not tested" if claim.judge is _later else "Supported if"
        entries.append(f"{claim.text} ({claim.source})\n: **{verdict}.** {numbers} *{rule}:* {claim.rule}.\n")
    return Text("\n".join(entries))
