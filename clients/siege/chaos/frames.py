"""HTTP/2 frames and gRPC messages as bytes, legal or not, since a well-behaved channel makes none that are not.

Sources: RFC 9113, sections 3.4 (preface), 4.1 (frames) and 6; RFC 7541, sections 5.1 (integers) and 6.2 (fields) and
appendix B (Huffman's code); gRPC's PROTOCOL-HTTP2.md.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6
NO_ERROR, CANCEL = 0, 8
DEADLINE_EXCEEDED = 4
LARGEST_WINDOW = 2**31 - 1

HEAD_BYTES = 9
MESSAGE_HEAD_BYTES = 5
# What every peer takes: RFC 9113, section 6.5.2.
LARGEST_FRAME = 16_384
_STATUS = b"grpc-status"
_STATUS_HUFFMAN = bytes.fromhex("9acac8b21234da8f")
_HUFFMAN = 0x80
_DIGITS = {f"{code:05b}": digit for code, digit in zip(range(3), "012", strict=True)} | {
    f"{code:06b}": digit for code, digit in zip(range(0x19, 0x20), "3456789", strict=True)
}


class Head(NamedTuple):
    """What stands before each frame's payload."""

    length: int
    kind: int
    flags: int
    stream: int


def head(data: bytes) -> Head:
    return Head(int.from_bytes(data[:3]), data[3], data[4], int.from_bytes(data[5:9]) & LARGEST_WINDOW)


def frames_in(data: bytes) -> Iterator[tuple[Head, bytes]]:
    """The heads and payloads of the frames in `data`; the last payload may be cut short of what its head says."""
    at = 0
    while at + HEAD_BYTES <= len(data):
        start = at + HEAD_BYTES
        found = head(data[at:start])
        at = start + found.length
        yield found, data[start:at]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """A frame of any kind; `length` is what its head says instead of the payload's."""
    size = len(payload) if length is None else length
    return size.to_bytes(3) + bytes((kind, flags)) + number(stream) + payload


def number(value: int) -> bytes:
    """Four bytes, as streams, error codes and increments of windows are written."""
    return value.to_bytes(4)


def settings(values: Mapping[int, int] | None = None) -> bytes:
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in (values or {}).items()))


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, number(code))


def goaway(last: int, code: int = NO_ERROR, reason: bytes = b"") -> bytes:
    return frame(GOAWAY, payload=number(last) + number(code) + reason)


def window_update(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, number(size))


def message(body: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """The five bytes of gRPC and a body; `length` is what they say instead of the body's."""
    return struct.pack(">BI", flag, len(body) if length is None else length) + body


def headers(stream: int, path: str, timeout: str | None = None) -> bytes:
    """The headers of a call; `timeout` as grpc-timeout spells it, or as it does not."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "chaos"), ("te", "trailers")]
    fields += [("content-type", "application/grpc"), *([] if timeout is None else [("grpc-timeout", timeout)])]
    return frame(HEADERS, END_HEADERS, stream, block(fields))


def data(stream: int, payload: bytes, flags: int = END_STREAM, largest: int = LARGEST_FRAME) -> bytes:
    """`payload` in frames of at most `largest` bytes, the last of them with `flags`."""
    pieces = [payload[start : start + largest] for start in range(0, len(payload), largest)] or [b""]
    last = len(pieces) - 1
    return b"".join(frame(DATA, flags * (index == last), stream, piece) for index, piece in enumerate(pieces))


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Header fields that neither use nor change a table, so that the same bytes do for each call of a connection."""
    return b"".join(literal(name.encode(), value.encode()) for name, value in fields)


def literal(name: bytes, value: bytes, is_indexed: bool = False) -> bytes:
    """A field with a new name, which is put into the receiver's table if it is indexed."""
    return (b"\x40" if is_indexed else b"\0") + _string(name) + _string(value)


def grpc_status(block: bytes) -> int | None:
    """The status in a block of header fields, None where there is none.

    Only for a peer that was told to use no table of fields (SETTINGS_HEADER_TABLE_SIZE 0), so that names and values
    stand in the block itself, plain or in Huffman's code.
    """
    for name in (_STATUS, _STATUS_HUFFMAN):
        _, found, value = block.partition(name)
        if found and value:
            size = value[0] & ~_HUFFMAN
            return _number(value[1 : 1 + size], bool(value[0] & _HUFFMAN))
    return None


def _number(text: bytes, is_huffman: bool) -> int | None:
    digits = _digits(text) if is_huffman else text.decode("latin-1")
    return int(digits) if digits.isdigit() else None


def _digits(text: bytes) -> str:
    """Decimal digits from Huffman's code; what is no digit, such as the padding, ends them."""
    bits, digits = "".join(f"{byte:08b}" for byte in text), ""
    while (code := next((code for code in (bits[:5], bits[:6]) if code in _DIGITS), None)) is not None:
        digits, bits = digits + _DIGITS[code], bits[len(code) :]
    return digits


def _string(text: bytes) -> bytes:
    """The length, in an integer whose first byte has room for 126, and the text."""
    if len(text) < 127:
        return bytes((len(text),)) + text
    digits, rest = bytearray((127,)), len(text) - 127
    while rest >= 128:
        digits.append(rest & 127 | 128)
        rest >>= 7
    digits.append(rest)
    return bytes(digits) + text
