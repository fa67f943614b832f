import pytest
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame, SettingsFrame

from conformance.interop.tap import CLIENT_PREFACE, MessageFlags


def message(size: int, compressed: bool = False) -> bytes:
    return bytes([compressed]) + size.to_bytes(4) + bytes(size)


def wire(*frames: Frame) -> bytes:
    return b"".join(frame.serialize() for frame in frames)


def data(stream: int, content: bytes, padding: int = 0) -> DataFrame:
    return DataFrame(stream, content, pad_length=padding, flags=["PADDED"] if padding else [])


def flags_of(received: bytes, step: int) -> dict[int, list[bool]]:
    flags = MessageFlags(CLIENT_PREFACE)
    for start in range(0, len(received), step):
        flags.feed(received[start : start + step])
    return flags.by_stream


@pytest.mark.parametrize("step", [1, 7, 24, 1000])
def test_flags_are_seen_however_the_bytes_are_cut(step: int) -> None:
    cut = message(300, compressed=True)
    received = bytes(CLIENT_PREFACE) + wire(
        SettingsFrame(0),
        HeadersFrame(1, b"\x82", flags=["END_HEADERS"]),
        data(1, cut[:3]),
        PingFrame(0, b"12345678"),
        data(3, message(0) + message(9, compressed=True), padding=20),
        data(1, cut[3:] + message(8)),
    )
    assert flags_of(received, step) == {1: [True, False], 3: [False, True]}


def test_a_message_counts_once_it_is_complete() -> None:
    flags = MessageFlags()
    flags.feed(wire(data(1, message(2)[:-1])))
    assert flags.by_stream == {}
    flags.feed(wire(data(1, b"\0")))
    assert flags.latest() == [False]
