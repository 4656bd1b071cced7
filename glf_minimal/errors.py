"""The errors that name what came, what was expected and what to do; the command line prints them as
one line.
"""

import difflib
from collections.abc import Iterable


class GLFError(Exception):
    """Base of the errors below. Its text is one line, also where it quotes another error or a name
    of several.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())


class DataError(GLFError, ValueError):
    """A data set that is unknown, unreachable, damaged or of the wrong kind."""


class RecipeError(GLFError, ValueError):
    """A recipe or a setting that does not exist, or has a value it cannot have."""


class RunError(GLFError, RuntimeError):
    """An output folder, checkpoint or weights file that does not fit what was asked."""


class DivergenceError(GLFError, ArithmeticError):
    """A loss, a weight, a latent or a sample that is no longer a finite number."""


class MetricError(GLFError, ValueError):
    """Features, weights or packages that a metric cannot be computed from."""


def hint(name: str, names: Iterable[str], otherwise: str = "") -> str:
    """Suggest close matches for an unknown name; failing that, give ``otherwise`` or, if it is
    empty, list all names.
    """
    names = list(names)
    close = difflib.get_close_matches(name, names, n=3)
    return (
        f"did you mean {' or '.join(close)}?"
        if close
        else otherwise or f"there are {', '.join(names)}"
    )
