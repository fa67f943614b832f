import pytest
from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from yais.clients.siege.chaos import h2


def parsed(data: bytes) -> Frame:
    """The one frame that `data` is, as another implementation reads it."""
    frame, length = Frame.parse_frame_header(memoryview(data)[:9])
    assert len(data) == 9 + length
    frame.parse_body(memoryview(data)[9:])
    return frame


def test_the_headers_of_a_call_are_those_of_grpc() -> None:
    frame = parsed(h2.headers(7, "/a/B", "8760H"))
    assert isinstance(frame, HeadersFrame)
    assert (frame.stream_id, set(frame.flags)) == (7, {"END_HEADERS"})
    fields = dict(Decoder().decode(frame.data))
    assert fields[":path"] == "/a/B"
    assert fields["grpc-timeout"] == "8760H"
    assert (fields[":method"], fields["te"], fields["content-type"]) == ("POST", "trailers", "application/grpc")


def test_a_call_without_a_timeout_names_none() -> None:
    frame = parsed(h2.headers(1, "/a/B"))
    assert isinstance(frame, HeadersFrame)
    assert "grpc-timeout" not in dict(Decoder().decode(frame.data))


def test_a_message_is_cut_into_frames_of_which_the_last_ends_the_stream() -> None:
    message = h2.message(bytes(range(10)))
    data = h2.data(3, message, largest=6)
    pieces = [parsed(data[:15]), parsed(data[15:30]), parsed(data[30:])]
    assert all(isinstance(piece, DataFrame) and piece.stream_id == 3 for piece in pieces)
    assert [set(piece.flags) for piece in pieces] == [set(), set(), {"END_STREAM"}]
    assert b"".join(piece.data for piece in pieces if isinstance(piece, DataFrame)) == message


def test_a_message_has_its_length_or_the_one_that_is_asked_for() -> None:
    assert h2.message(b"abc") == b"\0\0\0\0\3abc"
    assert h2.message(b"abc", length=2**32 - 1) == b"\0\xff\xff\xff\xffabc"


def test_other_frames_are_read_as_what_they_are() -> None:
    settings = parsed(h2.settings({h2.INITIAL_WINDOW_SIZE: 0}))
    assert isinstance(settings, SettingsFrame)
    assert settings.settings == {4: 0}
    reset = parsed(h2.reset(5))
    assert isinstance(reset, RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (5, 8)
    update = parsed(h2.window_update(0, 99))
    assert isinstance(update, WindowUpdateFrame)
    assert update.window_increment == 99


def test_a_frame_may_lie_about_its_length() -> None:
    head = h2.frame_header(h2.frame(12, 0xFF, 9, b"x", length=2**20))
    assert head == h2.FrameHeader(2**20, 12, 0xFF, 9)


@pytest.mark.parametrize("is_huffman", [False, True], ids=["plain", "huffman"])
def test_every_status_is_found_in_trailers(is_huffman: bool) -> None:
    encoder = Encoder()
    encoder.header_table_size = 0
    for status in range(17):
        fields = [("grpc-message", "no 7"), ("grpc-status", str(status)), ("x", "3")]
        assert h2.grpc_status(encoder.encode(fields, huffman=is_huffman)) == status


@pytest.mark.parametrize("fields", [[("grpc-message", "1")], [("grpc-status", "soon")], []], ids=str)
def test_trailers_without_a_status_have_none(fields: list[tuple[str, str]]) -> None:
    assert h2.grpc_status(Encoder().encode(fields, huffman=False)) is None


def test_a_status_of_other_digits_than_ascii_s_is_none() -> None:
    assert h2.grpc_status(b"\0\x0bgrpc-status\x01\xb2") is None


def test_a_block_that_ends_within_the_status_has_none() -> None:
    assert h2.grpc_status(b"\0\x0bgrpc-status") is None
