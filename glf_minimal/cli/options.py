"""What several commands have in common: options, paths, settings, the second judge.

torch takes a second to import, so each command imports what it needs when it runs.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glf_minimal.errors import MetricError

if TYPE_CHECKING:
    from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures


def _expanded(path: str) -> Path:
    from glf_minimal.files import user_path

    return user_path(path)


def path_option(text: str, **settings: str) -> object:
    """An option that takes a path, in which "~" is the user's own folder."""
    return typer.Option(help=text, metavar="PATH", parser=_expanded, **settings)


def run_argument(text: str) -> object:
    """The argument RUN: a path, in which "~" is the user's own folder."""
    return typer.Argument(help=text, metavar="RUN", parser=_expanded)


Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0, …")]
Root = Annotated[
    Path | None,
    path_option("Where data is cached.", show_default="$GLF_DATA or data/cache"),
]
MovedData = Annotated[
    str | None,
    typer.Option(help="Where the run's data lies now, if it was moved: folder:PATH."),
]
Temperature = Annotated[float, typer.Option(min=0.0, help="Scale of the noise.")]
Results = Annotated[Path, path_option("Folder of the records.")]
InceptionWeights = Annotated[
    Path | None,
    path_option("FID with Inception's weights from this file, in place of --fid's download."),
]
SqueezeNetWeights = Annotated[
    Path | None,
    path_option("FSD with SqueezeNet's weights from this file, in place of torch's cache."),
]


def parse_settings(assignments: list[str]) -> dict[str, object]:
    """["model.beta=2", "train.schedule=cosine"] -> {"model.beta": 2, "train.schedule": "cosine"}.

    Values are read as JSON, or as text where they are not JSON.
    """
    settings = {}
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        if not sign:
            raise typer.BadParameter(f"expected NAME=VALUE, got {assignment!r}", param_hint="--set")
        try:
            settings[name] = json.loads(text)
        except (ValueError, RecursionError):  # the former also of a number of too many digits
            settings[name] = text
    return settings


def second_judge_if_there() -> "SqueezeNetFeatures | None":
    """SqueezeNet with the weights in torch's cache; None, and a word, if they are not there."""
    from glf_minimal.evaluation.squeezenet import SqueezeNetFeatures

    try:
        return SqueezeNetFeatures()
    except MetricError as error:
        typer.echo(f"glf: no distances on SqueezeNet's features: {error}", err=True)
        return None


def file_to_write(out: Path, suffix: str) -> Path:
    """The path itself; a usage error if it is no path of such a file in an existing folder."""
    if out.suffix.lower() != suffix or out.is_dir() or not out.parent.is_dir():
        raise typer.BadParameter(
            f"{out} is not the path of a {suffix} file in an existing folder", param_hint="--out"
        )
    return out
