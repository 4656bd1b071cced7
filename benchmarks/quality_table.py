"""What is read off the points of "time to quality": a table over seeds, and a picture."""

from pathlib import Path
from statistics import fmean, median, stdev

from benchmarks.compare import made_with
from benchmarks.quality_points import CONTENDERS, OUT_OF_TIME
from glf_minimal.plotting import use_style

THRESHOLDS = (5.0, 2.0, 1.5)


def first_reaching(points: list[dict], threshold: float) -> dict | None:
    """The cheapest of the points whose FCD is at most this; nothing is read in between points."""
    good = [point for point in points if point["fcd"] <= threshold]
    return min(good, key=lambda point: point["cpu_seconds"], default=None)


def _reached(seeds: list[list[dict]], threshold: float) -> str:
    """The seconds until a threshold; over several seeds their median and range."""
    points = [first_reaching(points, threshold) for points in seeds]
    seconds = sorted(point["cpu_seconds"] for point in points if point)
    if not seconds:
        return "not reached"
    text = f"{median(seconds):.0f} s"
    if len(seconds) > 1:
        text += f" ({seconds[0]:.0f} to {seconds[-1]:.0f})"
    return text if len(seconds) == len(seeds) else f"{text}, {len(seconds)} of {len(seeds)} seeds"


def _best(seeds: list[list[dict]], judge: str, digits: int) -> str:
    """The least distance by a judge and when it was reached; with one seed the standard error of
    its samples, with several the standard deviation over them.
    """
    if any(judge not in point for points in seeds for point in points):
        return "not run"
    least = [min(points, key=lambda point: point[judge]) for points in seeds]
    distances = [point[judge] for point in least]
    spread = stdev(distances) if len(seeds) > 1 else least[0][f"{judge}_se"]
    seconds = median(point["cpu_seconds"] for point in least)
    return f"{fmean(distances):.{digits}f} ± {spread:.{digits}f} ({seconds:.0f} s)"


def _row(name: str, seeds: list[list[dict]]) -> list[str]:
    last = [points[-1] for points in seeds]
    epoch = median(point["train_cpu_seconds"] / point["epoch"] for point in last)
    return [
        CONTENDERS[name].title,
        *(_reached(seeds, threshold) for threshold in THRESHOLDS),
        _best(seeds, "fcd", 2),
        _best(seeds, "fsd", 0),
        f"{epoch:.0f}",
        f"{last[0]['parameters']:,}",
    ]


def _out_of_time(results: tuple[dict, ...]) -> str:
    """Whose budget was spent before the last epoch, and after how many."""
    return "".join(
        f" {CONTENDERS[name].title}: one seed ran out of time after "
        f"{contender['points'][-1]['epoch']} epochs."
        for result in results
        for name, contender in result["contenders"].items()
        if contender.get("stopped") == OUT_OF_TIME
    )


def table(*results: dict) -> str:
    """CPU seconds until each threshold, and the best points by both judges, as Markdown.

    Args:
        results: of one data set, one for each seed.
    """
    heads = [
        "",
        *(f"FCD ≤ {threshold:g}" for threshold in THRESHOLDS),
        "best FCD",
        "best FSD",
        "CPU s per epoch",
        "numbers behind a sample",
    ]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for name in CONTENDERS:
        seeds = [
            result["contenders"][name]["points"]
            for result in results
            if name in result["contenders"]
        ]
        if seeds:
            lines.append(_row(name, seeds))
    below = "± is the standard error over draws of the samples."
    if len(results) > 1:
        below = (
            f"{len(results)} seeds: the median of the seconds and their range; the mean of the "
            "best distances ± their standard deviation."
        )
    below += _out_of_time(results)
    if "made_with" in results[0]:
        below += f" {made_with(results[0])}"
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{below}\n"


def figure(results: dict, path: str | Path) -> None:
    """Write a picture: FCD over CPU seconds, both logarithmic, and the FCD of real images as the
    floor.
    """
    import matplotlib.pyplot as plt

    use_style()
    drawing, axis = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for name, contender in results["contenders"].items():
        points = sorted(contender["points"], key=lambda point: point["cpu_seconds"])
        seconds, distances = ([point[key] for point in points] for key in ("cpu_seconds", "fcd"))
        axis.plot(seconds, distances, marker="o", markersize=4, label=CONTENDERS[name].title)
    if "real" in results:
        axis.axhline(results["real"]["fcd"], color="0.5", linewidth=1, linestyle=":")
        axis.annotate(
            "real images",
            (0.01, results["real"]["fcd"]),
            xycoords=("axes fraction", "data"),
            va="bottom",
        )
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="CPU seconds: training and the sampler",
        ylabel="FCD to the test set",
    )
    axis.legend()
    drawing.savefig(path)
    plt.close(drawing)
