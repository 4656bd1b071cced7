"""The claims of the paper and its companions, each judged by a rule from the records."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from glf_minimal.reproduction import plan, published
from glf_minimal.reproduction.cells import Experiment
from glf_minimal.reproduction.recorded import RecordedRow, common_seeds, read_rows
from glf_minimal.reproduction.tables import Table, Text, number

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


def _share(met: list[bool], planned: int) -> str:
    """All planned comparisons met: supported; at least half of those made: partly; else not supported.

    Not tested where less than half of the planned comparisons could be made.
    """
    if 2 * len(met) < planned:
        return NOT_TESTED
    if all(met) and len(met) == planned:
        return SUPPORTED
    return PARTLY if 2 * sum(met) >= len(met) else NOT_SUPPORTED


def _alike(results: str | Path, experiment: Experiment, data: str, like: str) -> dict[str, RecordedRow]:
    """Those rows that were run in full, or reduced, as the row ``like`` was; of them, the seeds that all have."""
    rows = {name: row for name, row in read_rows(results, experiment, data).items() if row.finished}
    alike = {name: row for name, row in rows.items() if like in rows and row.reductions == rows[like].reductions}
    seeds = common_seeds(alike.values())
    return {name: row.of_seeds(seeds) for name, row in alike.items()} if seeds else {}


def _made(met: list[bool], planned: int, evidence: list[str]) -> Judgement:
    count = "" if len(met) == planned else f" {len(met)} of {planned} comparisons could be made."
    return _share(met, planned), ("; ".join(evidence) + "." if evidence else "") + count


def best_samples(results: str | Path, sets: tuple[str, ...]) -> Judgement:
    rivals = [row for row in published.TABLE_1 if row != "glf" and "perceptual" not in row]
    met, evidence = [], []
    for data in sets:
        rows = _alike(results, plan.TABLE_1, data, "glf")
        others = sorted((rows[name].fcd, rows[name].row.title) for name in rivals if name in rows)
        if others:
            met += [rows["glf"].fcd < value for value, _ in others]
            listed = "; ".join(f"{title} {value:.2f}" for value, title in others)
            evidence.append(f"table-1, {data} ({rows['glf'].extent}): FCD of GLF {rows['glf'].fcd:.2f}; {listed}")
    return _made(met, len(rivals) * len(sets), evidence)


def faster_convergence(results: str | Path) -> Judgement:
    rivals, met, evidence = ("vae-flow-prior", "flowae", "two-stage-vae"), [], []
    for data in plan.CONVERGENCE.rows:
        rows = {name: row for name, row in _alike(results, plan.CONVERGENCE, data, "glf").items() if row.curves}
        parts = []
        for row in [rows[name] for name in rivals if {"glf", name} <= rows.keys()]:
            bests = [min(curve, key=lambda point: point["fcd"]) for curve in row.curves]
            level, epoch = (statistics.mean(point[key] for point in bests) for key in ("fcd", "epoch"))
            firsts = [next((point["epoch"] for point in c if point["fcd"] <= level), None) for c in rows["glf"].curves]
            ours = None if None in firsts else statistics.mean(firsts)
            met.append(ours is not None and ours < epoch)
            reached = "GLF never" if ours is None else f"GLF after {ours:.3g}"
            parts.append(f"{row.row.title} was best after {epoch:.3g} epochs, FCD {level:.2f}, {reached}")
        evidence += [f"{data} ({rows['glf'].extent}): {'; '.join(parts)}"] if parts else []
    return _made(met, len(rivals) * len(plan.CONVERGENCE.rows), evidence)


def single_stage(results: str | Path) -> Judgement:
    met, evidence, planned = [], [], 0
    for experiment, sets in ((plan.TABLE_1, plan.GREY), (plan.FIRST_RANKING, ("mnist",))):
        for data in sets:
            planned, rows = planned + 1, _alike(results, experiment, data, "glf")
            if {"glf", "flowae"} <= rows.keys():
                one, two = rows["glf"].fcd, rows["flowae"].fcd
                met.append(one <= two)
                where = f"{experiment.name}, {data} ({rows['glf'].extent})"
                evidence.append(f"{where}: FCD {one:.2f} in one stage, {two:.2f} in two")
    return _made(met, planned, evidence)


def reconstruction(results: str | Path) -> Judgement:
    rows = _alike(results, plan.FIRST_RANKING, "mnist", "glf")
    if not {"glf", "ae", "regularized-glf"} <= rows.keys():
        return NOT_TESTED, ""
    glf, plain, coupled = (rows[name].test_error for name in ("glf", "ae", "regularized-glf"))
    return (
        SUPPORTED if glf <= 1.02 * plain else PARTLY if glf <= 1.2 * plain else NOT_SUPPORTED,
        f"first-ranking, mnist ({rows['glf'].extent}): test error of GLF {glf:.2f}, of the plain auto-encoder "
        f"{plain:.2f}; the stop-gradient makes the two equal by construction. Without it {coupled:.2f}.",
    )


def stop_gradient(results: str | Path) -> Judgement:
    rows = _alike(results, plan.FIRST_RANKING, "mnist", "glf")
    if not {"glf", "regularized-glf"} <= rows.keys():
        return NOT_TESTED, ""
    glf, without = rows["glf"], rows["regularized-glf"]
    nll, bad_nll = (row.mean("latents", "nll") for row in (glf, without))
    met = [bad_nll < nll - 20, without.test_error > 1.2 * glf.test_error, without.fcd > 1.2 * glf.fcd]
    return _share(met, 3), (
        f"first-ranking, mnist ({glf.extent}): without it the NLL falls to {bad_nll:.0f} (with it {nll:.1f}), "
        f"test error rises to {without.test_error:.1f} ({glf.test_error:.1f}), "
        f"FCD to {without.fcd:.1f} ({glf.fcd:.1f})."
    )


def towards_glf(results: str | Path) -> Judgement:
    met, evidence = [], []
    for experiment, data, (*vaes, glf) in (
        (plan.ABLATIONS, "mnist", plan.ABLATION_GROUPS["beta-vae"][1]),
        (plan.FIGURE_3, "cifar10", plan.FIGURE_3.rows["cifar10"]),
    ):
        rows = _alike(results, experiment, data, glf.name)
        chosen = [rows.get(row.name) for row in (*vaes, glf)]
        if None in chosen:
            continue
        parts, errors, fcd = [], [row.test_error for row in chosen], [row.fcd for row in chosen]
        for measure, values in (("test error", errors), ("FCD", fcd)):
            met.append(all(abs(b - values[-1]) < abs(a - values[-1]) for a, b in pairwise(values[:-1])))
            parts.append(f"{measure} {', '.join(f'{v:.2f}' for v in values[:-1])}, GLF {values[-1]:.2f}")
        every = read_rows(results, experiment, data)[glf.name].values("classifier", "fcd")
        parts += [f"over {len(every)} seeds GLF's is {number(every)}"] if len(every) > 1 else []
        betas = ", ".join(row.title.rpartition("= ")[2] for row in vaes)
        evidence.append(f"{experiment.name}, {data} ({chosen[-1].extent}): β = {betas}: {'; '.join(parts)}")
    return _made(met, 4, evidence)


def slide_deck(results: str | Path) -> Judgement:
    rows = read_rows(results, plan.SLIDE_DECK, "mnist")
    met, evidence = [], []
    for name, reference in published.SLIDE_DECK.items():
        if rows[name].finished and not rows[name].reductions:
            ours = statistics.mean(record["training"]["last"]["recon"] for record in rows[name].finished)
            theirs = reference["recon"].value
            met.append(abs(ours - theirs) <= 0.05 * theirs)
            evidence.append(f"{rows[name].row.title}: {ours:.1f}, in the deck {theirs:.1f}")
    return _made(met, len(published.SLIDE_DECK), evidence)


def flowae_report(results: str | Path) -> Judgement:
    rows = _alike(results, plan.FLOWAE_REPORT, "mnist", "flowae")
    reported = {name: value.value for name, value in published.FLOWAE_REPORT.items() if name != "real"}
    theirs = sorted(reported, key=reported.get)
    if not set(theirs) <= rows.keys():
        return NOT_TESTED, ""
    ours = sorted(theirs, key=lambda name: rows[name].fcd)
    verdict = SUPPORTED if ours == theirs else PARTLY if ours[0] == theirs[0] else NOT_SUPPORTED
    listed = "; ".join(f"{rows[name].row.title} {rows[name].fcd:.2f}" for name in ours)
    return verdict, f"binarized mnist ({rows['flowae'].extent}): FCD of {listed}."


def perceptual(results: str | Path) -> Judgement:
    met, evidence = [], []
    for data in plan.TABLE_1.rows:
        rows = read_rows(results, plan.FIGURE_5, data)
        glf = rows["glf"]
        for row in (rows["glf-perceptual"], rows["glf-squeezenet"]):
            less = {name: value for name, value in row.reductions.items() if name != "model.reconstruction"}
            if row.finished and glf.finished and less == glf.reductions:
                met.append(row.fcd <= 0.8 * glf.fcd)
                evidence.append(
                    f"table-1, {data} ({row.extent}): FCD of {row.row.title} {row.fcd:.2f}, of GLF {glf.fcd:.2f}"
                )
    return _made(met, len(plan.TABLE_1.rows), evidence)


def divergence(results: str | Path) -> Judgement:
    rows, met, parts = read_rows(results, plan.FIGURE_4, "cifar10"), [], {}
    for beta in (1, 10):
        row = rows[f"regularized-glf-beta-{beta}"]
        if row:
            diverged = len(row.finished) < len(row.records)
            if diverged or not row.reductions:  # one that was cut short might have diverged later
                met.append(diverged)
            last = row.records[0]["training"]["last"]
            end = (
                "diverged"
                if diverged
                else f"ended at an NLL of {last['nll']:.0f} and a reconstruction of {last['recon']:.0f}"
            )
            parts.setdefault(row.extent, []).append(f"{row.row.title} {end}")
    evidence = [f"figure-4, cifar10 ({extent}): {'; '.join(ends)}" for extent, ends in parts.items()]
    return _made(met, 2, evidence)


ALL, HALF = "in every comparison", "in at least half of them"
CLAIMS = (
    Claim(
        "On MNIST and Fashion-MNIST GLF's samples are better than those of the other models without a perceptual loss",
        "paper, Table 1",
        f"its FCD is lower {ALL}; partly: {HALF}",
        lambda results: best_samples(results, plan.GREY),
    ),
    Claim(
        "GLF converges faster than VAEs with a flow prior and two-stage models",
        "paper",
        f"it reaches their best FCD in fewer epochs {ALL}; partly: {HALF}",
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
        "each larger β brings test error and FCD nearer to GLF's, in ablation and Fig. 3; partly: in two of the four",
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
        "On CIFAR-10 and CelebA GLF's samples are better than those of the other models without a perceptual loss",
        "paper, Table 1",
        f"its FCD is lower {ALL}; partly: {HALF}",
        lambda results: best_samples(results, plan.COLOUR),
    ),
    Claim(
        "A perceptual loss makes the samples much better",
        "paper, Table 1 and Fig. 5",
        f"FCD is lower by 20 % or more than with squared error {ALL}; partly: {HALF}",
        perceptual,
    ),
    Claim(
        "Regularized GLF with β = 1 and with β = 10 diverges on CIFAR-10",
        "paper, Fig. 4",
        "a loss is no finite number in both trainings; partly: in one; a reduced one counts only if it diverged",
        divergence,
    ),
)


def claims(results: str | Path) -> Table:
    """Every claim with its verdict."""
    lines = [[claim.text, claim.source, f"**{claim.judge(results)[0]}**"] for claim in CLAIMS]
    return Table(["claim", "source", "verdict"], lines, left=3)


def evidence(results: str | Path) -> Text:
    """Every claim with the numbers behind its verdict, and the rule."""
    entries = []
    for claim in CLAIMS:
        verdict, numbers = claim.judge(results)
        parts = [f"**{verdict}.**", *([numbers.strip()] if numbers else []), f"*Supported if:* {claim.rule}."]
        entries.append(f"{claim.text} ({claim.source})\n: {' '.join(parts)}\n")
    return Text("\n".join(entries))
