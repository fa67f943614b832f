"""A sweep over the entries of the extension types, with arguments that do not fit: `sweep.py [CLASS...]`.

Each entry is tried with each parameter in turn made one of `values()`, on each specimen of its class, from outside and
inside of the transport's callbacks. Anything may be raised but, where the source declares a type, nothing else than
TypeError. Before each try its name is written to standard error, so that the last line names what crashed.
"""

import copy
import faulthandler
import functools
import gc
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from conformance.extensions.entries import Parameter, attributes, classes, constructor, methods
from conformance.extensions.specimens import KEPT, PLAUSIBLE, SPECIMENS, Line

_FOREIGN = (None, 5, "text", object())


@functools.cache
def values() -> list[Any]:
    """What does not fit, by itself and where a list, pairs or a dict of arrays are expected."""
    odd_records = np.zeros((8, 1), [("a", object)])
    plain = [
        *(*_FOREIGN, b"", b"ab", -1, 2**40, 2**70, float("nan"), [], (), {}),
        bytearray(b"12345678"),
        memoryview(bytearray(16))[::2],
        np.zeros((8, 2), np.float32)[:, ::-1],
        np.zeros((8, 2), ">f4"),
        np.zeros((8, 2), np.float64),
        np.zeros((8, 2), object),
        np.empty((8, 2), np.dtypes.StringDType()),
        odd_records,
        Liar(),
        iter([b"a", b"b"]),
    ]
    wrapped = [[(b"a", x)] for x in plain] + [{"A": x, "O0": x, b"": x} for x in plain]
    return plain + wrapped + [[iter([bytes([65]) * 50, bytes([66]) * 50])], [Liar()], [(b"a", b"b", b"c")]]


class Liar:
    """Has every attribute, is empty or not as it likes, and is a number to some."""

    rows, shapes, deadline, nbytes, position = 2**62, (), 0.0, -1, 10_000

    @property
    def inputs(self) -> "Liar":
        return self

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator["Liar"]:
        return iter([self] * 40)

    def __getitem__(self, key: object) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return self if not name.startswith("__") else object.__getattribute__(self, name)

    def __call__(self, *_: object, **__: object) -> "Liar":
        return self


