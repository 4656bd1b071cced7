"""The command line: ``glf`` and recipes, train, sample, export, evaluate, reproduce or report."""

import os
import sys
import warnings
from contextlib import suppress

import typer

from glf_minimal.cli import results, runs, training
from glf_minimal.errors import GLFError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train Generative Latent Flows, sample from them, and measure them.",
)
for command in (
    training.recipes,
    training.train,
    runs.sample,
    runs.export,
    runs.evaluate,
    results.reproduce,
    results.report,
):
    app.command()(command)


def main() -> None:
    """Run the command line; an error of this package is one line on stderr and exit code 1."""
    if os.environ.get("RANK", "0") != "0":  # of processes that train together the first one speaks
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # What the encoding of a terminal or a redirected file lacks is written as its number. A
        # stream that is no text file of Python's own, or none any more, is left as it is.
        with suppress(AttributeError, OSError):
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():  # which puts back how warnings are shown, too
        warnings.showwarning = lambda message, *_: typer.echo(
            f"glf: {' '.join(str(message).split())}", err=True
        )
        try:
            app()
        except GLFError as error:
            typer.echo(f"glf: {error}", err=True)
            sys.exit(1)
