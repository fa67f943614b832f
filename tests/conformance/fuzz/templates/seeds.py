"""Writes the inputs that fuzzing begins with, the usual requests of each model: `python -m ...fuzz_seeds FOLDER`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from server.inline_model import Echo

from conformance.fuzz.program import Program, Record
from conformance.fuzz.templates.engines import ENGINES, engine_of
from conformance.fuzz.templates.records import Kind, Setup

_ID, _SEND, _RUN = Record(Kind.FIELD, 3, b"r7"), Record(Kind.SEND, 0), Record(Kind.RUN, 0)
# Callers whose deadline is over, or who leave.
_LEAVING = (Record(Kind.SEND, 1), Record(Kind.SEND, 4), Record(Kind.SEND, 12))
_OTHERS = (
    _ID,
    Record(Kind.FIELD, 3),
    Record(Kind.FIELD, 3, b"\xff"),
    Record(Kind.FIELD, 3, "\u00e9".encode()),
    Record(Kind.OUTPUT, 0),
    Record(Kind.FIELD, 2, b"1"),
    Record(Kind.PARAMETER, 5, b"value"),
    Record(Kind.PARAMETER, 8, b"\7"),
    Record(Kind.FIELD, 7),
    Record(Kind.SPOIL, 4),
)


def programs() -> Iterator[Program]:
    for model in range(ENGINES):
        engine = engine_of(Program(0, model, ()))
        for rows in range(min(2, engine.max_batch_size) + 1):
            message, large = tuple(_message(engine, rows)), tuple(_message(engine, rows, 200))
            backwards = sorted(message, key=lambda record: (record.kind, -record.argument))
            others = [(*_message(engine, rows, first=first), _SEND, _RUN) for first in (1, 2, 3)]
            yield Program(0, model, (*message, _SEND, _RUN, *_varied()))
            yield Program(Setup.TAUGHT | model % 7, model, (*message, _ID, _SEND, *large, _ID, _SEND))
            yield Program(Setup.MANY_TEMPLATES | 7, model, sum(others, ()))
            yield Program(Setup.MANY_TEMPLATES | Setup.SHORT_QUEUE | model % 5, model, (*backwards, _SEND, *_varied()))


def _message(engine: Echo, rows: int, free: int = 3, first: int = 1) -> Iterator[Record]:
    """A request of rows with `free` elements where the model leaves that open; the `first` byte of each input's."""
    yield Record(Kind.FIELD, 1, b"m")
    for number, each in enumerate(engine.inputs):
        dims = [rows] * bool(engine.max_batch_size) + [free if dim == -1 else dim for dim in each.shape]
        yield Record(Kind.INPUT, number, bytes((0, *dims)))
    for number in range(len(engine.inputs)):
        yield Record(Kind.RAW, 1 + number, bytes((first, 2, 3 + number)))


def _varied() -> Iterator[Record]:
    """The first message again, each time with something else."""
    for other in _OTHERS:
        yield from (Record(Kind.AGAIN, 0), other, _SEND)
    for leaving in _LEAVING:
        yield from (Record(Kind.AGAIN, 0), leaving)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for number, program in enumerate(programs()):
        (target / f"seed-{number:03}").write_bytes(program.encode())