def attempt(says: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """What `function` returns or raises."""
    print(says, file=sys.stderr)
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return error


def check_refused(says: str, outcome: Any, must_refuse: bool) -> None:
    assert isinstance(outcome, TypeError) or not must_refuse, f"{says}: {outcome!r} instead of a TypeError"


def arguments(parameters: list[Parameter], odd: str = "", value: Any = None) -> tuple[list[Any], dict[str, Any]]:
    given = [(each, value if each.name == odd else PLAUSIBLE[each.name]()) for each in parameters]
    by_keyword = {each.name: argument for each, argument in given if each.is_keyword}
    return [argument for each, argument in given if not each.is_keyword], by_keyword


def tries(parameters: list[Parameter]) -> Iterator[tuple[str, list[Any], dict[str, Any], bool]]:
    """Arguments that fit, one that does not, none at all, and too many; and whether they have to be refused."""
    yield "as it should be", *arguments(parameters), False
    yield "no arguments", [], {}, False
    yield "too many", [None] * (len(parameters) + 1), {}, False
    for parameter in parameters:
        for number, value in enumerate(values()):
            args, kwargs = arguments(parameters, parameter.name, value)
            says = f"{parameter.name}={value!r:.60} (value {number})"
            yield says, args, kwargs, parameter.must_refuse(value)


def refuses_or_works(name: str, make: Callable[[], Any], method: str, parameters: list[Parameter]) -> None:
    for says, args, kwargs, must_refuse in tries(parameters):
        entry = f"{name}.{method}: {says}"
        check_refused(entry, attempt(entry, getattr(make(), method), *args, **kwargs), must_refuse)
        settle()


def settle() -> None:
    """What was submitted is written and read, and the connection ends."""
    while KEPT:
        line = KEPT.pop()
        for step in (line.move, line.client.connection_lost, line.server.connection_lost):
            try:
                step(*([] if step == line.move else [None]))
            except Exception as error:
                print(repr(error), file=sys.stderr)


def sweep_construction(cls: type) -> None:
    parameters = constructor(cls)
    bare = {"__init__": lambda self, *_, **__: None}
    derived = type(f"Derived{cls.__name__}", (cls,), bare)
    for made in (cls, derived):
        for says, args, kwargs, must_refuse in tries(parameters):
            name = made.__name__
            found = attempt(f"{name}(): {says}", made, *args, **kwargs)
            check_refused(f"{name}(): {says}", found, must_refuse and made is cls)
            if isinstance(found, cls) and (len(says) < 20 or "None" in says):
                sweep_bare(name, cls, found)
    for says, args, _, _ in tries(parameters):
        found = attempt(f"{cls.__name__}.__new__: {says}", cls.__new__, cls, *args)
        if isinstance(found, cls) and (len(says) < 20 or "None" in says):
            sweep_bare(f"{cls.__name__}.__new__", cls, found)
    for value in (*_FOREIGN, cls, derived):
        attempt(f"{cls.__name__}.__new__({value!r:.60})", cls.__new__, value)
    check_refused("object.__new__", attempt("object.__new__", object.__new__, cls), must_refuse=True)


def sweep_bare(name: str, cls: type, made: Any) -> None:
    """An object that somebody else has made: whatever it can be asked for, in any order."""
    for attribute in attributes(cls):
        attempt(f"{name}: .{attribute}", getattr, made, attribute)
    for method, parameters in methods(cls):
        args, kwargs = arguments(parameters)
        attempt(f"{name}: .{method}()", getattr(made, method), *args, **kwargs)


def sweep_attributes(name: str, cls: type, make: Callable[[], Any]) -> None:
    for attribute in attributes(cls):
        for value in values():
            attempt(f"{name}.{attribute} = {value!r:.60}", setattr, make(), attribute, value)
            settle()
        specimen = make()
        attempt(f"del {name}.{attribute}", delattr, specimen, attribute)
        found = attempt(f"{name}.{attribute}", getattr, specimen, attribute)
        # What is handed out must not be what the connection lives by.
        for change in ("clear", "release", "popitem", "pop"):
            attempt(f"{name}.{attribute}.{change}()", getattr(found, change, int))
        settle()


def sweep_foreign_selves(cls: type) -> None:
    for method, parameters in methods(cls):
        for value in (*_FOREIGN, Liar(), *[make() for name in ("Method", "Gather") for make in SPECIMENS[name]]):
            args, kwargs = arguments(parameters)
            says = f"{cls.__name__}.{method}({value!r:.60})"
            outcome = attempt(says, getattr(cls, method), value, *args, **kwargs)
            check_refused(says, outcome, must_refuse=not isinstance(value, cls))


def sweep_copies(name: str, make: Callable[[], Any]) -> None:
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        attempt(f"{copied.__name__}({name})", copied, make())
        settle()


def sweep_callbacks(cls: type) -> None:
    """The methods of connections and calls, once inside of each kind of callback."""
    for method, parameters in methods(cls):
        for place in ("the request", "the answer", "a write"):
            attempt(f"{cls.__name__}.{method} inside of {place}", converse, cls, method, parameters, place)
            settle()


def converse(cls: type, method: str, parameters: list[Parameter], place: str) -> None:
    """A call and its answer, in which `place` calls `method` of all there is of `cls`."""
    line = Line()
    KEPT.append(line)
    sent: list[Any] = []
    args, kwargs = arguments(parameters)

    def moment() -> None:
        for target in (line.server, line.client, *line.calls, *sent):
            if isinstance(target, cls):
                attempt(f"  {target!r:.60}", getattr(target, method), *args, **kwargs)

    if place == "the request":
        line.moment = moment
    if place == "a write":
        line.to_client.on_write = line.to_server.on_write = moment
    sent.append(line.start(body=bytes(200_000)))
    if place == "the answer":
        line.moment = moment
    for call in line.calls:
        call.respond(bytes(200_000))


def sweep(cls: type) -> None:
    sweep_construction(cls)
    sweep_foreign_selves(cls)
    if cls.__module__.startswith("yais.transport"):
        sweep_callbacks(cls)
    for number, make in enumerate(SPECIMENS[cls.__name__]):
        name = f"{cls.__name__}[{number}]"
        sweep_attributes(name, cls, make)
        sweep_copies(name, make)
        for method, parameters in methods(cls):
            refuses_or_works(name, make, method, parameters)
    gc.collect()


if __name__ == "__main__":
    faulthandler.enable()
    known = classes()
    for chosen in sys.argv[1:] or known:
        sweep(known[chosen])
