"""The rules by which claims of the paper and its companions are judged, from the records."""

import statistics
from collections.abc import Iterable
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

from glf_minimal.files import read_csv, user_path
from glf_minimal.reproduction import plan, published
from glf_minimal.reproduction.cells import Experiment
from glf_minimal.reproduction.recorded import RecordedRow, common_seeds, first_at, read_rows
from glf_minimal.reproduction.tables import number

SUPPORTED, PARTLY, NOT_SUPPORTED, NOT_TESTED = "supported", "partly", "not supported", "not tested"


class Judgement(NamedTuple):
    """A verdict, the numbers behind it, and how many of the comparisons were met, where there are
    several.
    """

    verdict: str
    evidence: str = ""
    met: str = ""


def _share(met: list[bool], planned: int) -> str:
    """All planned comparisons met: supported; at least half of those made: partly; else not
    supported.

    Not tested where less than half of the planned comparisons could be made.
    """
    if 2 * len(met) < planned:
        return NOT_TESTED
    if all(met) and len(met) == planned:
        return SUPPORTED
    return PARTLY if 2 * sum(met) >= len(met) else NOT_SUPPORTED


def _alike(
    results: str | Path,
    experiment: Experiment,
    data: str,
    like: str = "glf",
    of: tuple[str, ...] = (),
) -> dict[str, RecordedRow]:
    """Those rows (of some, or of all) that were run in full, or reduced, as the row ``like`` was,
    and on the same images; of them, the seeds that all have.
    """
    every = read_rows(results, experiment, data)
    rows = {name: row for name, row in every.items() if row.finished and name in (of or every)}
    how = (rows[like].reductions, rows[like].images) if like in rows else None
    alike = {name: row for name, row in rows.items() if (row.reductions, row.images) == how}
    seeds = common_seeds(alike.values())
    found = {
        name: row.of_seeds(seeds)
        for name, row in alike.items()
        if row.seeds & seeds or row.row.real
    }
    return found if like in found else {}


def _made(met: list[bool], planned: int, evidence: list[str]) -> Judgement:
    count = f"{sum(met)} of {len(met)}" if met else "none made"
    count += f", {planned} planned" if len(met) < planned else ""
    return Judgement(_share(met, planned), "; ".join(evidence) + "." if evidence else "", count)


def _clearly_lower(one: RecordedRow, other: RecordedRow, metric: str = "fcd") -> bool:
    """Whether the mean of ``one`` is below that of ``other``: of several seeds each, by over two
    standard errors.
    """
    a, b = (row.values("classifier", metric) for row in (one, other))
    error = (
        sum(statistics.variance(v) / len(v) for v in (a, b)) ** 0.5
        if min(len(a), len(b)) > 1
        else 0.0
    )
    return statistics.mean(b) - statistics.mean(a) > 2 * error


RIVALS = tuple(row for row in published.TABLE_1 if row != "glf" and "perceptual" not in row)


def best_samples(
    results: str | Path, sets: tuple[str, ...], ours: str = "glf", rivals: tuple[str, ...] = RIVALS
) -> Judgement:
    met, evidence = [], []
    for data in sets:
        rows, every = (
            _alike(results, plan.TABLE_1, data, ours),
            read_rows(results, plan.TABLE_1, data),
        )
        chosen = [name for name in rivals if name in rows]
        if every[ours].diverged:  # to which any rival that did not is preferred
            met += [False for name in rivals if every[name].finished]
        else:
            met += [_clearly_lower(rows[ours], rows[name]) for name in chosen]
        if chosen:
            evidence.append(
                f"table-1, {data} ({rows[ours].extent}): {_ranked(rows, (ours, *chosen))}"
            )
        lost = [every[name] for name in (ours, *rivals) if every[name].diverged]
        evidence += [
            f"{data}: {row.row.title} diverged, {row.diverged} of {len(row.records)}"
            for row in lost
        ]
    return _made(met, len(rivals) * len(sets), evidence)


def _ranked(rows: dict[str, RecordedRow], names: Iterable[str]) -> str:
    """Rows by FCD, best first."""
    found = sorted((rows[name] for name in names if name in rows), key=lambda row: row.fcd)
    return "FCD " + "; ".join(
        f"{number(row.values('classifier', 'fcd'))} {row.row.title}" for row in found
    )


