"""Makes new inputs out of old ones: records come, go, move and change; libFuzzer changes the bytes inside of them."""

import random
from collections.abc import Callable

from conformance.fuzz.client_end import ClientEnd
from conformance.fuzz.program import Kind, Program, Record, Setup, decode
from conformance.fuzz.server_end import ServerEnd
from conformance.fuzz.usual import ASKED, AUTHORITY, GRPC, HTTP, OK, PATHS, POST, STATUS, TRAILERS

try:
    from fuzzer import mutate as mutate_bytes
except ImportError:

    def mutate_bytes(data: bytes) -> bytes:
        return data


_RECORDS = 60
_FRAME_FLAGS = (0, 1, 4, 5, 8, 9, 0x20, 0x2D, 255)
_STREAMS = (1, 1, 1, 1, 3, 3, 5, 7, 0, 2, 255)
_PORTIONS = (0, 0, 0, 0, 1, 2, 9, 16, 100, 255)
_SIZES = (b"\0\0\0\0", b"\0\0\0\1", b"\0\0\x40\0", b"\0\0\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff")


def mutate(data: bytes, seed: int) -> bytes:
    chance = random.Random(seed)
    if chance.random() < 0.05:
        return mutate_bytes(data)
    program = decode(data)
    records = list(program.records)
    setup, profile = program.setup, program.profile
    for _ in range(chance.choice((1, 1, 2, 4))):
        chance.choice(_CHANGES)(records, chance)
    if chance.random() < 0.1:
        setup ^= Setup(1 << chance.choice((1, 2, 3, 4)))
    if chance.random() < 0.05:
        profile = chance.randrange(4)
    return Program(setup, profile, tuple(records[:_RECORDS])).encode()


def cross(one: bytes, other: bytes, seed: int) -> bytes:
    """The beginning of one input, and the end of the other."""
    chance = random.Random(seed)
    first, second = decode(one), decode(other)
    head = first.records[: chance.randint(0, len(first.records))]
    tail = second.records[chance.randint(0, len(second.records)) :]
    return Program(first.setup, first.profile, (*head, *tail)[:_RECORDS]).encode()


def _insert(records: list[Record], chance: random.Random) -> None:
    records.insert(chance.randint(0, len(records)), chance.choice(_MAKERS)(chance))


def _append(records: list[Record], chance: random.Random) -> None:
    records.append(chance.choice(_MAKERS)(chance))


def _remove(records: list[Record], chance: random.Random) -> None:
    if records:
        at = chance.randrange(len(records))
        del records[at : at + chance.choice((1, 1, 1, 3, 10))]


def _repeat(records: list[Record], chance: random.Random) -> None:
    if records:
        at = chance.randrange(len(records))
        end = at + chance.choice((1, 1, 2, 5))
        records[end:end] = records[at:end] * chance.choice((1, 1, 2, 10))


def _move(records: list[Record], chance: random.Random) -> None:
    if records:
        record = records.pop(chance.randrange(len(records)))
        records.insert(chance.randint(0, len(records)), record)


def _change_payload(records: list[Record], chance: random.Random) -> None:
    if records:
        at = chance.randrange(len(records))
        old = records[at]
        records[at] = Record(old.kind, old.argument, mutate_bytes(old.payload or b"\0"))


def _change_byte(records: list[Record], chance: random.Random) -> None:
    """One of the first bytes, which tell flags, streams and numbers."""
    if records:
        at = chance.randrange(len(records))
        payload = bytearray(records[at].payload or b"\0")
        value = chance.choice((*_STREAMS, *_FRAME_FLAGS, chance.randrange(256)))
        payload[chance.randrange(min(len(payload), 8))] = value
        records[at] = Record(records[at].kind, records[at].argument, bytes(payload))


def _change_argument(records: list[Record], chance: random.Random) -> None:
    if records:
        at = chance.randrange(len(records))
        argument = chance.choice((*_PORTIONS, chance.randrange(256)))
        records[at] = Record(records[at].kind, argument, records[at].payload)


def _request(chance: random.Random) -> Record:
    fields = bytes((POST, HTTP, chance.choice(PATHS), AUTHORITY, TRAILERS, GRPC))
    if chance.random() < 0.2:
        fields += bytes((chance.choice(ASKED),))
    return _headers(chance, fields, (4, 4, 4, 5))


