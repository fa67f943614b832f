import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, HeadersFrame, WindowUpdateFrame

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, TRAILERS, Hostile, status_of
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import Served, serve
from yais.clients.siege.chaos.h2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    INITIAL_WINDOW_SIZE,
    frame,
    message,
    settings,
    window_update,
)

DEFAULT = 65535
LARGEST = 2**31 - 1


def large(peer: Peer, stream: int, size: int) -> bytes:
    return peer.call(stream, "Large", b"%d" % size)


async def received(peer: Peer, *streams: int) -> int:
    """The bytes of DATA that came on `streams` by now."""
    await peer.settle()
    frames = [frame for frame in peer.seen if isinstance(frame, DataFrame)]
    return sum(frame.flow_controlled_length for frame in frames if frame.stream_id in streams)


@pytest.mark.parametrize("window", [0, 4, 5, 100])
async def test_no_more_is_sent_than_the_window_of_a_stream(server: Served, window: int) -> None:
    async with connected(server.port, {INITIAL_WINDOW_SIZE: window}) as peer:
        await peer.send(large(peer, 1, 200))
        assert await received(peer, 1) == window
        await peer.send(window_update(1, 3))
        assert await received(peer, 1) == window + 3
        await peer.send(window_update(1, 1000))
        assert (await peer.answer(1)).status == 0
        assert await received(peer, 1) == 205


async def test_no_more_is_sent_than_the_window_of_the_connection(server: Served) -> None:
    async with connected(server.port, {INITIAL_WINDOW_SIZE: 2**20}) as peer:
        await peer.send(large(peer, 1, 50_000), large(peer, 3, 50_000))
        assert await received(peer, 1, 3) == DEFAULT
        await peer.send(window_update(0, 1))
        assert await received(peer, 1, 3) == DEFAULT + 1
        await peer.send(window_update(0, 2**20))
        await peer.expect_service(5)
        assert await received(peer, 1, 3) == 2 * 50_005


async def test_a_stalled_stream_holds_up_no_other(server: Served) -> None:
    async with connected(server.port, {INITIAL_WINDOW_SIZE: 20}) as peer:
        await peer.send(large(peer, 1, 1_000_000))
        for stream in (3, 5, 7):
            await peer.expect_service(stream)


async def test_headers_and_trailers_need_no_window(server: Served) -> None:
    async with connected(server.port, {INITIAL_WINDOW_SIZE: 0}) as peer:
        await peer.send(peer.call(1, "Abort", b'[9, "no"]'))
        answer = await peer.answer(1)
        assert (answer.status, answer.details) == (9, "no")


async def test_a_window_may_become_negative(server: Served) -> None:
    async with connected(server.port, {INITIAL_WINDOW_SIZE: 100}) as peer:
        await peer.send(large(peer, 1, 1000))
        assert await received(peer, 1) == 100
        await peer.send(settings({INITIAL_WINDOW_SIZE: 0}), window_update(1, 100))
        assert await received(peer, 1) == 100
        await peer.send(window_update(1, 1))
        assert await received(peer, 1) == 101
        await peer.send(settings({INITIAL_WINDOW_SIZE: 50}))
        assert await received(peer, 1) == 151


async def test_a_window_past_the_largest_ends_the_stream(peer: Peer) -> None:
    await peer.send(peer.headers(1, request()), window_update(1, LARGEST))
    await peer.expect_reset(1, ErrorCodes.FLOW_CONTROL_ERROR)


async def test_a_window_of_the_connection_past_the_largest_ends_it(peer: Peer) -> None:
    await peer.send(window_update(0, LARGEST))
    await peer.expect_goaway(ErrorCodes.FLOW_CONTROL_ERROR)


async def test_the_largest_windows_are_used(peer: Peer) -> None:
    await peer.send(window_update(0, LARGEST - DEFAULT), settings({INITIAL_WINDOW_SIZE: LARGEST}))
    await peer.send(large(peer, 1, 1_000_000))
    assert len((await peer.answer(1)).data) == 1_000_005


@pytest.fixture
async def narrow() -> Peer:
    """A client of a server with the smallest windows: 65,535 bytes for a stream and for the connection."""
    with serve(yais__connection_window_bytes=DEFAULT, grpc__http2__lookahead_bytes=DEFAULT) as server:
        async with connected(server.port) as peer:
            yield peer