def best_samples_on_grey(results: str | Path) -> Judgement:
    """With what smaller networks say beside it, which is not Table 1 and does not count."""
    judged, evidence = best_samples(results, plan.GREY), []
    for experiment, names in (
        (plan.FIRST_RANKING, ("glf", "ae-gmm", *RIVALS)),
        (plan.SLIDE_DECK, ("glf", *RIVALS)),
    ):
        rows = _alike(results, experiment, "mnist", of=names)
        if len(rows) > 1:
            extents = "; ".join(
                sorted({row.extent for row in rows.values()})
            )  # the deck gave each model its own
            evidence.append(
                f" Not counted: {experiment.name}, mnist ({extents}): {_ranked(rows, names)}."
            )
    return judged._replace(evidence="".join([judged.evidence, *evidence]).lstrip())


def faster_convergence(results: str | Path) -> Judgement:
    rivals, met, evidence = ("vae-flow-prior", "flowae", "two-stage-vae"), [], []
    for data in plan.CONVERGENCE.rows:
        rows = {
            name: row for name, row in _alike(results, plan.CONVERGENCE, data).items() if row.curves
        }
        parts = []
        for row in [rows[name] for name in rivals if {"glf", name} <= rows.keys()]:
            timed = (
                row.clock
                and row.clock == rows["glf"].clock
                and row.machines == rows["glf"].machines
            )
            clocks = {"epoch": "epochs"} | ({row.clock: "s"} if timed else {})
            bests = [min(curve, key=lambda point: point["fcd"]) for curve in row.curves]
            level, *theirs = (
                statistics.mean(point[key] for point in bests) for key in ("fcd", *clocks)
            )
            ours = [first_at(level, rows["glf"].curves, key) for key in clocks]
            met.append(
                all(
                    own is not None and own < 0.9 * best
                    for own, best in zip(ours, theirs, strict=True)
                )
            )
            best, reached = (
                ", ".join(map(_time, times, clocks.values())) for times in (theirs, ours)
            )
            parts.append(
                f"{row.row.title} was best after {best}, FCD {level:.2f}, GLF as good after "
                f"{reached}"
            )
        evidence += [f"{data} ({rows['glf'].extent}): {'; '.join(parts)}"] if parts else []
    return _made(met, len(rivals) * len(plan.CONVERGENCE.rows), evidence)


def _time(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.0f} s" if unit == "s" else f"{value:.3g} {unit}"


def single_stage(results: str | Path) -> Judgement:
    met, evidence = [], []
    compared = [
        (experiment, data)
        for experiment in (plan.TABLE_1, plan.FIRST_RANKING)
        for data in experiment.rows
    ]
    for experiment, data in compared:
        rows = _alike(results, experiment, data)
        if {"glf", "flowae"} <= rows.keys():
            one, two = rows["glf"], rows["flowae"]
            met.append(one.fcd <= two.fcd)
            numbers = f"FCD {one.fcd:.2f} in one stage, {two.fcd:.2f} in two"
            errors = ", ".join(
                number(row.values("reconstruction", "mse_per_image")) for row in (one, two)
            )
            evidence.append(
                f"{experiment.name}, {data} ({one.extent}): {numbers}; test error {errors}"
            )
    seeds = read_rows(results, plan.ABLATIONS, "mnist")["base"].values("classifier", "fcd")
    if evidence and len(seeds) > 1:
        evidence.append(
            f"how much seeds make: ablations, mnist: GLF {number(seeds)} over {len(seeds)} of them"
        )
    return _made(met, len(compared), evidence)


def reconstruction(results: str | Path) -> Judgement:
    rows = _alike(results, plan.FIRST_RANKING, "mnist")
    if not {"glf", "ae"} <= rows.keys():
        return Judgement(NOT_TESTED)
    glf, plain = (rows[name].test_error for name in ("glf", "ae"))
    coupled = (
        f" Without it {rows['regularized-glf'].test_error:.2f}."
        if "regularized-glf" in rows
        else ""
    )
    return Judgement(
        SUPPORTED if glf <= 1.02 * plain else PARTLY if glf <= 1.2 * plain else NOT_SUPPORTED,
        "It holds by construction: the stop-gradient keeps the flow out of the auto-encoder's "
        "training. "
        f"first-ranking, mnist ({rows['glf'].extent}): test error of GLF {glf:.2f}, of the plain "
        "auto-encoder "
        f"{plain:.2f}.{coupled}",
    )


