import asyncio
from collections.abc import AsyncIterator

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import HeadersFrame

from conformance.protocol.fields import request
from conformance.protocol.hostile import Hostile, answer, status_of
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import serve
from yais.clients.siege.chaos.h2 import MAX_CONCURRENT_STREAMS, PREFACE, RST_STREAM, frame, number, settings


@pytest.fixture
async def limited() -> AsyncIterator[int]:
    with serve(grpc__max_concurrent_streams=2) as server:
        yield server.port


async def test_calls_past_the_acknowledged_limit_end_the_connection(limited: int) -> None:
    async with connected(limited) as peer:
        await peer.send(*(peer.headers(stream, request("Hold")) for stream in (1, 3, 5)))
        await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_calls_past_the_limit_are_refused_while_the_client_cannot_know_it(limited: int) -> None:
    peer = await Peer.connect(limited)
    await peer.send(PREFACE, settings(), *(peer.headers(stream, request("Hold")) for stream in (1, 3, 5)))
    await peer.expect_reset(5, ErrorCodes.REFUSED_STREAM)
    peer.close()


async def test_a_call_that_ends_makes_room_for_another(limited: int) -> None:
    async with connected(limited) as peer:
        await peer.send(peer.headers(1, request("Hold")), peer.headers(3, request("Hold")))
        await peer.send(frame(RST_STREAM, 0, 1, number(ErrorCodes.CANCEL)))
        for stream in (5, 7, 9):
            await peer.expect_service(stream)


async def test_a_channel_keeps_calls_back_until_there_is_room(hostile: Hostile) -> None:
    calls = [hostile.call(b"%d" % index) for index in range(3)]
    peer = await hostile.connection({MAX_CONCURRENT_STREAMS: 1})
    for stream, index in ((1, 0), (3, 1), (5, 2)):
        assert (await peer.expect(HeadersFrame)).stream_id == stream
        await peer.expect_pong()
        await peer.send(answer(peer, stream, b"%d" % index))
        assert await calls[index] == b"%d" % index


async def test_calls_that_are_kept_back_have_their_deadlines(hostile: Hostile) -> None:
    call = asyncio.ensure_future(status_of(hostile.call(timeout=0.1)))
    await hostile.connection({MAX_CONCURRENT_STREAMS: 0})
    assert (await call).name == "DEADLINE_EXCEEDED"


async def test_raw_calls_that_are_kept_back_have_their_deadlines(hostile: Hostile) -> None:
    ready = asyncio.ensure_future(hostile.channel.channel_ready())
    await hostile.connection({MAX_CONCURRENT_STREAMS: 0})
    await ready
    done = asyncio.get_running_loop().create_future()
    send = hostile.channel.raw_unary("/test.Probe/Echo")
    send(b"hello", lambda call: done.set_result(call.status), timeout=0.1)
    assert await asyncio.wait_for(done, 2) == 4


async def test_calls_that_are_kept_back_can_be_cancelled_and_leave_nothing(hostile: Hostile) -> None:
    ready = asyncio.ensure_future(hostile.channel.channel_ready())
    peer = await hostile.connection({MAX_CONCURRENT_STREAMS: 1})
    await ready
    statuses: list[int] = []
    send = hostile.channel.raw_unary("/test.Probe/Echo")
    send(b"hello", lambda call: statuses.append(call.status))
    send(b"never sent", lambda call: statuses.append(call.status)).cancel()
    await peer.expect(HeadersFrame, 1)
    assert statuses == [1]
    await peer.send(answer(peer))
    await peer.expect_pong()
    assert statuses == [1, 0]
    assert not [frame for frame in peer.seen if frame.stream_id == 3 and isinstance(frame, HeadersFrame)]
