"""What one input of the fuzzer says: which end is tried, how it is set up, and what happens to it, record by record.

An input is two bytes of set-up and records of a kind, an argument, a length in two bytes and a payload. Every sequence
of bytes is an input: what is cut off or out of range is made to fit.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag

HEAD = 2
_RECORD_HEAD = 4


class Setup(IntFlag):
    """The first byte of an input."""

    CLIENT = 1
    # The socket takes little at a time.
    SLOW_SOCKET = 2
    # The peer's preface and SETTINGS come before the first record.
    GREETED = 4
    # The loop runs after each record, not only where a TURN says so.
    EAGER = 8
    # The transport goes away without a word, and only the garbage collector sees it.
    FORGOTTEN = 16


class Kind(IntEnum):
    # What the peer sends; the argument says in which portions it is read.
    RAW = 0
    FRAME = 1
    HEADERS = 2
    MESSAGE = 3
    # What happens on this side; the argument says what, and for ACTION and NESTED the payload to whom.
    TURN = 4
    PEER_READS = 5
    ACTION = 6
    # An action that is taken inside of the next callback.
    NESTED = 7
    # What the peer sent last, eight times as often as the argument says.
    AGAIN = 8


@dataclass(frozen=True, slots=True)
class Record:
    kind: Kind
    argument: int
    payload: bytes = b""

    def encode(self) -> bytes:
        payload = self.payload[:0xFFFF]
        return bytes((self.kind, self.argument)) + len(payload).to_bytes(2, "little") + payload


@dataclass(frozen=True, slots=True)
class Program:
    setup: Setup
    profile: int
    records: tuple[Record, ...]

    def encode(self) -> bytes:
        return bytes((self.setup, self.profile)) + b"".join(record.encode() for record in self.records)


def decode(data: bytes) -> Program:
    head = data[:HEAD].ljust(HEAD, b"\0")
    records = []
    at = HEAD
    while at + _RECORD_HEAD <= len(data):
        kind, argument = data[at] % len(Kind), data[at + 1]
        size = int.from_bytes(data[at + 2 : at + 4], "little")
        at += _RECORD_HEAD
        records.append(Record(Kind(kind), argument, data[at : at + size]))
        at += size
    return Program(Setup(head[0] & 31), head[1], tuple(records))
