"""A model's fingerprint: what tells whether the model of a run's folder is still the one it was.

It holds short digests for each part of the model: of its layers, of what is trained in it, of the
plain attributes of its modules, and of the code that is neither torch's nor this package's nor any
other installed one. Weights are no part of it, but for those of an encoder or decoder that is
frozen as a whole: no training changes them. Attributes of the model itself are not looked at, since
it may count there; what makes it is in its ``describe``.
"""

import functools
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from types import CodeType, FunctionType

from torch import nn

from glf_minimal.files import plain_name, tensors_digest
from glf_minimal.models.base import Trainable
from glf_minimal.training.settings import flatten

BUILTIN = type(len).__name__
ITSELF = "itself"  # the entry of the model's own class and of the parameters that are in no part
WORDS = {
    "layers": "the layers of",
    "trained": "what is trained of",
    "attributes": "the attributes of",
    "frozen": "the frozen weights of",
    "code": "the code of",
}


def fingerprint(model: Trainable) -> dict:
    """{part: {"layers", "trained", "attributes", "frozen", "code"}, "python": version}, JSON-able.

    There is no digest of what a part does not have.
    """
    parts = dict(model.named_children())
    prints = {name: _of_modules(part.named_modules()) for name, part in parts.items()}
    prints[ITSELF] = _of_modules([("", model)])
    del prints[ITSELF]["attributes"]
    for name in ("encoder", "decoder"):
        weights = dict(parts[name].named_parameters()) if name in parts else {}
        if weights and not any(weight.requires_grad for weight in weights.values()):
            values = {plain_name(own): weight.detach().cpu() for own, weight in weights.items()}
            prints[name]["frozen"] = tensors_digest(values)[:16]
    loss = getattr(model, "reconstruction", None)
    if loss is not None and "reconstruction" not in parts:
        prints["reconstruction"] = {"code": _digest(_code_of(loss))}
    # Code is compared as Python's instructions, which differ between versions.
    return prints | {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}


def changes(old: dict, new: dict) -> list[str]:
    """What differs between two fingerprints, in words."""
    old, new = (flatten(found if isinstance(found, dict) else {}) for found in (old, new))
    names = [name for name in old | new if old.get(name) != new.get(name)]
    if "python" in names:
        names = [name for name in names if name != "python" and not name.endswith(".code")]
    words = []
    for name in names:
        part, _, kind = name.rpartition(".")
        # Folders of older versions lack these, and a part that is trained has nothing frozen.
        if kind in ("attributes", "frozen") and not (name in old and name in new):
            continue
        # Other layers have other parameters and attributes.
        if kind in ("trained", "attributes") and f"{part}.layers" in names:
            continue
        whose = "the model itself" if part == ITSELF else f"its {part}"
        words.append(f"{WORDS.get(kind, kind)} {whose}")
    return words


def _digest(lines: Iterable[str]) -> str:
    # Addresses of objects differ from process to process.
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", "\n".join(lines))
    return sha256(text.encode()).hexdigest()[:16]


def _of_modules(modules: Iterable[tuple[str, nn.Module]]) -> dict[str, str]:
    layers, trained, attributes, code = [], [], [], []
    for name, module in modules:
        if hasattr(module, "_orig_mod"):  # compiled; the module itself comes next
            continue
        layers.append(f"{plain_name(name)}: {type(module).__name__}({module.extra_repr()})")
        for kind in (module._parameters, module._buffers):
            layers += [
                f"{own} {tensor.dtype} {tuple(tensor.shape)}"
                for own, tensor in kind.items()
                if tensor is not None
            ]
        trained += [
            f"{plain_name(name)}.{own}"
            for own, parameter in module._parameters.items()
            if parameter is not None and parameter.requires_grad
        ]
        attributes += [
            f"{plain_name(name)}.{own} {text}"
            for own, value in sorted(vars(module).items())
            if not own.startswith("_") and own != "training"
            for text in _attribute(value)
        ]
        code += _code_of(type(module))
    return {
        "layers": _digest(layers),
        "trained": _digest(trained),
        "attributes": _digest(attributes),
        "code": _digest(code),
    }


def _attribute(value: object) -> Iterator[str]:
    """What a module's attribute is, as text; nothing of what is no plain value and no function."""
    if isinstance(value, FunctionType | functools.partial) or type(value).__name__ == BUILTIN:
        yield from _code_of(value)
    elif isinstance(value, bool | int | float | str | tuple | list | dict):
        yield _plain_value(value)


def _is_installed(thing: type | Callable) -> bool:
    """Whether something is code of this package, of Python or of an installed package."""
    name = getattr(thing, "__module__", None) or "builtins"
    if name.partition(".")[0] in ("glf_minimal", "torch", "builtins"):
        return True
    path = getattr(sys.modules.get(name), "__file__", None)
    folders = (sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib"))
    return path is not None and path.startswith(tuple(folders))


def _code_of(thing: object) -> Iterator[str]:
    """What a class, a function or another callable does, as text; of installed code, its name."""
    if isinstance(thing, functools.partial):
        yield f"{_plain_value(thing.args)} {_plain_value(thing.keywords)}"
        yield from _code_of(thing.func)
    elif isinstance(thing, type):
        for kind in thing.__mro__:
            if not _is_installed(kind):
                for name, value in sorted(vars(kind).items()):
                    for function in (value, getattr(value, "fget", None)):
                        function = getattr(function, "__func__", function)
                        if isinstance(function, FunctionType):
                            yield name
                            yield from _code_of(function)
    elif not isinstance(thing, FunctionType):
        yield from _code_of(type(thing)) if not hasattr(thing, "__name__") else [thing.__name__]
    elif _is_installed(thing):
        yield thing.__name__
    else:
        yield _instructions(thing.__code__, thing.__doc__)
        yield f"{_plain_value(thing.__defaults__)} {_plain_value(thing.__kwdefaults__)}"
        for cell in thing.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # not yet filled
                continue
            if isinstance(value, FunctionType) and value is not thing:
                yield from _code_of(value)
            else:
                yield _plain_value(value)


def _plain_value(value: object) -> str:
    """Numbers, words and collections of them; anything else is its type's name."""
    if isinstance(value, dict):
        return str({str(name): _plain_value(other) for name, other in value.items()})
    if isinstance(value, list | tuple):
        return str([_plain_value(other) for other in value])
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    return type(value).__name__


def _instructions(code: CodeType, doc: str | None = None) -> str:
    """Instructions, names and constants, without line numbers and without the docstring."""
    constants = []
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            constants.append(_instructions(constant))
        elif isinstance(constant, frozenset):  # whose order differs from process to process
            constants.append(str(sorted(map(repr, constant))))
        else:
            constants.append(repr(None if constant == doc else constant))
    return f"{code.co_code.hex()} {code.co_names} {constants}"
