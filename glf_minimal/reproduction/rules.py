"""The rules by which the claims of the paper and its companions are judged, each from the records."""

import statistics
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from glf_minimal.reproduction import plan, published
from glf_minimal.reproduction.cells import Experiment
from glf_minimal.reproduction.recorded import RecordedRow, common_seeds, first_at, read_rows
from glf_minimal.reproduction.tables import number

SUPPORTED, PARTLY, NOT_SUPPORTED, NOT_TESTED = "supported", "partly", "not supported", "not tested"


class Judgement(NamedTuple):
    """A verdict, the numbers behind it, and how many of the comparisons were met, where there are several."""

    verdict: str
    evidence: str = ""
    met: str = ""


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
    found = {name: row.of_seeds(seeds) for name, row in alike.items() if row.seeds & seeds or row.row.real}
    return found if like in found else {}


def _made(met: list[bool], planned: int, evidence: list[str]) -> Judgement:
    count = f"{sum(met)} of {len(met)}" if met else "none made"
    count += f", {planned} planned" if len(met) < planned else ""
    return Judgement(_share(met, planned), "; ".join(evidence) + "." if evidence else "", count)


def best_samples(results: str | Path, sets: tuple[str, ...]) -> Judgement:
    rivals = [row for row in published.TABLE_1 if row != "glf" and "perceptual" not in row]
    met, evidence = [], []
    for data in sets:
        rows = _alike(results, plan.TABLE_1, data, "glf")
        others = sorted((rows[name].fcd, rows[name].row.title) for name in rivals if name in rows)
        if others:
            met += [rows["glf"].fcd < value for value, _ in others]
            listed = "; ".join(f"{value:.2f} for {title}" for value, title in others)
            evidence.append(f"table-1, {data} ({rows['glf'].extent}): FCD {rows['glf'].fcd:.2f} for GLF; {listed}")
        every = read_rows(results, plan.TABLE_1, data)
        lost = [every[name].row.title for name in ("glf", *rivals) if every[name] and not every[name].finished]
        evidence += [f"{data}: {title} diverged" for title in lost]
    return _made(met, len(rivals) * len(sets), evidence)


def faster_convergence(results: str | Path) -> Judgement:
    rivals, met, evidence = ("vae-flow-prior", "flowae", "two-stage-vae"), [], []
    for data in plan.CONVERGENCE.rows:
        rows = {name: row for name, row in _alike(results, plan.CONVERGENCE, data, "glf").items() if row.curves}
        parts = []
        for row in [rows[name] for name in rivals if {"glf", name} <= rows.keys()]:
            bests = [min(curve, key=lambda point: point["fcd"]) for curve in row.curves]
            level, epoch = (statistics.mean(point[key] for point in bests) for key in ("fcd", "epoch"))
            ours = first_at(level, rows["glf"].curves)
            met.append(ours is not None and ours < epoch)
            reached = "GLF never" if ours is None else f"GLF after {ours:.2g}"
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
    seeds = read_rows(results, plan.ABLATIONS, "mnist")["base"].values("classifier", "fcd")
    if evidence and len(seeds) > 1:
        evidence.append(f"how much seeds make: ablations, mnist: GLF {number(seeds)} over {len(seeds)} of them")
    return _made(met, planned, evidence)


def reconstruction(results: str | Path) -> Judgement:
    rows = _alike(results, plan.FIRST_RANKING, "mnist", "glf")
    if not {"glf", "ae"} <= rows.keys():
        return Judgement(NOT_TESTED)
    glf, plain = (rows[name].test_error for name in ("glf", "ae"))
    coupled = f" Without it {rows['regularized-glf'].test_error:.2f}." if "regularized-glf" in rows else ""
    return Judgement(
        SUPPORTED if glf <= 1.02 * plain else PARTLY if glf <= 1.2 * plain else NOT_SUPPORTED,
        f"first-ranking, mnist ({rows['glf'].extent}): test error of GLF {glf:.2f}, of the plain auto-encoder "
        f"{plain:.2f}; the stop-gradient makes the two equal by construction.{coupled}",
    )


def stop_gradient(results: str | Path) -> Judgement:
    rows = _alike(results, plan.FIRST_RANKING, "mnist", "glf")
    without = read_rows(results, plan.FIRST_RANKING, "mnist")["regularized-glf"]
    if "glf" in rows and without and not without.finished:
        return Judgement(SUPPORTED, "first-ranking, mnist: without it the training diverged.")
    if not {"glf", "regularized-glf"} <= rows.keys():
        return Judgement(NOT_TESTED)
    glf, without = rows["glf"], rows["regularized-glf"]
    nll, bad_nll = (row.mean("latents", "nll") for row in (glf, without))
    met = [bad_nll < nll - 20, without.test_error > 1.2 * glf.test_error, without.fcd > 1.2 * glf.fcd]
    numbers = (
        f"first-ranking, mnist ({glf.extent}): without it the NLL falls to {bad_nll:.0f} (with it {nll:.1f}), "
        f"test error rises to {without.test_error:.1f} ({glf.test_error:.1f}), "
        f"FCD to {without.fcd:.1f} ({glf.fcd:.1f})"
    )
    return _made(met, 3, [numbers])


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
        return Judgement(NOT_TESTED)
    ours = sorted(theirs, key=lambda name: rows[name].fcd)
    verdict = SUPPORTED if ours == theirs else PARTLY if ours[0] == theirs[0] else NOT_SUPPORTED
    listed = "; ".join(f"{rows[name].row.title} {rows[name].fcd:.2f}" for name in ours)
    return Judgement(verdict, f"binarized mnist ({rows['flowae'].extent}): FCD of {listed}.")


def perceptual(results: str | Path) -> Judgement:
    met, evidence = [], []
    for data in plan.TABLE_1.rows:
        rows = read_rows(results, plan.FIGURE_5, data)
        glf = rows["glf"]
        for row in (rows["glf-perceptual"], rows["glf-squeezenet"]):
            less = {name: value for name, value in row.reductions.items() if name != "model.reconstruction"}
            seeds = common_seeds((row, glf))
            if row.seeds & glf.seeds and less == glf.reductions:
                same, ours = row.of_seeds(seeds), glf.of_seeds(seeds).fcd
                met.append(same.fcd <= 0.8 * ours)
                evidence.append(
                    f"table-1, {data} ({same.extent}): FCD of {row.row.title} {same.fcd:.2f}, of GLF {ours:.2f}"
                )
    return _made(met, len(plan.TABLE_1.rows), evidence)


def divergence(results: str | Path) -> Judgement:
    rows, met, parts = read_rows(results, plan.FIGURE_4, "cifar10"), [], {}
    for row in filter(None, (rows[f"regularized-glf-beta-{beta}"] for beta in (1, 10))):
        error, glf = (one.test_error if one.reductions == row.reductions else None for one in (row, rows["glf"]))
        above = bool(row.diverged) or (None not in (error, glf) and error > 2 * glf)
        if above or not (row.reductions or glf is None):  # one that was cut short might have diverged later
            met.append(above)
        last, end = row.records[0]["training"]["last"], "diverged, NaN or infinite"
        if not row.diverged and None not in (error, glf):
            end = f"ended at a test error of {error:.0f}, GLF at {glf:.0f}"
            end += f" (in training {last['recon']:.0f}, NLL {last['nll']:.0f})"
        parts.setdefault(row.extent, []).append(f"{row.row.title} {end}")
    evidence = [f"figure-4, cifar10 ({extent}): {'; '.join(ends)}" for extent, ends in parts.items()]
    return _made(met, 2, evidence)
