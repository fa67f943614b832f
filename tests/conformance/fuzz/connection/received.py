"""What the peer of a connection has sent, as far as the rules for what it gets depend on it."""

import gzip
import zlib
from collections import defaultdict
from collections.abc import Iterator

from yais.clients.siege.chaos.h2 import (
    DATA,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    PADDED,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    frames_in,
)

FIRST_WINDOW = 65_535
_MESSAGE_HEAD = 5


class Received:
    """Counts windows, whatever of it was taken for valid, and puts messages together; stream 0 is the connection."""

    def __init__(self, data: bytes) -> None:
        self.first_window = self.largest_window = FIRST_WINDOW
        self.frame_size = 16_384
        self.concurrency = 1
        self.opened: defaultdict[int, int] = defaultdict(int)
        self.size: defaultdict[int, int] = defaultdict(int)
        self._content: defaultdict[int, bytearray] = defaultdict(bytearray)
        for head, body in frames_in(data.removeprefix(PREFACE)):
            if head.type == SETTINGS:
                self._take_settings(body)
            elif head.type == WINDOW_UPDATE:
                self.opened[head.stream] += int.from_bytes(body[:4]) & LARGEST_WINDOW
            elif head.type == DATA:
                self._take_data(head.flags, head.stream, body)

    def check(self, stream: int, messages: list[bytes]) -> None:
        """What an application was given are the first messages that were sent on the stream."""
        for message, sent in zip(messages, self._messages(stream), strict=False):
            assert message == sent, "A message that nobody has sent"

    def _take_data(self, flags: int, stream: int, body: bytes) -> None:
        self.size[stream] += len(body)
        self.size[0] += len(body)
        self._content[stream] += body[1 : len(body) - body[0]] if flags & PADDED and body else body

    def _take_settings(self, body: bytes) -> None:
        for at in range(0, len(body) - 5, 6):
            name, value = int.from_bytes(body[at : at + 2], "big"), int.from_bytes(body[at + 2 : at + 6], "big")
            if name == INITIAL_WINDOW_SIZE:
                self.first_window = value
                self.largest_window = max(self.largest_window, value)
            elif name == MAX_FRAME_SIZE:
                self.frame_size = max(self.frame_size, value)
            elif name == MAX_CONCURRENT_STREAMS:
                self.concurrency = value

    def _messages(self, stream: int) -> Iterator[bytes]:
        content = self._content[stream]
        at = 0
        while at + _MESSAGE_HEAD <= len(content):
            end = at + _MESSAGE_HEAD + int.from_bytes(content[at + 1 : at + _MESSAGE_HEAD], "big")
            body = bytes(content[at + _MESSAGE_HEAD : end])
            yield _inflated(body) if content[at] else body
            at = end


def _inflated(body: bytes) -> bytes:
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else zlib.decompress(body)
