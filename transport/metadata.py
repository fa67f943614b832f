"""Header values as gRPC spells them: metadata, timeouts and the text of a status.

Source: PROTOCOL-HTTP2.md of gRPC, "Requests" and "Responses", and RFC 9113, section 8.2, for what HTTP/2 adds.
"""

import math
import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from grpc.aio import Metadata

Field = tuple[bytes, bytes]
Metadatum = tuple[str, str | bytes]

_KEY = re.compile(r"[0-9a-z_.-]+")
# The protocol's own. Neither end of grpcio shows these to an application, or sends what one gives for them.
_PROTOCOL_KEYS = frozenset(
    (
        *("content-type", "te", "content-length", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding"),
        *("grpc-status", "grpc-message", "grpc-internal-encoding-request"),
    )
)
# Shown to an application, but not taken from it: so what a servicer was called with can be sent on.
_UNSENT_KEYS = _PROTOCOL_KEYS | {"user-agent"}
# RFC 9113, 8.2.2.
_CONNECTION_KEYS = frozenset(("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"))

_TIMEOUT = re.compile(rb"([0-9]{1,8})([numSMH])")
_LARGEST_COUNT = 99_999_999
# From the finest on, in the order in which `encode_timeout` tries them.
# A unit lasts `size / parts` seconds: of the two, one is always 1, which keeps floating-point results exact.
_UNITS = {b"n": (1, 10**9), b"u": (1, 10**6), b"m": (1, 1000), b"S": (1, 1), b"M": (60, 1), b"H": (3600, 1)}

# Outer spaces as well, which HTTP/2 forbids around a value.
_TO_ESCAPE = re.compile(rb"[^ -$&-~]|\A | \Z")


def percent_encode(text: str) -> bytes:
    """`text` as a grpc-message. What UTF-8 cannot carry, a lone surrogate, becomes a question mark."""
    return _TO_ESCAPE.sub(lambda match: b"%%%02X" % match[0][0], text.encode(errors="replace"))


def percent_decode(data: bytes) -> str:
    """The text of a grpc-message. Never raises: broken escapes stay as they are, broken UTF-8 becomes U+FFFD."""
    return unquote_to_bytes(data).decode(errors="replace")


def encode_metadata(pairs: Iterable[Metadatum]) -> list[Field]:
    """Header fields for `pairs`, which may be a `grpc.aio.Metadata`.

    As grpcio does, leaves out what the transport writes itself, such as `content-type`. Spaces around a text are not
    kept. Raises TypeError or ValueError, with the key in it, for what metadata cannot be; grpcio says only that a batch
    of operations failed.
    """
    return [(_encode_key(key), _encode_value(key, value)) for key, value in pairs if key not in _UNSENT_KEYS]


def decode_metadata(fields: Iterable[Field]) -> Metadata:
    """The metadata among `fields`. Never raises, and whatever this gives can be sent again.

    Fields of the protocol itself are left out, and those that HTTP allows but gRPC does not: other characters in a key
    or a text, and values of `-bin` keys that are not base64. (With these, grpcio ends the call. Here, metadata are
    decoded when they are asked for, often beside a status which that must not hide.)
    """
    metadata = Metadata()
    for name, data in fields:
        key, text = name.decode("latin-1"), data.decode("latin-1")
        if key in _PROTOCOL_KEYS or key in _CONNECTION_KEYS or not _KEY.fullmatch(key):
            continue
        if key.endswith("-bin"):
            for value in _decode_binary(data):
                metadata.add(key, value)
        elif _is_printable(text):
            metadata.add(key, text.strip(" "))
    return metadata


def encode_timeout(seconds: float) -> bytes:
    """A grpc-timeout of at least `seconds`, in the finest unit of which eight digits hold enough.

    The protocol has no timeout of zero: what has run out already is sent as the shortest there is. The longest, which
    also stands for infinity, is 11,408 years. Raises ValueError for NaN.
    """
    if math.isnan(seconds):
        raise ValueError("timeout must be a number of seconds, not NaN")
    if seconds <= 0:
        return b"1n"
    seconds = min(seconds, _LARGEST_COUNT * 3600)
    for unit, (size, parts) in _UNITS.items():
        count = math.ceil(seconds * parts / size)
        # The fewest that last `seconds`, whichever way the multiplication was rounded.
        count += count * size / parts < seconds
        encoded = b"%d%b" % (count, unit)
        if count <= _LARGEST_COUNT:
            break
    return encoded


def decode_timeout(data: bytes) -> float:
    """The seconds of a grpc-timeout. Raises ValueError unless it is one to eight digits and a unit."""
    match = _TIMEOUT.fullmatch(data)
    if not match:
        raise ValueError(f"grpc-timeout {data!r} must be 1 to 8 digits and one of the units n, u, m, S, M and H")
    size, parts = _UNITS[match[2]]
    return int(match[1]) * size / parts


def _encode_key(key: Any) -> bytes:
    if not isinstance(key, str):
        raise TypeError(f"metadata key {key!r} must be a str, not {type(key).__name__}")
    if not _KEY.fullmatch(key):
        raise ValueError(f"metadata key {key!r} must consist of 0-9, a-z, '_', '-' and '.'")
    if key in _CONNECTION_KEYS:
        raise ValueError(f"metadata key {key!r} is about a connection of HTTP/1; HTTP/2 forbids it")
    return key.encode()


def _encode_value(key: str, value: Any) -> bytes:
    if key.endswith("-bin"):
        if not isinstance(value, bytes):
            raise TypeError(f"metadata {key!r} is binary and must have bytes as its value, not {type(value).__name__}")
        return b2a_base64(value, newline=False).rstrip(b"=")
    if not isinstance(value, str | bytes):
        raise TypeError(f"metadata {key!r} must have a str as its value, not {type(value).__name__}")
    text = value if isinstance(value, str) else value.decode("latin-1")
    if not _is_printable(text):
        raise ValueError(f"metadata {key!r} must have printable ASCII as its value, not {value!r}")
    return text.strip(" ").encode()


def _decode_binary(data: bytes) -> list[bytes]:
    """The values that commas join, each padded or not, as the protocol demands; none unless all are base64."""
    parts = [part.strip(b" ").rstrip(b"=") for part in data.split(b",")]
    try:
        return [a2b_base64(part + b"=" * (-len(part) % 4), strict_mode=True) for part in parts]
    except Base64Error:
        return []


def _is_printable(text: str) -> bool:
    return text.isascii() and text.isprintable()
