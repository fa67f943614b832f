"""The entries of the extension modules: what Python can reach in them, with the parameters that the sources declare."""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[3]
# One level at a time: until Python 3.13 `**` does not follow the links of src/yais.
SOURCES = sorted([*ROOT.glob("src/yais/*/*.pyx"), *ROOT.glob("src/yais/*/*/*.pyx")])

# Of these None and all other types are refused; C's numbers are converted from whatever is a number.
_OBJECTS = {"bytes", "dict", "list", "str", "tuple", "np.ndarray", "ClientCall"}
_NUMBERS = {"int", "double", "long long", "Py_ssize_t", "uint32_t"}
_DEF = re.compile(r"^    (?:def|cpdef) (\w+)\((.*?)\):$", re.MULTILINE | re.DOTALL)
_CLASS = re.compile(r"^cdef class (\w+)(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
_FUNCTION = re.compile(r"^(?:def|cpdef) (\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Parameter:
    """`type` is empty for any object."""

    name: str
    type: str
    takes_none: bool
    is_keyword: bool

    def must_refuse(self, value: Any) -> bool:
        """Whether nothing but a TypeError will do."""
        if value is None:
            return not self.takes_none and self.type in _OBJECTS | _NUMBERS
        if self.type in _NUMBERS:
            return not hasattr(type(value), "__float__") and not hasattr(type(value), "__index__")
        return self.type in _OBJECTS and type(value).__name__ != self.type


def modules() -> Iterator[ModuleType]:
    for source in SOURCES:
        module = importlib.import_module(".".join(source.relative_to(ROOT / "src").with_suffix("").parts))
        # A pure-Python stand-in would have nothing to try.
        assert str(module.__file__).endswith(".so"), module
        yield module


def classes() -> dict[str, type]:
    """The extension types, by their names, which are unique."""
    found: dict[str, type] = {}
    for module in modules():
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__:
                assert value.__name__ not in found, value
                found[value.__name__] = value
    return found


def functions() -> list[str]:
    """What modules offer beside their types: nothing, so far. A new one needs a place in the sweep."""
    return [f"{source.stem}.{name}" for source in SOURCES for name in _FUNCTION.findall(source.read_text())]


def declared() -> dict[str, dict[str, list[Parameter]]]:
    """The parameters of each class's methods, without `self`, as the sources have them."""
    found: dict[str, dict[str, list[Parameter]]] = {}
    for source in SOURCES:
        for name, body in _CLASS.findall(source.read_text()):
            found[name] = {method: list(_parameters(text)) for method, text in _DEF.findall(body)}
    return found


def _parameters(text: str) -> Iterator[Parameter]:
    is_keyword = False
    for part in re.split(r",\s*", text)[1:]:
        if part.startswith("*"):
            is_keyword = True
            if part.lstrip("*_"):
                yield Parameter(part, "", True, False)
            continue
        match = re.fullmatch(r"(?:(.+) )?(\w+)(?:=(.+))?", part.strip())
        assert match, part
        yield Parameter(match[2], match[1] or "", match[3] == "None", is_keyword)


def methods(cls: type) -> Iterator[tuple[str, list[Parameter]]]:
    """All methods of an extension type, inherited ones too; an unknown one is an error."""
    sources = declared()
    for name in dir(cls):
        owner = next(base for base in cls.__mro__ if name in vars(base))
        if owner.__name__ not in sources or not callable(getattr(cls, name)) or name in ("__class__", "__new__"):
            continue
        yield name, (sources[owner.__name__] | {"__len__": []})[name]


def constructor(cls: type) -> list[Parameter]:
    """What the constructor takes: that of the nearest class which says it in full."""
    sources = declared()
    for base in cls.__mro__:
        own = sources.get(base.__name__, {})
        for name in ("__init__", "__cinit__"):
            if own.get(name):
                return own[name]
    return []


def attributes(cls: type) -> Iterator[str]:
    """Properties and `cdef public` and `cdef readonly` attributes."""
    for name in dir(cls):
        owner = next(base for base in cls.__mro__ if name in vars(base))
        if owner.__name__ in declared() and type(vars(owner)[name]).__name__ in (
            "getset_descriptor",
            "member_descriptor",
        ):
            yield name
