"""Message compression: the encodings, and the choice among them.

Source: gRPC's compression.md, and PROTOCOL-HTTP2.md, "Message-Encoding". Every message is compressed on its own.
"""

import sys
import zlib
from dataclasses import dataclass

from grpc import Compression

_PORTION = 64 * 1024
# A member of nothing takes 20 bytes, and as much work as one of a kilobyte: 4 MB of them would take half a second.
_MOST_MEMBERS = 1000


@dataclass(frozen=True, slots=True)
class Codec:
    """An encoding of messages: `name` is how grpc-encoding spells it, `window_bits` what zlib calls its format.

    Without `window_bits` messages stay as they are.
    """

    name: bytes
    window_bits: int | None

    def compress(self, message: bytes | memoryview) -> bytes:
        """Not always the smaller of the two; then the message is better sent as it is."""
        return bytes(message) if self.window_bits is None else zlib.compress(message, wbits=self.window_bits)

    def compress_if_smaller(self, message: bytes) -> tuple[bytes, bool]:
        """The message as compressed and true, or as it is and false where that is no longer."""
        if self.window_bits is None:
            return message, False
        compressed = self.compress(message)
        return (compressed, True) if len(compressed) < len(message) else (message, False)

    def decompress(self, data: bytes | memoryview, limit: int) -> bytes:
        """The message that all of `data` is; gzip may have several members.

        Raises OverflowError as soon as it exceeds `limit` bytes, of which no more than one is inflated, and ValueError
        for data that are broken, cut short or followed by others.
        """
        if self.window_bits is None:
            _check(len(data), limit)
            return bytes(data)
        try:
            return self._inflated(memoryview(data), self.window_bits, limit)
        except zlib.error as error:
            raise ValueError(f"A message is no valid {self.name.decode()}: {error}") from None

    def _inflated(self, data: memoryview, window_bits: int, limit: int) -> bytes:
        pieces: list[bytes] = []
        size, members = 0, 1
        inflator = zlib.decompressobj(window_bits)
        # zlib copies what follows a member (`unused_data`); in portions, that is never much.
        for start in range(0, len(data), _PORTION):
            portion: bytes | memoryview = data[start : start + _PORTION]
            while portion:
                if inflator.eof:
                    # RFC 1952, 2.2: gzip is a series of members. zlib's format, which gRPC calls deflate, is not.
                    if self is not GZIP:
                        raise zlib.error("more data follow its end")
                    if members == _MOST_MEMBERS:
                        raise zlib.error(f"it has more than {_MOST_MEMBERS} members")
                    members += 1
                    inflator = zlib.decompressobj(window_bits)
                # One byte beyond the limit is enough to see that there is more; 0 would mean no limit to zlib.
                pieces.append(inflator.decompress(portion, min(limit - size, sys.maxsize - 1) + 1))
                size += len(pieces[-1])
                _check(size, limit)
                portion = inflator.unused_data
        if not inflator.eof:
            raise zlib.error("it is cut short")
        return b"".join(pieces)


IDENTITY = Codec(b"identity", None)
DEFLATE = Codec(b"deflate", zlib.MAX_WBITS)
GZIP = Codec(b"gzip", zlib.MAX_WBITS | 16)
CODECS = {codec.name: codec for codec in (IDENTITY, DEFLATE, GZIP)}

# The value of grpc-accept-encoding.
ACCEPTED = b", ".join(CODECS)

_OF_COMPRESSION = {Compression.NoCompression: IDENTITY, Compression.Deflate: DEFLATE, Compression.Gzip: GZIP}


def codec_of(compression: Compression | None) -> Codec:
    """What an argument `compression` asks for. Raises ValueError unless it is a `grpc.Compression` or None."""
    if compression is None:
        return IDENTITY
    if compression not in _OF_COMPRESSION:
        raise ValueError(f"compression must be a grpc.Compression, not {compression!r}")
    return _OF_COMPRESSION[compression]


def choose(wanted: Codec, accepted: bytes | None) -> Codec:
    """`wanted` where the peer's grpc-accept-encoding (None if it sent none) names it, else identity."""
    return wanted if wanted.name in map(bytes.strip, (accepted or b"").split(b",")) else IDENTITY


def inflate(encoding: bytes | None, data: bytes | memoryview, limit: int) -> bytes:
    """A message whose Compressed-Flag is set, under a grpc-encoding or None.

    Raises LookupError for an unknown encoding, ValueError for none, as compression.md demands, and else what
    `Codec.decompress` raises.
    """
    codec = IDENTITY if encoding is None else CODECS.get(encoding)
    if codec is None:
        name = (encoding or b"").decode("latin-1")
        raise LookupError(f"Messages compressed as {name!r} are not taken; accepted are {ACCEPTED.decode()}")
    if codec is IDENTITY:
        raise ValueError("A message is flagged as compressed, but grpc-encoding names no compression")
    return codec.decompress(data, limit)


def _check(size: int, limit: int) -> None:
    if size > limit:
        raise OverflowError(f"Decompressed message larger than max ({limit} bytes)")