def portions(stream: int, size: int) -> bytes:
    """DATA of messages that fill 8 KiB each, rounded up to whole ones."""
    return b"".join(frame(DATA, 0, stream, message(bytes(8187))) for _ in range(0, size, 8192))


async def test_data_past_the_window_of_a_stream_are_refused(peer: Peer) -> None:
    """Nobody reads the first message, so the window stays shut behind it.

    All that is within it is read before the rest comes: who hangs up with something unread may not be heard.
    """
    await peer.send(peer.headers(1, request("Deaf")), frame(DATA, 0, 1, message(b"first")))
    await peer.send(portions(1, 2**20 - 8192))
    await peer.settle()
    await peer.send(portions(1, 8192))
    reply = await peer.expect_reset_or_goaway(1)
    assert reply.error_code == ErrorCodes.FLOW_CONTROL_ERROR


async def send_within_windows(peer: Peer, stream: int, size: int) -> None:
    windows = {0: DEFAULT, stream: DEFAULT}
    for _ in range(0, size, 8192):
        while min(windows.values()) < 8192:
            frame = await peer.expect(WindowUpdateFrame)
            windows[frame.stream_id] += frame.window_increment
        await peer.send(portions(stream, 8192))
        windows = {key: window - 8192 for key, window in windows.items()}


async def test_windows_open_again_while_somebody_reads(narrow: Peer) -> None:
    await narrow.send(narrow.headers(1, request("Count")))
    await send_within_windows(narrow, 1, 10 * DEFAULT)
    await narrow.send(frame(DATA, END_STREAM, 1))
    answer = await narrow.answer(1)
    assert (answer.status, answer.data.count(b"8187")) == (0, 80)


async def test_a_window_stays_shut_while_nobody_reads(narrow: Peer) -> None:
    await narrow.send(narrow.headers(1, request("Deaf")))
    await narrow.send(*(frame(DATA, 0, 1, message(bytes(10_000))) for _ in range(6)))
    await narrow.settle()
    assert not [reply for reply in narrow.seen if isinstance(reply, WindowUpdateFrame) and reply.stream_id == 1]


async def test_who_is_not_read_holds_up_no_other_call(narrow: Peer) -> None:
    await narrow.send(narrow.headers(1, request("Deaf")))
    await narrow.send(*(frame(DATA, 0, 1, message(bytes(10_000))) for _ in range(6)))
    for stream in (3, 5, 7):
        await narrow.expect_service(stream)


async def test_data_to_streams_that_are_gone_open_the_window_of_the_connection_again(narrow: Peer) -> None:
    await narrow.expect_service(1)
    for _ in range(4):
        await narrow.send(portions(1, 40960))
        await narrow.expect(WindowUpdateFrame, 0)
    await narrow.expect_service(3)


async def test_a_channel_sends_no_more_than_the_window(hostile: Hostile) -> None:
    call = hostile.call(bytes(1000))
    peer = await hostile.connection({INITIAL_WINDOW_SIZE: 100})
    await peer.expect(HeadersFrame, 1)
    assert await received(peer, 1) == 100
    await peer.send(window_update(1, 905))
    assert await received(peer, 1) == 1005
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, message(b"all")))
    await peer.send(peer.headers(1, TRAILERS, END_HEADERS | END_STREAM))
    assert await call == b"all"


async def test_a_server_that_oversteps_a_window_is_hung_up_on(hostile: Hostile) -> None:
    """A reader that takes nothing leaves its window shut."""
    pour = hostile.channel.unary_stream("/test.Probe/Pour")(b"", timeout=5)
    peer = await hostile.connection()
    await peer.expect(HeadersFrame, 1)
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, message(b"first")), portions(1, 2**20 - 8192))
    await peer.settle()
    await peer.send(portions(1, 8192))
    reply = await peer.expect_reset_or_goaway(1)
    assert reply.error_code == ErrorCodes.FLOW_CONTROL_ERROR
    assert (await pour.code()).name in ("UNAVAILABLE", "INTERNAL")


@pytest.mark.parametrize("stream", [0, 1])
async def test_a_servers_window_updates_are_checked(hostile: Hostile, stream: int) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), window_update(stream, LARGEST))
    frame = await peer.expect_reset_or_goaway(1)
    assert frame.error_code == ErrorCodes.FLOW_CONTROL_ERROR
    assert (await status_of(call)).name in ("UNAVAILABLE", "INTERNAL")
