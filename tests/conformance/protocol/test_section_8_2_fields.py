import json

import pytest
from h2.errors import ErrorCodes

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, TRAILERS, Hostile, status_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.h2 import DATA, END_HEADERS, END_STREAM, frame, message

MALFORMED = ("connection", "close")


async def test_a_malformed_field_ends_the_call(peer: Peer) -> None:
    await peer.send(peer.headers(1, request("Echo", MALFORMED)))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)


async def test_a_malformed_trailer_ends_the_call(peer: Peer) -> None:
    await peer.send(peer.headers(1, request()), frame(DATA, 0, 1, message(b"hello")))
    await peer.send(peer.headers(1, [MALFORMED], END_HEADERS | END_STREAM))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)


async def test_a_malformed_field_of_an_answer_ends_the_call(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, [*OK, MALFORMED]))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "INTERNAL"


async def test_a_malformed_trailer_of_an_answer_ends_the_call(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, message(b"hello")))
    await peer.send(peer.headers(1, [*TRAILERS, MALFORMED], END_HEADERS | END_STREAM))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "INTERNAL"


@pytest.mark.parametrize("value", ["", "a b", "!#$%&'()*+,-./:;<=>?@[]^_`{|}~", "x" * 8000])
async def test_legal_values_reach_the_method(peer: Peer, value: str) -> None:
    await peer.send(peer.headers(1, request("Describe", ("x-value", value))), frame(DATA, END_STREAM, 1, bytes(5)))
    told = json.loads((await peer.answer(1)).data[5:])
    assert ["x-value", value] in told["metadata"]


async def test_a_field_given_twice_reaches_the_method_twice(peer: Peer) -> None:
    await peer.send(peer.headers(1, request("Describe", ("x-two", "1"), ("x-two", "2"))))
    await peer.send(frame(DATA, END_STREAM, 1, bytes(5)))
    told = json.loads((await peer.answer(1)).data[5:])
    assert [value for key, value in told["metadata"] if key == "x-two"] == ["1", "2"]
