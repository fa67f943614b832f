"""PROTOCOL-HTTP2.md, "Responses": what the server says."""

import json
from urllib.parse import unquote

import grpc
import pytest
from hyperframe.frame import DataFrame, HeadersFrame

from conformance.protocol.fields import request
from conformance.protocol.peer import Answer, Peer
from yais.clients.siege.chaos.h2 import DATA, END_STREAM, frame, message

TEXTS = [
    "plain",
    "100 % sure",
    "tab\tand newline\nand return\r",
    "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP \U0001f608\t\n",
    " outer spaces ",
    "\x00\x01\x7f",
    "é" * 100,
    "%41%zz%",
]


async def abort(peer: Peer, code: int, details: str) -> Answer:
    await peer.send(peer.call(1, "Abort", json.dumps([code, details]).encode()))
    return await peer.answer(1)


async def test_an_answer_is_headers_data_and_trailers(peer: Peer) -> None:
    await peer.send(peer.call(1))
    answer = await peer.answer(1)
    headers, trailers = answer.blocks
    assert headers == {":status": "200", "content-type": "application/grpc"}
    assert trailers == {"grpc-status": "0"}
    assert answer.data == message(b"hello")
    assert answer.is_ended


@pytest.mark.parametrize("code", [status.value[0] for status in grpc.StatusCode if status.value[0]])
async def test_a_failure_before_the_first_message_is_headers_only(peer: Peer, code: int) -> None:
    answer = await abort(peer, code, "the reason")
    assert len(answer.blocks) == 1
    assert (answer.http_status, answer.status, answer.details) == ("200", code, "the reason")
    assert answer.blocks[0]["content-type"] == "application/grpc"
    assert answer.data == b""


@pytest.mark.parametrize("text", TEXTS)
async def test_a_status_message_is_percent_encoded(peer: Peer, text: str) -> None:
    details = (await abort(peer, 5, text)).details
    assert details.isascii()
    assert details.isprintable()
    assert details == details.strip()
    assert unquote(details) == text


async def test_no_status_message_is_no_field(peer: Peer) -> None:
    assert "grpc-message" not in (await abort(peer, 5, "")).blocks[-1]


async def test_a_failure_behind_messages_is_in_the_trailers(peer: Peer) -> None:
    body = message(b"one") + message(b"flagged wrongly", 9)
    await peer.send(peer.headers(1, request("Chat")), frame(DATA, 0, 1, body[:8]))
    assert (await peer.expect(DataFrame, 1)).data == message(b"one")
    await peer.send(frame(DATA, END_STREAM, 1, body[8:]))
    answer = await peer.answer(1)
    assert (answer.status, answer.data) == (13, b"")
    heads = [reply for reply in peer.seen if isinstance(reply, HeadersFrame) and reply.stream_id == 1]
    assert ["END_STREAM" in head.flags for head in heads] == [False, True]


async def test_data_never_end_the_stream_of_an_answer(peer: Peer) -> None:
    await peer.send(peer.call(1, "Large", b"40000"))
    await peer.answer(1)
    assert not [frame for frame in peer.seen if isinstance(frame, DataFrame) and "END_STREAM" in frame.flags]


async def test_a_stream_of_no_answers_is_headers_only_or_has_no_data(peer: Peer) -> None:
    await peer.send(peer.call(1, "Pour", b"0"))
    answer = await peer.answer(1)
    assert (answer.status, answer.data) == (0, b"")
