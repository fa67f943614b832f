from h2.errors import ErrorCodes

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, TRAILERS, Hostile, status_of
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import serve
from yais.clients.siege.chaos.h2 import DATA, END_HEADERS, END_STREAM, PADDED, frame, message


def padded(stream: int, data: bytes, padding: int, flags: int = 0) -> bytes:
    return frame(DATA, flags | PADDED, stream, bytes((padding,)) + data + bytes(padding))


async def test_padding_is_no_part_of_a_message(peer: Peer) -> None:
    body = message(b"hello")
    await peer.send(peer.headers(1, request()), padded(1, body[:3], 255), padded(1, body[3:], 255, END_STREAM))
    assert (await peer.answer(1)).data == body


async def test_padding_longer_than_its_frame_is_refused(peer: Peer) -> None:
    await peer.send(peer.headers(1, request()), frame(DATA, PADDED, 1, b"\x05abcd"))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_windows_open_again_by_the_padding(peer: Peer) -> None:
    """Twice the window of the connection, almost nothing of it data."""
    with serve(yais__connection_window_bytes=65535, grpc__http2__lookahead_bytes=65535) as server:
        async with connected(server.port) as peer:
            for stream in (1, 3):
                await peer.send(peer.headers(stream, request("Count")))
                await send_padded(peer, stream, 65535)
                assert (await peer.answer(stream)).data == message(b"[0, 0, 0, 0]")


async def send_padded(peer: Peer, stream: int, size: int) -> None:
    """20 bytes of messages, in about `size` bytes of frames, as fast as windows open."""
    for portion in range(4):
        for _ in range(size // 4 // 256):
            await peer.send(padded(stream, b"", 255))
        await peer.send(padded(stream, bytes(5), 255, END_STREAM if portion == 3 else 0))


async def test_padding_of_an_answer_is_no_part_of_it(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    body = message(b"hello")
    await peer.send(
        peer.headers(1, OK),
        padded(1, body[:3], 255),
        padded(1, body[3:], 255),
        peer.headers(1, TRAILERS, END_HEADERS | END_STREAM),
    )
    assert await call == b"hello"


async def test_data_before_the_headers_of_an_answer_are_refused(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(frame(DATA, 0, 1, message(b"hello")))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "UNAVAILABLE"
