"""How the inputs for one connection change."""

from collections.abc import Callable
from random import Random

from conformance.fuzz.connection.client_end import ClientEnd
from conformance.fuzz.connection.records import LANGUAGE, Kind, Setup
from conformance.fuzz.connection.server_end import ServerEnd
from conformance.fuzz.connection.usual import ASKED, AUTHORITY, GRPC, HTTP, OK, PATHS, POST, STATUS, TRAILERS
from conformance.fuzz.mutator import Maker, Mutator
from conformance.fuzz.program import Record

_FRAME_FLAGS = (0, 1, 4, 5, 8, 9, 0x20, 0x2D, 255)
_STREAMS = (1, 1, 1, 1, 3, 3, 5, 7, 0, 2, 255)
_PORTIONS = (0, 0, 0, 0, 1, 2, 9, 16, 100, 255)
_SIZES = (b"\0\0\0\0", b"\0\0\0\1", b"\0\0\x40\0", b"\0\0\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff")


def _request(chance: Random) -> Record:
    fields = bytes((POST, HTTP, chance.choice(PATHS), AUTHORITY, TRAILERS, GRPC))
    if chance.random() < 0.2:
        fields += bytes((chance.choice(ASKED),))
    return _headers(chance, fields, (4, 4, 4, 5))


def _answer(chance: Random) -> Record:
    """A server's headers, trailers, or both in one."""
    trailers = bytes((STATUS + chance.choice((0, 0, 0, 1, 2, 3)),))
    headers = bytes((OK, GRPC))
    return _headers(chance, *chance.choice(((headers, (4, 4, 5)), (trailers, (5,)), (headers + trailers, (5,)))))


def _headers(chance: Random, fields: bytes, flags: tuple[int, ...]) -> Record:
    if chance.random() < 0.4:
        fields += bytes(chance.randrange(len(PATHS), 128) for _ in range(chance.randint(1, 4)))
    if chance.random() < 0.2:
        flags = _FRAME_FLAGS
    head = bytes((chance.choice(flags), chance.choice(_STREAMS)))
    return Record(Kind.HEADERS, chance.choice(_PORTIONS), head + fields)


def _message(chance: Random) -> Record:
    spelling = chance.choice((0, 0, 0, 0, 3, 3, 1, 2, 4, 8, 64))
    size = chance.choice((0, 0, 1, 5, 20, 100, 255))
    head = (chance.choice((0, 0, 1, 1, 8)), chance.choice(_STREAMS), spelling, size, chance.choice((0, 0, 0, 1, 255)))
    return Record(Kind.MESSAGE, chance.choice(_PORTIONS), bytes(head) + b"hello"[: chance.randint(0, 5)])


def _frame(chance: Random) -> Record:
    kind = chance.choice((0, 1, 2, 3, 3, 5, 6, 6, 7, 7, 8, 8, 8, 9, 16, 200))
    body = chance.choice((b"", chance.choice(_SIZES), chance.choice(_SIZES) * 2, b"\0\4" + chance.choice(_SIZES)))
    stream = chance.choice(_STREAMS) if kind in (0, 1, 2, 3, 8, 9) else 0
    return Record(Kind.FRAME, chance.choice(_PORTIONS), bytes((kind, chance.choice(_FRAME_FLAGS), stream)) + body)


def _settings(chance: Random) -> Record:
    body = b"".join(bytes((0, chance.randint(1, 9))) + chance.choice(_SIZES) for _ in range(chance.randint(1, 2)))
    return Record(Kind.FRAME, 0, bytes((4, chance.choice((0, 0, 0, 1)), 0)) + body)


def _pong(chance: Random) -> Record:
    """What answers the PING of a drain."""
    return Record(Kind.FRAME, 0, bytes((6, 1, 0)) + b"draining")


def _again(chance: Random) -> Record:
    return Record(Kind.AGAIN, chance.choice((1, 2, 20, 150, 255)))


def _grant(chance: Random) -> Record:
    size = chance.choice((1, 5, 1000, 16_384, 100_000, 2**31 - 1))
    return Record(Kind.FRAME, 0, bytes((8, 0, chance.choice((0, 0, *_STREAMS)))) + size.to_bytes(4, "big"))


def _turn(chance: Random) -> Record:
    return Record(Kind.TURN, chance.choice((0, 0, 0, 0, 0, 0, 1, 254, 255)))


def _peer_reads(chance: Random) -> Record:
    return Record(Kind.PEER_READS, chance.choice((0, 1, 10, 100, 255)))


def _action(chance: Random) -> Record:
    first, second = (chance.choice((0, 255, chance.randrange(256))) for _ in range(2))
    numbers = bytes((chance.choice((0, 128)) + chance.randrange(8), first, second))
    return Record(chance.choice((Kind.ACTION, Kind.ACTION, Kind.NESTED)), chance.randrange(_ACTIONS), numbers)


def _raise(chance: Random) -> Record:
    return Record(Kind.NESTED, 255)


_ACTIONS = max(len(end().connection_actions()) + len(end().call_actions()) for end in (ServerEnd, ClientEnd))


def _alone(make: Callable[[Random], Record]) -> Maker:
    return lambda chance: [make(chance)]


_MUTATOR = Mutator(
    LANGUAGE,
    makers=[
        *map(_alone, (_request, _request, _request, _answer, _answer, _message, _message, _message, _frame, _frame)),
        *map(_alone, (_settings, _grant, _pong, _again, _turn, _peer_reads, *[_action] * 6, _raise)),
    ],
    values=(*_STREAMS, *_FRAME_FLAGS, *_PORTIONS),
    # A server's input makes no client's.
    flips=(Setup.SLOW_SOCKET, Setup.GREETED, Setup.EAGER, Setup.FORGOTTEN),
    most=60,
)
mutate, cross = _MUTATOR.mutate, _MUTATOR.cross