def stop_gradient(results: str | Path) -> Judgement:
    every, rows = (read(results, plan.FIRST_RANKING, "mnist") for read in (read_rows, _alike))
    with_it, without = every["glf"], every["regularized-glf"]
    if with_it.diverged:
        return Judgement(NOT_SUPPORTED, "first-ranking, mnist: with it the training diverged.")
    if with_it and without and not without.finished and without.reductions == with_it.reductions:
        return Judgement(SUPPORTED, "first-ranking, mnist: without it the training diverged.")
    if not {"glf", "regularized-glf"} <= rows.keys():
        return Judgement(NOT_TESTED)
    glf, without = rows["glf"], rows["regularized-glf"]
    nll, bad_nll = (row.mean("latents", "nll") for row in (glf, without))
    met = [
        bad_nll < nll - 20,
        without.test_error > 1.2 * glf.test_error,
        without.fcd > 1.2 * glf.fcd,
    ]
    numbers = (
        f"first-ranking, mnist ({glf.extent}): without it the NLL falls to {bad_nll:.0f} (with "
        f"it {nll:.1f}), "
        f"test error rises to {without.test_error:.1f} ({glf.test_error:.1f}), "
        f"FCD to {without.fcd:.1f} ({glf.fcd:.1f}): three measures of one pair of models; for "
        "larger β see Figure 4"
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
        parts, every = [], read_rows(results, experiment, data)[glf.name]
        for measure, place in {
            "test error": ("reconstruction", "mse_per_image"),
            "FCD": ("classifier", "fcd"),
        }.items():
            *values, goal = (row.mean(*place) for row in chosen)
            seeds, gaps = every.values(*place), [abs(value - goal) for value in values]
            chance = 2 * statistics.stdev(seeds) if len(seeds) > 1 else 0.0
            met.append(all(b < a or b <= chance for a, b in pairwise(gaps)))
            spread = f" ({number(seeds)} over {len(seeds)} seeds)" if len(seeds) > 1 else ""
            parts.append(
                f"{measure} {', '.join(f'{v:.2f}' for v in values)}, GLF {goal:.2f}{spread}"
            )
        betas = ", ".join(row.title.rpartition("= ")[2] for row in vaes)
        evidence.append(
            f"{experiment.name}, {data} ({chosen[-1].extent}): β = {betas}: {'; '.join(parts)}"
        )
    return _made(met, 4, evidence)


def slide_deck(results: str | Path) -> Judgement:
    rows = read_rows(results, plan.SLIDE_DECK, "mnist")
    met, evidence = [], []
    for name, reference in published.SLIDE_DECK.items():
        if rows[name].finished and not rows[name].reductions:
            ours = statistics.mean(
                record["training"]["last"]["recon"] for record in rows[name].finished
            )
            theirs = reference["recon"].value
            met.append(abs(ours - theirs) <= 0.05 * theirs)
            evidence.append(
                f"{rows[name].row.title} ({rows[name].extent}): {ours:.1f}, in the deck "
                f"{theirs:.1f}"
            )
    return _made(met, len(published.SLIDE_DECK), evidence)


def flowae_report(results: str | Path) -> Judgement:
    order = sorted(
        set(published.FLOWAE_REPORT) - {"real"},
        key=lambda name: published.FLOWAE_REPORT[name].value,
    )
    rows = _alike(results, plan.FLOWAE_REPORT, "mnist", "flowae", of=tuple(order))
    met = [
        _clearly_lower(*pair)
        for pair in combinations([rows[name] for name in order if name in rows], 2)
    ]
    planned = len(order) * (len(order) - 1) // 2
    return _made(met, planned, [f"{_report_extent(rows)}: {_ranked(rows, order)}"] if met else [])


def clear_or_varied(results: str | Path) -> Judgement:
    """Clarity as precision, the share of samples that lie among real images; variety as recall, the
    reverse.
    """
    rows = _alike(results, plan.FLOWAE_REPORT, "mnist", "flowae", of=("flowae", "vae", "aae"))
    if not {"vae", "aae"} <= rows.keys():
        return Judgement(NOT_TESTED)
    aae, vae = (
        {m: rows[name].values("classifier", m) for m in ("precision", "recall")}
        for name in ("aae", "vae")
    )
    numbers = "; ".join(
        f"{m} {number(aae[m])} of the AAE, {number(vae[m])} of the VAE" for m in aae
    )
    met = [
        _clearly_lower(rows["vae"], rows["aae"], "precision"),
        _clearly_lower(rows["aae"], rows["vae"], "recall"),
    ]
    return _made(met, 2, [f"{_report_extent(rows)}: {numbers}"])


def compact_clusters(results: str | Path) -> Judgement:
    """The silhouettes of digits in the t-SNE maps (Rousseeuw, 1987), from -1 to 1."""
    from sklearn.metrics import silhouette_score

    folder, silhouettes = user_path(results) / plan.FLOWAE_REPORT.folder / "mnist", []
    rows = _alike(results, plan.FLOWAE_REPORT, "mnist", "flowae", of=("flowae", "vae"))
    for path in (folder / name / "seed-0-map.csv" for name in ("flowae", "vae")):
        if not path.exists() or not rows:
            return Judgement(NOT_TESTED)
        points = read_csv(path)
        silhouettes.append(
            silhouette_score([[p["x"], p["y"]] for p in points], [p["label"] for p in points])
        )
    own, vae = silhouettes
    numbers = f"silhouette {own:.2f} of the auto-encoder's clusters, {vae:.2f} of the VAE's"
    verdict = SUPPORTED if own - vae >= 0.05 else NOT_SUPPORTED
    return Judgement(verdict, f"{_report_extent(rows)}, maps of seed 0: {numbers}.")


def _report_extent(rows: dict[str, RecordedRow]) -> str:
    return f"binarized mnist ({rows['flowae'].extent})"


def perceptual(results: str | Path) -> Judgement:
    met, evidence = [], []
    for data in plan.TABLE_1.rows:
        rows = read_rows(results, plan.FIGURE_5, data)
        glf, row = rows["glf"], rows["glf-perceptual"] or rows["glf-squeezenet"]
        less = {
            name: value for name, value in row.reductions.items() if name != "model.reconstruction"
        }
        if row.seeds & glf.seeds and (less, row.images) == (glf.reductions, glf.images):
            same, ours = (one.of_seeds(row.seeds & glf.seeds) for one in (row, glf))
            met.append(same.fcd <= 0.8 * ours.fcd)
            fcd = f"FCD of {row.row.title} {same.fcd:.2f}, of GLF {ours.fcd:.2f}"
            evidence.append(f"table-1, {data} ({same.extent}): {fcd}")
    return _made(met, len(plan.TABLE_1.rows), evidence)


def divergence(results: str | Path) -> Judgement:
    rows, met, parts = read_rows(results, plan.FIGURE_4, "cifar10"), [], {}
    for row in filter(None, (rows[f"regularized-glf-beta-{beta}"] for beta in (1, 10))):
        like = (row.reductions, row.images)
        error, glf = (
            one.test_error if (one.reductions, one.images) == like else None
            for one in (row, rows["glf"])
        )
        above = bool(row.diverged) or (None not in (error, glf) and error > 2 * glf)
        if above or None not in (error, glf):
            met.append(above)
        last, end = row.records[0]["training"]["last"], "diverged, NaN or infinite"
        if not row.diverged and None not in (error, glf):
            trained = rows["glf"].records[0]["training"]["last"]["recon"]
            end = f"ended at a test error of {error:.0f}, GLF at {glf:.0f}"
            end += f" (in training {last['recon']:.0f}, GLF {trained:.0f}; NLL {last['nll']:.0f})"
        parts.setdefault(row.extent, []).append(f"{row.row.title} {end}")
    evidence = [
        f"figure-4, cifar10 ({extent}): {'; '.join(ends)}" for extent, ends in parts.items()
    ]
    return _made(met, 2, evidence)
