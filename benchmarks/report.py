"""The tables of the page "Cost and speed", from the JSON of benchmarks/results."""

import json
from itertools import groupby
from pathlib import Path

from benchmarks import levers, parallel, quality_table, quick_start
from benchmarks.compare import RESULTS, ROOT, made_with

OUT = ROOT / "book" / "measured"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.995 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _row(row: dict, clock: str) -> dict[str, str]:
    """What a table shows of a contender."""
    low, high = row["ratio_quartiles"]
    seconds, processor = row[clock], "CPU " if clock == "cpu_seconds" else ""
    cells = {"": row["name"]}
    if "steps" in row:
        cells[f"{processor}time of a step"] = _time(seconds / row["steps"])
    else:
        cells[f"{processor}time"] = _time(seconds)
    if "images" in row:
        cells[f"images/{processor}s"] = f"{row['images'] / seconds:,.0f}"
    cells["ratio"] = f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"
    if "page_faults" in row:
        cells["page faults"] = f"{row['page_faults'] / row.get('steps', 1):,.0f}"
    cells["peak memory"] = f"{row['peak_mib']:,.0f} MiB"
    return cells


def _markdown(rows: list[dict[str, str]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [
        columns,
        ["---", *["---:"] * (len(columns) - 1)],
        *([row.get(c, "") for c in columns] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def table(path: Path) -> str:
    """All groups of one result, each with a bold line before it."""
    content = json.loads(path.read_text(encoding="utf-8"))
    clock = content.get("clock", "seconds")
    parts = [
        f"**{group}**\n\n{_markdown([_row(row, clock) for row in rows])}"
        for group, rows in content["groups"].items()
    ]
    return "\n".join(parts) + f"\n{made_with(content)}\n"


def write(results: Path = RESULTS, out: Path = OUT) -> list[Path]:
    """Write ``<name>.md`` for every result; give the paths. The seeds of one comparison make one
    table.
    """
    own = {
        "quality": quality_table.table,
        "levers": levers.table,
        "parallel": parallel.table,
        "quick_start": quick_start.table,
    }
    paths = []
    found = sorted(results.glob("*.json"), key=lambda path: path.stem)
    for name, seeds in groupby(found, key=lambda path: path.stem.partition("-seed-")[0]):
        paths.append(out / f"{name}.md")
        kind = name.removesuffix("-cuda").partition("-")[0]  # "quality-mnist" is of "quality"
        if kind in own:
            contents = [json.loads(path.read_text(encoding="utf-8")) for path in seeds]
            paths[-1].write_text(own[kind](*contents), encoding="utf-8")
        else:
            paths[-1].write_text(table(next(seeds)), encoding="utf-8")
    return paths
