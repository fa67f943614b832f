from h2.errors import ErrorCodes
from hyperframe.frame import HeadersFrame

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, Hostile, status_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.h2 import END_HEADERS, END_STREAM

LARGEST = 2**31 - 1


async def test_a_client_opens_odd_streams(peer: Peer) -> None:
    await peer.send(peer.headers(2, request()))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_the_last_identifier_is_served(peer: Peer) -> None:
    await peer.expect_service(LARGEST)


async def test_a_server_opens_no_streams(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(2, OK))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "UNAVAILABLE"


async def test_a_channel_counts_its_streams_by_two(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    for stream, body in ((3, b"second"), (5, b"third")):
        task = hostile.call(body, timeout=0.2)
        assert (await peer.expect(HeadersFrame)).stream_id == stream
        assert (await status_of(task)).name == "DEADLINE_EXCEEDED"
    await peer.send(peer.headers(1, [*OK, ("grpc-status", "5")], END_HEADERS | END_STREAM))
    assert (await status_of(call)).name == "NOT_FOUND"
