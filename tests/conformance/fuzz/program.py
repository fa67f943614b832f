"""Programs, which are what the inputs of a fuzz target say: what happens to it, record by record.

An input is two bytes of set-up and records of a kind, an argument, a length in two bytes and a payload. Every sequence
of bytes is an input: what is cut off or out of range is made to fit.
"""

from dataclasses import dataclass
from enum import IntEnum

_HEAD = 2
_RECORD_HEAD = 4
_LARGEST_PAYLOAD = 0xFFFF


@dataclass(frozen=True, slots=True)
class Record:
    kind: IntEnum
    argument: int
    payload: bytes = b""

    def encode(self) -> bytes:
        payload = self.payload[:_LARGEST_PAYLOAD]
        return bytes((self.kind, self.argument)) + len(payload).to_bytes(2, "little") + payload


@dataclass(frozen=True, slots=True)
class Program:
    """`setup` are flags, `variant` is the number of what is tried; what they mean is the target's."""

    setup: int
    variant: int
    records: tuple[Record, ...]

    def encode(self) -> bytes:
        return bytes((self.setup, self.variant)) + b"".join(record.encode() for record in self.records)


@dataclass(frozen=True, slots=True)
class Language:
    """The programs of one target: its kinds of records, and how many set-ups and variants there are."""

    kinds: type[IntEnum]
    setups: int
    variants: int

    def decode(self, data: bytes) -> Program:
        head = data[:_HEAD].ljust(_HEAD, b"\0")
        records = []
        at = _HEAD
        while at + _RECORD_HEAD <= len(data):
            kind, argument = data[at] % len(self.kinds), data[at + 1]
            size = int.from_bytes(data[at + 2 : at + 4], "little")
            at += _RECORD_HEAD
            records.append(Record(self.kinds(kind), argument, data[at : at + size]))
            at += size
        return Program(head[0] % self.setups, head[1] % self.variants, tuple(records))
