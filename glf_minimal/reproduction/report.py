"""Write every table and figure of the book."""

from collections.abc import Callable
from pathlib import Path

from glf_minimal.errors import RunError
from glf_minimal.files import atomic, make_folder, user_path
from glf_minimal.reproduction import choice, front, tables
from glf_minimal.reproduction.claims import OF_THE_PAPER, evidence, verdicts
from glf_minimal.reproduction.figures import FIGURES, draw, encode_png
from glf_minimal.reproduction.findings import FINDINGS
from glf_minimal.reproduction.once import read_once
from glf_minimal.reproduction.rankings import RANKINGS
from glf_minimal.reproduction.small_tables import SMALL_TABLES
from glf_minimal.reproduction.tables import Table, Text

TABLES: dict[str, Callable[[str | Path], Table | Text]] = {
    "claims": verdicts,
    "claims-of-the-paper": lambda results: verdicts(results, OF_THE_PAPER),
    "claims-evidence": evidence,
    "samples-of-glf": front.origin_of_samples,
    **choice.CHOICE_TABLES,
    **tables.TABLES,
    **SMALL_TABLES,
    **RANKINGS,
    **FINDINGS,
}


@read_once()
def write_report(results: str | Path, out: str | Path) -> list[Path]:
    """Write each table as ``<name>.md`` and each figure as ``<name>.png``; returns their paths.

    A figure of which nothing has been run is not written, and an older one of that name is removed.
    The same records give the same files. Figures repeat only under the same matplotlib version,
    which each file records.

    Args:
        results: the folder of the records.
        out: the folder to write to; it is made if it is missing.

    Raises:
        RunError: there is no folder of records, or a record is damaged; then nothing is written.
    """
    import matplotlib.pyplot as plt

    if not user_path(results).is_dir():
        raise RunError(
            f"{results} is not a folder; give the folder of the records, data/results of a checkout"
        )
    out = user_path(out)
    paths = []
    with plt.rc_context():  # the caller's style neither changes the figures nor is changed by them
        plt.rcdefaults()
        # All of them first, so that a damaged record is noticed before anything is written.
        texts = {name: table(results).markdown() for name, table in TABLES.items()}
        make_folder(out)
        for name, text in texts.items():
            with atomic(out / f"{name}.md") as temporary:
                temporary.write_text(text, encoding="utf-8")
            paths.append(out / f"{name}.md")
        for name in FIGURES:
            figure, path = draw(name, results), out / f"{name}.png"
            if isinstance(figure, Text):  # nothing to draw has been run
                path.unlink(missing_ok=True)
                continue
            with atomic(path) as temporary:
                temporary.write_bytes(encode_png(figure))
            plt.close(figure)
            paths.append(path)
    return paths
