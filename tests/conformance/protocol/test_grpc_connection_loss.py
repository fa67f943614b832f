"""What happens to calls when their connection goes."""

import asyncio
import socket
from collections.abc import Callable

import grpc
import pytest
import uvloop
from h2.errors import ErrorCodes
from hyperframe.frame import HeadersFrame

from conformance.protocol.fields import request
from conformance.protocol.hostile import Hostile, answer, status_of
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import PATIENCE_S, Served, until
from yais import transport
from yais.clients.siege.chaos.h2 import (
    DATA,
    END_STREAM,
    GOAWAY,
    MAX_CONCURRENT_STREAMS,
    frame,
    message,
    number,
    settings,
)

MakeLoop = Callable[[], asyncio.AbstractEventLoop]

UNAVAILABLE = 14


async def ready(hostile: Hostile, values: dict[int, int] | None = None) -> Peer:
    """The other end of a channel that is connected."""
    connecting = asyncio.ensure_future(hostile.channel.channel_ready())
    peer = await hostile.connection(values)
    await connecting
    return peer


@pytest.mark.parametrize("limit", [None, 0.1])
async def test_a_callback_may_call_again_when_the_connection_is_lost(hostile: Hostile, limit: float | None) -> None:
    """It either is refused at once or gets an end; it must not be lost, nor touch what is gone."""
    peer = await ready(hostile)
    send = hostile.channel.raw_unary("/test.Probe/Echo")
    outcomes: asyncio.Queue[object] = asyncio.Queue()

    def again(call: transport.ClientCall) -> None:
        outcomes.put_nowait(call.status)
        try:
            send(b"again", lambda call: outcomes.put_nowait(call.status), timeout=limit)
        except ConnectionError as error:
            outcomes.put_nowait(error)

    send(b"first", again, timeout=5)
    await peer.expect(HeadersFrame, 1)
    peer.abort()
    async with asyncio.timeout(PATIENCE_S):
        assert await outcomes.get() == UNAVAILABLE
        assert isinstance(await outcomes.get(), ConnectionError | int)
    await asyncio.sleep(0.2)


async def test_every_call_of_a_lost_connection_is_unavailable(hostile: Hostile) -> None:
    peer = await ready(hostile)
    calls = [asyncio.ensure_future(status_of(hostile.call())) for _ in range(100)]
    await peer.expect(HeadersFrame, 199)
    peer.close()
    assert {status.name for status in await asyncio.gather(*calls)} == {"UNAVAILABLE"}


async def test_calls_that_waited_for_room_are_made_on_the_next_connection(hostile: Hostile) -> None:
    """The server has seen nothing of them."""
    peer = await ready(hostile, {MAX_CONCURRENT_STREAMS: 1})
    first, second = (hostile.call(body) for body in (b"first", b"second"))
    await peer.expect(HeadersFrame, 1)
    peer.close()
    peer = await hostile.connection()
    await peer.expect(HeadersFrame, 1)
    await peer.send(answer(peer, 1, b"second"))
    assert await second == b"second"
    assert (await status_of(first)).name == "UNAVAILABLE"


async def test_a_channel_connects_again(hostile: Hostile) -> None:
    for body in (b"one", b"two", b"three"):
        call, peer = await hostile.called(body)
        await peer.send(answer(peer, 1, body))
        assert await call == body
        peer.close()
        await asyncio.sleep(0.01)


async def test_a_client_that_goes_leaves_nothing_behind(server: Served) -> None:
    before = server.state()
    for _ in range(20):
        async with connected(server.port) as peer:
            await peer.send(peer.call(1, "Wait"), peer.call(3, "Hold"), peer.headers(5, request("Chat")))
            await peer.send(peer.headers(7, request()), frame(DATA, 0, 7, message(b"hel", length=1000)))
            await peer.settle()
            peer.abort()
    await until(lambda: server.state() == before)


async def test_a_client_that_closes_its_sending_side_is_closed(server: Served) -> None:
    async with connected(server.port) as peer:
        await peer.send(peer.call(1, "Hold"))
        peer.socket.shutdown(socket.SHUT_WR)
        await peer.expect_end()


async def test_no_calls_are_made_while_a_channel_closes(hostile: Hostile) -> None:
    call, _ = await hostile.called()
    closing = asyncio.ensure_future(hostile.channel.close())
    await asyncio.sleep(0)
    with pytest.raises(grpc.aio.UsageError):
        hostile.call()
    await asyncio.wait_for(closing, PATIENCE_S)
    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_channel_can_be_closed_at_any_moment_of_connecting(server: Served, make_loop: MakeLoop) -> None:
    """Turn by turn of the loop; what is left of a connection must not be waited for."""

    async def connect_and_close() -> None:
        for turns in range(40):
            channel = transport.insecure_channel(f"127.0.0.1:{server.port}")
            channel.get_state(try_to_connect=True)
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(channel.close(), PATIENCE_S)

    loop = make_loop()
    try:
        loop.run_until_complete(connect_and_close())
    finally:
        loop.close()


async def test_a_server_that_says_goodbye_and_goes_at_once_does_not_wedge_the_channel(hostile: Hostile) -> None:
    call = hostile.call()
    peer = await hostile.bare_connection()
    await peer.send(settings(), frame(GOAWAY, payload=number(0) + number(ErrorCodes.NO_ERROR)))
    peer.close()
    peer = await hostile.connection()
    await peer.expect(HeadersFrame, 1)
    await peer.send(answer(peer), frame(DATA, END_STREAM, 1))
    assert await call == b"hello"
