import pytest
from h2.errors import ErrorCodes

from conformance.protocol.fields import Fields, request
from conformance.protocol.hostile import OK, TRAILERS, Hostile, status_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.h2 import DATA, END_HEADERS, END_STREAM, frame, message

MALFORMED = {
    "no path": request(_path=None),
    "neither authority nor host": request(_authority=None),
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_requests_are_reset(peer: Peer, fields: Fields) -> None:
    await peer.send(peer.headers(1, fields))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)


@pytest.mark.parametrize("changes", [{"_authority": None, "host": "probe"}, {"_scheme": "https"}, {"te": None}])
async def test_what_a_call_can_do_without_it_does_without(peer: Peer, changes: dict[str, str | None]) -> None:
    await peer.send(peer.headers(1, request(**changes)), frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")


MALFORMED_ANSWERS = {
    "no status": OK[1:],
    "switching protocols": [(":status", "101")],
}


@pytest.mark.parametrize("fields", MALFORMED_ANSWERS.values(), ids=MALFORMED_ANSWERS)
async def test_malformed_answers_end_the_call(hostile: Hostile, fields: Fields) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, fields))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "INTERNAL"


async def test_an_informational_answer_does_not_end_the_stream(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, [(":status", "100")], END_HEADERS | END_STREAM))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "INTERNAL"


async def test_informational_answers_come_before_the_answer(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    for status in ("100", "102", "103", "199"):
        await peer.send(peer.headers(1, [(":status", status), ("grpc-status", "13"), ("x-early", status)]))
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, message(b"hello")))
    await peer.send(peer.headers(1, TRAILERS, END_HEADERS | END_STREAM))
    assert await call == b"hello"
