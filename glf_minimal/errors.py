"""Errors that say what came, what was expected and what to do.

The command line prints them as one line.
"""

import difflib
import math
import numbers
from collections.abc import Iterable


class GLFError(Exception):
    """Base of the errors below.

    Its text is one line, also where it quotes another error or a name that has several.
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


def first_line(error: BaseException) -> str:
    """The first line of another error's text; the name of its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def whole_number(
    name: str, value: object, least: int = 0, error: type[GLFError] = RecipeError
) -> int:
    """The value as an int, also of numpy's.

    Raises an error that names the value if it is no whole number or is below ``least``.
    """
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or value < least:
        raise error(f"{name}: expected a whole number, at least {least}, got {value!r}")
    return int(value)


def real_number(
    name: str, value: object, expected: str = "a number", error: type[GLFError] = RecipeError
) -> float:
    """The value as a float, also of numpy's; an error that names it where it is no number."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise error(f"{name}: expected {expected}, got {value!r}")
    return float(value)


def finite_number(name: str, value: object, least: float = -math.inf) -> float:
    """The value as a float; RecipeError where it is no finite number or is below ``least``."""
    expected = "a finite number" + (f", at least {least:g}" if least > -math.inf else "")
    number = real_number(name, value, expected)
    if not (math.isfinite(number) and number >= least):
        raise RecipeError(f"{name}: expected {expected}, got {value!r}")
    return number


def hint(name: str, names: Iterable[str], otherwise: str = "") -> str:
    """Suggest close matches for an unknown name.

    Failing that, give ``otherwise`` or, if it is empty, list all names.
    """
    names = list(names)
    close = difflib.get_close_matches(name, names, n=3)
    return (
        f"did you mean {' or '.join(close)}?"
        if close
        else otherwise or f"there are {', '.join(names)}"
    )
