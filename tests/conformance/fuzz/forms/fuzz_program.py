"""What one input of the fuzzer says: a model, how it is served, and calls, whose messages are made piece by piece.

An input is two bytes of set-up and records of a kind, an argument, a length and a payload. Every sequence of bytes is
an input: what is cut off or out of range is made to fit.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag

import numpy as np
from inline_model import KINDS, Echo, echo
from specs import spec

from yais.engines import Array

HEAD = 2
MAX_RECORDS = 120
_RECORD_HEAD = 3

_MANY = [spec(f"I{i}", "INT16", 1) for i in range(17)]
# Inputs, the number of outputs, and the largest batch.
_ENGINES = (
    ([spec("A", "FP32", -1)], 1, 4),
    ([spec("A", "INT64", 2)], 1, 0),
    ([spec("A", "FP32", 2), spec("B", "INT8", -1), spec("C", "BOOL")], 3, 4),
    ([spec("A", "FP32", -1), spec("B", "UINT8", -1, 2), spec("C", "BOOL")], 2, 0),
    ([spec("B", "INT8", -1), spec("A", "FP32", 2)], 5, 3),
    ([spec("A", "FP64")], 1, 8),
    ([spec("A", "BF16", 2), spec("B", "FP16", -1)], 2, 2),
    ([spec("A", "BYTES", -1)], 1, 4),
    ([spec("A", "FP32", 2), spec("S", "BYTES", 1)], 2, 4),
    (_MANY[:16], 16, 2),
    (_MANY, 1, 2),
    (_MANY[:1], 17, 2),
)
ENGINES = len(_ENGINES)


def _stretched(array: Array) -> Array:
    """Wider or narrower with the first element, so that requests of one form have answers of several shapes."""
    if array.ndim == 1 or not array.size or array.dtype.hasobject:
        return array
    return np.repeat(array, array.tobytes()[0] % 4, axis=-1)


# What becomes of an engine's output buffers.
_KINDS = (*KINDS.values(), _stretched)


class Setup(IntFlag):
    """The second byte of an input; its lower bits say of what kind the engine's output buffers are."""

    # So many that few are known for long.
    MANY_FORMS = 8
    # The server drains before the last round.
    CLOSED = 16
    SHORT_QUEUE = 32
    # The usual request has come before.
    TAUGHT = 64


class Kind(IntEnum):
    # Pieces of the message.
    WIRE = 0
    FIELD = 1
    INPUT = 2
    RAW = 3
    OUTPUT = 4
    PARAMETER = 5
    # An earlier message, whole.
    AGAIN = 6
    # Something in the message is no longer as it was.
    SPOIL = 7
    # The message is sent; the argument says by what kind of caller.
    SEND = 8
    # Whatever waits is run.
    RUN = 9


@dataclass(frozen=True, slots=True)
class Record:
    kind: Kind
    argument: int
    payload: bytes = b""

    def encode(self) -> bytes:
        payload = self.payload[:255]
        return bytes((self.kind, self.argument, len(payload))) + payload


@dataclass(frozen=True, slots=True)
class Program:
    model: int
    setup: int
    records: tuple[Record, ...]

    @property
    def engine(self) -> Echo:
        engine = echo(*_ENGINES[self.model])
        engine.kind = _KINDS[self.setup & 7]
        return engine

    def encode(self) -> bytes:
        return bytes((self.model, self.setup)) + b"".join(record.encode() for record in self.records)


def decode(data: bytes) -> Program:
    head = data[:HEAD].ljust(HEAD, b"\0")
    records = []
    at = HEAD
    while at + _RECORD_HEAD <= len(data) and len(records) < MAX_RECORDS:
        kind, argument, size = data[at : at + _RECORD_HEAD]
        at += _RECORD_HEAD
        records.append(Record(Kind(kind % len(Kind)), argument, data[at : at + size]))
        at += size
    return Program(head[0] % ENGINES, head[1] & 127, tuple(records))
