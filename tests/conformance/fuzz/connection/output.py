"""What a connection has written, read by another implementation of HTTP/2 (hyperframe, hpack) and held to the rules."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from hpack import Decoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from conformance.fuzz.connection.received import FIRST_WINDOW, Received
from yais.clients.siege.chaos.h2 import HEAD_BYTES, PREFACE
from yais.transport.options import Settings

_LARGEST = 2**32


class Output:
    """Checks the frames of one connection in turn; raises AssertionError."""

    def __init__(self, received: Received, sent: Mapping[int, bytearray]) -> None:
        self._received = received
        self._sent = sent
        self._decoder = Decoder(max_header_list_size=_LARGEST)
        self._decoder.max_allowed_table_size = _LARGEST
        self._block: tuple[int, bytes] | None = None
        self._data: defaultdict[int, bytearray] = defaultdict(bytearray)
        self._total = 0
        self._opened_again: defaultdict[int, int] = defaultdict(int)
        self._opened: set[int] = set()
        self._ended: set[int] = set()

    def check(self, written: bytes, is_client: bool, may_be_cut: bool) -> None:
        if is_client:
            assert PREFACE[: len(written)] == written[: len(PREFACE)], "A client's first word is not the preface"
            written = written[len(PREFACE) :]
        at = 0
        while at + HEAD_BYTES <= len(written) or (at < len(written) and not may_be_cut):
            frame, size = Frame.parse_frame_header(memoryview(written)[at : at + HEAD_BYTES])
            body = written[at + HEAD_BYTES : at + HEAD_BYTES + size]
            assert at or isinstance(frame, SettingsFrame), "The first frame is not SETTINGS"
            if len(body) < size:
                assert may_be_cut, "The last frame is cut off"
                return
            assert size <= self._received.frame_size, "A frame is larger than the peer takes"
            frame.parse_body(memoryview(body))
            self._take(frame, body)
            at += HEAD_BYTES + size

    def check_granted(self, settings: Settings, streams: Iterable[int]) -> None:
        """The peer may send more, on the connection and on `streams`, of which all has been taken."""
        left = FIRST_WINDOW - self._received.size[0] + self._opened_again[0]
        assert left >= settings.connection_window // 2, "The connection's window is not opened again"
        for stream in streams:
            left = settings.stream_window - self._received.size[stream] + self._opened_again[stream]
            assert left >= settings.stream_window // 4, "A stream's window is not opened again"

    def check_used(self, streams: Iterable[int]) -> None:
        """Where something is to be sent on an open stream, it is because the peer's windows are used up."""
        if self._total >= FIRST_WINDOW + self._received.opened[0]:
            return
        for stream in self._opened.intersection(streams):
            window = self._received.first_window + self._received.opened[stream]
            assert len(self._data[stream]) >= window, "What may be sent is not"

    def _take(self, frame: Frame, body: bytes) -> None:
        assert (self._block is not None) == isinstance(frame, ContinuationFrame), "A block of headers is interrupted"
        match frame:
            case HeadersFrame() | ContinuationFrame():
                self._take_headers(frame)
            case DataFrame():
                self._take_data(frame)
            case RstStreamFrame():
                assert frame.stream_id, "A reset of no stream"
                self._ended.add(frame.stream_id)
            case WindowUpdateFrame():
                assert frame.window_increment > 0
                self._opened_again[frame.stream_id] += frame.window_increment
            case PingFrame():
                assert len(body) == 8

    def _take_headers(self, frame: HeadersFrame | ContinuationFrame) -> None:
        is_late = self._block is None and frame.stream_id in self._ended
        assert not is_late, "Headers after the end of a stream"
        block = (self._block[1] if self._block else b"") + frame.data
        if "END_STREAM" in frame.flags:
            self._ended.add(frame.stream_id)
        if "END_HEADERS" not in frame.flags:
            self._block = frame.stream_id, block
            return
        self._block = None
        fields = dict(self._decoder.decode(block, raw=True))
        is_first = frame.stream_id not in self._opened
        self._opened.add(frame.stream_id)
        assert is_first == (b":status" in fields or b":path" in fields), f"Headers in the wrong place: {fields}"

    def _take_data(self, frame: DataFrame) -> None:
        stream = frame.stream_id
        assert stream in self._opened, "Data before headers"
        assert stream not in self._ended, "Data after the end of a stream"
        content = self._data[stream]
        content += frame.data
        self._total += frame.flow_controlled_length
        assert self._total <= FIRST_WINDOW + self._received.opened[0], "More data than the connection's window"
        assert len(content) <= self._received.largest_window + self._received.opened[stream], (
            "More data than the stream's window"
        )
        if stream in self._sent:
            assert self._sent[stream].startswith(content), "Data that nobody has sent"
        if "END_STREAM" in frame.flags:
            self._ended.add(stream)
