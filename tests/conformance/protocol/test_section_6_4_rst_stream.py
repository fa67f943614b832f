import grpc
import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, Hostile, answer, error_of, status_of
from conformance.protocol.peer import Peer
from conformance.protocol.serving import Served, until
from yais.clients.siege.chaos.h2 import DATA, END_STREAM, WINDOW_UPDATE, frame, message, number, reset

UNKNOWN_CODE = 0xFFFF_FFFF


async def waiting(server: Served, count: int) -> None:
    """Until so many methods wait."""
    await until(lambda: server.state()["waiting"] == count)


@pytest.mark.parametrize("code", [ErrorCodes.NO_ERROR, ErrorCodes.CANCEL, UNKNOWN_CODE])
async def test_a_reset_cancels_the_method_whatever_its_code(peer: Peer, server: Served, code: int) -> None:
    await peer.send(peer.call(1, "Wait"))
    await waiting(server, 1)
    await peer.send(reset(1, code))
    await waiting(server, 0)
    await peer.expect_service(3)


async def test_a_reset_ends_an_answer_in_its_midst(peer: Peer) -> None:
    await peer.send(frame(WINDOW_UPDATE, 0, 0, number(2**20)), peer.call(1, "Pour", b"1000"))
    await peer.expect(DataFrame, 1)
    await peer.send(reset(1, ErrorCodes.CANCEL))
    await peer.expect_service(3)


async def test_a_reset_ends_a_request_in_its_midst(peer: Peer) -> None:
    await peer.send(peer.headers(1, request()), frame(DATA, 0, 1, message(b"hel", length=5)), reset(1, 8))
    await peer.expect_service(3)


async def test_an_answer_before_the_end_of_the_request_ends_without_an_error(peer: Peer) -> None:
    """RFC 9113, section 8.1: RST_STREAM with NO_ERROR asks the client to send no more."""
    await peer.send(peer.headers(1, request("Unknown")))
    assert (await peer.answer(1)).status == 12
    await peer.expect_reset(1, ErrorCodes.NO_ERROR)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCodes.NO_ERROR, "INTERNAL"),
        (ErrorCodes.PROTOCOL_ERROR, "INTERNAL"),
        (ErrorCodes.INTERNAL_ERROR, "INTERNAL"),
        (ErrorCodes.FLOW_CONTROL_ERROR, "INTERNAL"),
        (ErrorCodes.SETTINGS_TIMEOUT, "INTERNAL"),
        (ErrorCodes.FRAME_SIZE_ERROR, "INTERNAL"),
        (ErrorCodes.CANCEL, "CANCELLED"),
        (ErrorCodes.COMPRESSION_ERROR, "INTERNAL"),
        (ErrorCodes.CONNECT_ERROR, "INTERNAL"),
        (ErrorCodes.ENHANCE_YOUR_CALM, "RESOURCE_EXHAUSTED"),
        (ErrorCodes.INADEQUATE_SECURITY, "PERMISSION_DENIED"),
    ],
)
async def test_the_code_of_a_servers_reset_gives_the_status(hostile: Hostile, code: ErrorCodes, status: str) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), reset(1, code))
    assert (await status_of(call)).name == status


@pytest.mark.parametrize("code", [14, UNKNOWN_CODE])
async def test_unknown_codes_of_a_servers_reset_end_the_call(hostile: Hostile, code: int) -> None:
    call, peer = await hostile.called()
    await peer.send(reset(1, code))
    assert (await status_of(call)) in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)


async def test_a_call_that_the_server_refused_is_made_once_more(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(reset(1, ErrorCodes.REFUSED_STREAM))
    await peer.expect(HeadersFrame, 3)
    await peer.send(answer(peer, 3))
    assert await call == b"hello"


async def test_a_call_that_is_refused_twice_is_unavailable(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(reset(1, ErrorCodes.REFUSED_STREAM))
    await peer.expect(HeadersFrame, 3)
    await peer.send(reset(3, ErrorCodes.REFUSED_STREAM))
    assert (await error_of(call)).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_reset_after_the_trailers_does_not_change_the_status(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(answer(peer), reset(1, ErrorCodes.NO_ERROR), reset(1, ErrorCodes.INTERNAL_ERROR))
    assert await call == b"hello"


async def test_a_channel_cancels_by_a_reset(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    call.cancel()
    assert (await peer.expect(RstStreamFrame, 1)).error_code == ErrorCodes.CANCEL
    await peer.send(answer(peer), frame(DATA, END_STREAM, 1, b"late"))
    await peer.expect_pong()
