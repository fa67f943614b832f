import json

import pytest
from h2.errors import ErrorCodes

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, TRAILERS, Hostile, status_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.frames import DATA, END_HEADERS, END_STREAM, frame, message

MALFORMED = {
    "upper case": ("X-Upper", "1"),
    "an empty name": ("", "1"),
    "a space in a name": ("x y", "1"),
    "a colon in a name": ("x:y", "1"),
    "a name beyond ASCII": ("x\x80", "1"),
    "a NUL in a name": ("x\x00", "1"),
    "an unknown pseudo-field": (":x", "1"),
    "a NUL in a value": ("x", "a\x00b"),
    "a CR in a value": ("x", "a\rb"),
    "a LF in a value": ("x", "a\nb"),
    "connection": ("connection", "close"),
    "keep-alive": ("keep-alive", "1"),
    "proxy-connection": ("proxy-connection", "close"),
    "transfer-encoding": ("transfer-encoding", "chunked"),
    "upgrade": ("upgrade", "h2c"),
    "te other than trailers": ("te", "gzip"),
}

malformed = pytest.mark.parametrize("field", MALFORMED.values(), ids=MALFORMED)


@malformed
async def test_malformed_fields_end_the_call(peer: Peer, field: tuple[str, str]) -> None:
    await peer.send(peer.headers(1, request("Echo", field)))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)


@malformed
async def test_malformed_trailers_end_the_call(peer: Peer, field: tuple[str, str]) -> None:
    await peer.send(peer.headers(1, request()), frame(DATA, 0, 1, message(b"hello")))
    await peer.send(peer.headers(1, [field], END_HEADERS | END_STREAM))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)


@malformed
async def test_malformed_fields_of_an_answer_end_the_call(hostile: Hostile, field: tuple[str, str]) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, [*OK, field]))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "INTERNAL"


@malformed
async def test_malformed_trailers_of_an_answer_end_the_call(hostile: Hostile, field: tuple[str, str]) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, message(b"hello")))
    await peer.send(peer.headers(1, [*TRAILERS, field], END_HEADERS | END_STREAM))
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
