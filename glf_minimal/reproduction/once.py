"""Reading the records once for many tables and figures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")

_kept: ContextVar[dict | None] = ContextVar("kept", default=None)


@contextmanager
def read_once() -> Iterator[None]:
    """Within it, a function with ``@kept`` returns for the same arguments what it returned before.

    All that is made within it says the same, even if a training writes new records meanwhile.
    """
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def kept(function: Callable[..., Value]) -> Callable[..., Value]:
    """Within ``read_once``, call a function once for each folder of records and arguments.

    Outside of it the function is called every time. Its first argument is the folder; the others
    must be hashable.
    """

    @wraps(function)
    def call(results: str | Path, *arguments: object) -> Value:
        values = _kept.get()
        if values is None:
            return function(results, *arguments)
        key = (function, str(results), *arguments)
        if key not in values:
            values[key] = function(results, *arguments)
        return values[key]

    return call