def _answer(chance: random.Random) -> Record:
    """A server's headers, trailers, or both in one."""
    trailers = bytes((STATUS + chance.choice((0, 0, 0, 1, 2, 3)),))
    headers = bytes((OK, GRPC))
    return _headers(chance, *chance.choice(((headers, (4, 4, 5)), (trailers, (5,)), (headers + trailers, (5,)))))


def _headers(chance: random.Random, fields: bytes, flags: tuple[int, ...]) -> Record:
    if chance.random() < 0.4:
        fields += bytes(chance.randrange(len(PATHS), 128) for _ in range(chance.randint(1, 4)))
    if chance.random() < 0.2:
        flags = _FRAME_FLAGS
    head = bytes((chance.choice(flags), chance.choice(_STREAMS)))
    return Record(Kind.HEADERS, chance.choice(_PORTIONS), head + fields)


def _message(chance: random.Random) -> Record:
    spelling = chance.choice((0, 0, 0, 0, 3, 3, 1, 2, 4, 8, 64))
    size = chance.choice((0, 0, 1, 5, 20, 100, 255))
    head = (chance.choice((0, 0, 1, 1, 8)), chance.choice(_STREAMS), spelling, size, chance.choice((0, 0, 0, 1, 255)))
    return Record(Kind.MESSAGE, chance.choice(_PORTIONS), bytes(head) + b"hello"[: chance.randint(0, 5)])


def _frame(chance: random.Random) -> Record:
    kind = chance.choice((0, 1, 2, 3, 3, 5, 6, 6, 7, 7, 8, 8, 8, 9, 16, 200))
    body = chance.choice((b"", chance.choice(_SIZES), chance.choice(_SIZES) * 2, b"\0\4" + chance.choice(_SIZES)))
    stream = chance.choice(_STREAMS) if kind in (0, 1, 2, 3, 8, 9) else 0
    return Record(Kind.FRAME, chance.choice(_PORTIONS), bytes((kind, chance.choice(_FRAME_FLAGS), stream)) + body)


def _settings(chance: random.Random) -> Record:
    body = b"".join(bytes((0, chance.randint(1, 9))) + chance.choice(_SIZES) for _ in range(chance.randint(1, 2)))
    return Record(Kind.FRAME, 0, bytes((4, chance.choice((0, 0, 0, 1)), 0)) + body)


def _pong(chance: random.Random) -> Record:
    """What answers the PING of a drain."""
    return Record(Kind.FRAME, 0, bytes((6, 1, 0)) + b"draining")


def _again(chance: random.Random) -> Record:
    return Record(Kind.AGAIN, chance.choice((1, 2, 20, 150, 255)))


def _grant(chance: random.Random) -> Record:
    size = chance.choice((1, 5, 1000, 16_384, 100_000, 2**31 - 1))
    return Record(Kind.FRAME, 0, bytes((8, 0, chance.choice((0, 0, *_STREAMS)))) + size.to_bytes(4, "big"))


def _turn(chance: random.Random) -> Record:
    return Record(Kind.TURN, chance.choice((0, 0, 0, 0, 0, 0, 1, 254, 255)))


def _peer_reads(chance: random.Random) -> Record:
    return Record(Kind.PEER_READS, chance.choice((0, 1, 10, 100, 255)))


def _action(chance: random.Random) -> Record:
    first, second = (chance.choice((0, 255, chance.randrange(256))) for _ in range(2))
    numbers = bytes((chance.choice((0, 128)) + chance.randrange(8), first, second))
    return Record(chance.choice((Kind.ACTION, Kind.ACTION, Kind.NESTED)), chance.randrange(_ACTIONS), numbers)


def _raise(chance: random.Random) -> Record:
    return Record(Kind.NESTED, 255)


_ACTIONS = max(len(end().connection_actions()) + len(end().call_actions()) for end in (ServerEnd, ClientEnd))
_MAKERS: tuple[Callable[[random.Random], Record], ...] = (
    *(_request, _request, _request, _answer, _answer, _message, _message, _message, _frame, _frame, _settings),
    *(_grant, _pong, _again, _turn, _peer_reads, _action, _action, _action, _action, _action, _action, _raise),
)
_CHANGES: tuple[Callable[[list[Record], random.Random], None], ...] = (
    *(_insert, _insert, _insert, _append, _append, _remove, _repeat, _move),
    *(_change_payload, _change_byte, _change_byte, _change_argument),
)
