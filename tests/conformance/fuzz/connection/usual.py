"""The usual words of a conversation: the fields of requests and answers by their numbers in `peer.py`."""

from conformance.fuzz.connection.peer import FIELDS
from conformance.fuzz.connection.records import Kind
from conformance.fuzz.program import Record

# Whole fields of HPACK's table; the numbers from 128 on are theirs.
POST, HTTP, OK = 129, 131, 133
PATHS = range(13)
AUTHORITY = len(PATHS)
GRPC = FIELDS.index((b"content-type", b"application/grpc"))
TRAILERS = FIELDS.index((b"te", b"trailers"))
ASKED = tuple(n for n, (name, _) in enumerate(FIELDS) if name in (b"grpc-timeout", b"grpc-encoding", b"x-longer"))
STATUS = FIELDS.index((b"grpc-status", b"0"))

_END_HEADERS, _END_BOTH = 4, 5
_STREAM = 1


def request(path: bytes, stream: int = _STREAM) -> Record:
    """The headers of a call, which goes on."""
    number = FIELDS.index((b":path", path))
    return Record(Kind.HEADERS, 0, bytes((_END_HEADERS, stream, POST, HTTP, number, AUTHORITY, TRAILERS, GRPC)))


def headers() -> Record:
    """Those of a server's first answer."""
    return Record(Kind.HEADERS, 0, bytes((_END_HEADERS, _STREAM, OK, GRPC)))


def trailers() -> Record:
    return Record(Kind.HEADERS, 0, bytes((_END_BOTH, _STREAM, STATUS)))
