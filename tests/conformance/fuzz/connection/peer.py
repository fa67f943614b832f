"""What the peer of the tried connection sends: a record of an input as the bytes of HTTP/2 frames."""

import gzip

from conformance.fuzz.connection.records import Kind, Setup
from conformance.fuzz.program import Record
from yais.clients.siege.chaos.h2 import (
    DATA,
    END_STREAM,
    HEADERS,
    PADDED,
    PREFACE,
    WITH_PRIORITY,
    frame,
    literal,
    message,
    settings,
)

# Whole fields of HPACK's static table, by their index.
_STATIC = (2, 3, 4, 6, 7, 8, 12, 13, 16)
_METHODS = ("raw", "now", "large", "fail", "raise", "reset", "echo", "deaf", "close", "unary", "stream", "both", "none")
FIELDS: tuple[tuple[bytes, bytes], ...] = (
    *((b":path", b"/f/" + name.encode()) for name in _METHODS),
    (b":authority", b"a"),
    (b":method", b"PUT"),
    (b":status", b"103"),
    (b":status", b"503"),
    (b"content-type", b"application/grpc"),
    (b"content-type", b"application/grpc+proto"),
    (b"content-type", b"text/html"),
    (b"te", b"trailers"),
    (b"grpc-timeout", b"1n"),
    (b"grpc-timeout", b"1H"),
    (b"grpc-timeout", b"soon"),
    (b"grpc-encoding", b"gzip"),
    (b"grpc-encoding", b"deflate"),
    (b"grpc-encoding", b"identity"),
    (b"grpc-encoding", b"snappy"),
    (b"grpc-accept-encoding", b"identity,deflate,gzip"),
    (b"grpc-status", b"0"),
    (b"grpc-status", b"8"),
    (b"grpc-status", b"-7"),
    (b"grpc-status", b"16777216"),
    (b"grpc-message", b"caf%C3%A9 %"),
    (b"grpc-message", b""),
    (b"x-trace-bin", b"AAEC/w"),
    (b"x-long", b"~" * 300),
    (b"x-longer", b"~" * 5000),
    (b"content-length", b"5"),
    (b"connection", b"close"),
    (b"cookie", b"a=b"),
    (b"X-Upper", b"1"),
)


def greeting(setup: Setup) -> bytes:
    return settings() if setup & Setup.CLIENT else PREFACE + settings()


def bytes_of(record: Record) -> bytes:
    payload = record.payload
    if record.kind is Kind.RAW:
        return payload
    if record.kind is Kind.FRAME:
        head, body = payload[:3].ljust(3, b"\0"), payload[3:]
        return frame(head[0], head[1], head[2], body)
    return _headers(payload) if record.kind is Kind.HEADERS else _message(payload)


def _headers(payload: bytes) -> bytes:
    """Of flags, a stream, and a byte for each field: of FIELDS below 64, the same and indexed below 128, or static."""
    flags, stream = payload[:2].ljust(2, b"\0")
    block = b"".join(_field(index) for index in payload[2:])
    if flags & WITH_PRIORITY:
        block = b"\0\0\0\0\x0f" + block
    if flags & PADDED:
        block = b"\x03" + block + bytes(3)
    return frame(HEADERS, flags, stream, block)


def _field(index: int) -> bytes:
    if index < 128:
        name, value = FIELDS[index % 64 % len(FIELDS)]
        return literal(name, value, index >= 64)
    return bytes((0x80 | _STATIC[(index - 128) % len(_STATIC)],))


def _message(payload: bytes) -> bytes:
    """One gRPC message in DATA frames.

    Of flags, a stream, what the prefix says of the body (1: compressed, 2: so it is, 4: a byte more, 8: a byte less),
    its size in units of 97 bytes, the size of a frame in units of 31, and the body's first bytes.
    """
    flags, stream, spelling, size, unit = payload[:5].ljust(5, b"\0")
    body = payload[5:].ljust(size * 97, b"\0")
    if spelling & 2:
        body = gzip.compress(body, 1, mtime=0)
    size = max(0, len(body) + bool(spelling & 4) - bool(spelling & 8))
    content = message(body, spelling & 1 | spelling >> 6, size)
    unit = unit * 31 or 16384
    parts = [content[at : at + unit] for at in range(0, len(content), unit)]
    frames = [frame(DATA, flags & ~END_STREAM & ~PADDED, stream, part) for part in parts[:-1]]
    last = b"\x02" + parts[-1] + b"\0\0" if flags & PADDED else parts[-1]
    return b"".join(frames) + frame(DATA, flags, stream, last)
