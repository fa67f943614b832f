"""PROTOCOL-HTTP2.md, "Length-Prefixed-Message": how the server takes a call's messages."""

import json

import pytest

from conformance.protocol.fields import request
from conformance.protocol.peer import Answer, Peer, connected
from conformance.protocol.serving import Served, serve
from yais.clients.siege.chaos.h2 import DATA, END_STREAM, frame, message

RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 8, 12, 13
LIMIT = 4 * 2**20


async def call(peer: Peer, method: str, *frames: bytes) -> Answer:
    """Sends each of `frames` as DATA, the last as the end."""
    await peer.send(peer.headers(1, request(method)), *(frame(DATA, 0, 1, data) for data in frames[:-1]))
    await peer.send(frame(DATA, END_STREAM, 1, frames[-1]))
    return await peer.answer(1)


def lengths(answer: Answer) -> list[int]:
    return json.loads(answer.data[5:])


@pytest.mark.parametrize("method", ["Echo", "Copy"])
async def test_a_message_may_be_cut_across_frames_at_every_byte(server: Served, method: str) -> None:
    async with connected(server.port) as peer:
        body = message(b"hello, world")
        for position in range(len(body) + 1):
            stream = 2 * position + 1
            await peer.send(peer.headers(stream, request(method)), frame(DATA, 0, stream, body[:position]))
            await peer.send(frame(DATA, END_STREAM, stream, body[position:]))
            assert (await peer.answer(stream)).data == body


async def test_every_byte_may_come_in_a_frame_of_its_own(peer: Peer) -> None:
    body = message(b"one") + message(b"") + message(b"three")
    answer = await call(peer, "Count", *(bytes((byte,)) for byte in body))
    assert lengths(answer) == [3, 0, 5]


async def test_many_messages_may_come_in_one_frame(peer: Peer) -> None:
    answer = await call(peer, "Count", b"".join(message(bytes(size)) for size in range(100)))
    assert lengths(answer) == list(range(100))


async def test_two_messages_cut_at_every_byte_of_a_stream(peer: Peer) -> None:
    body = message(b"one") + message(b"second") + message(b"")
    for position in range(len(body) + 1):
        stream = 2 * position + 1
        await peer.send(peer.headers(stream, request("Chat")), frame(DATA, 0, stream, body[:position]))
        await peer.send(frame(DATA, 0, stream, body[position:]), frame(DATA, END_STREAM, stream))
        assert (await peer.answer(stream)).data == body


@pytest.mark.parametrize("method", ["Echo", "Copy"])
async def test_a_message_may_be_empty(peer: Peer, method: str) -> None:
    answer = await call(peer, method, message(b""))
    assert (answer.data, answer.status) == (message(b""), 0)


async def test_a_stream_may_have_no_messages(peer: Peer) -> None:
    assert lengths(await call(peer, "Count", b"")) == []


async def test_empty_messages_are_counted(peer: Peer) -> None:
    assert lengths(await call(peer, "Count", bytes(5 * 1000))) == [0] * 1000


@pytest.mark.parametrize("flag", [2, 3, 0x80, 0xFF])
@pytest.mark.parametrize("method", ["Echo", "Copy", "Count"])
async def test_a_flag_of_another_value_is_refused(peer: Peer, method: str, flag: int) -> None:
    answer = await call(peer, method, message(b"hello", flag))
    assert (answer.status, answer.is_ended) == (INTERNAL, True)
    assert str(flag) in answer.details
    await peer.expect_service(3)


@pytest.mark.parametrize("method", ["Echo", "Copy", "Count"])
@pytest.mark.parametrize("cut", [b"\0", bytes(4), message(b"", length=1), message(b"hell", length=5)])
async def test_a_stream_that_ends_inside_of_a_message_is_refused(peer: Peer, method: str, cut: bytes) -> None:
    answer = await call(peer, method, cut)
    assert answer.status == INTERNAL
    await peer.expect_service(3)


@pytest.mark.parametrize("method", ["Echo", "Copy", "Count"])
async def test_junk_behind_a_message_is_refused(peer: Peer, method: str) -> None:
    answer = await call(peer, method, message(b"hello") + b"\0\0\0")
    assert answer.status == INTERNAL
    await peer.expect_service(3)


@pytest.mark.parametrize("method", ["Echo", "Copy", "Pour"])
@pytest.mark.parametrize("body", [b"", message(b"1") * 2, message(b"1") * 3], ids=["none", "two", "three"])
async def test_a_unary_request_has_exactly_one_message(peer: Peer, method: str, body: bytes) -> None:
    answer = await call(peer, method, body)
    assert answer.status == UNIMPLEMENTED
    await peer.expect_service(3)


async def test_a_second_message_of_a_unary_request_is_refused_at_once(peer: Peer) -> None:
    """Or a client could go on for ever."""
    await peer.send(peer.headers(1, request()), frame(DATA, 0, 1, message(b"one")), frame(DATA, 0, 1, message(b"two")))
    assert (await peer.answer(1)).status == UNIMPLEMENTED
    await peer.expect_service(3)


@pytest.mark.parametrize("method", ["Echo", "Copy", "Count"])
@pytest.mark.parametrize("length", [LIMIT + 1, 2**31, 2**32 - 1])
async def test_a_message_past_the_limit_is_refused_by_its_prefix(peer: Peer, method: str, length: int) -> None:
    await peer.send(peer.headers(1, request(method)), frame(DATA, 0, 1, message(b"", length=length)))
    answer = await peer.answer(1)
    assert answer.status == RESOURCE_EXHAUSTED
    assert str(length) in answer.details
    assert str(LIMIT) in answer.details
    await peer.expect_service(3)


async def test_the_largest_message_is_taken() -> None:
    with serve(grpc__max_receive_message_length=1000) as server:
        async with connected(server.port) as peer:
            assert (await call(peer, "Echo", message(bytes(1000)))).data == message(bytes(1000))
        async with connected(server.port) as peer:
            assert (await call(peer, "Echo", message(bytes(1001)))).status == RESOURCE_EXHAUSTED


async def test_an_answer_past_the_limit_is_not_sent() -> None:
    with serve(grpc__max_send_message_length=1000) as server:
        async with connected(server.port) as peer:
            assert (await call(peer, "Copy", message(bytes(1001)))).status == RESOURCE_EXHAUSTED
            await peer.expect_service(3)


async def test_no_limit_is_minus_one() -> None:
    with serve(grpc__max_receive_message_length=-1) as server:
        async with connected(server.port) as peer:
            await peer.send(peer.headers(1, request("Hold")), frame(DATA, 0, 1, message(b"begun", length=2**32 - 1)))
            await peer.expect_service(3)


async def test_what_follows_a_refused_message_is_ignored(peer: Peer) -> None:
    await peer.send(peer.headers(1, request("Count")), frame(DATA, 0, 1, message(b"", 7)))
    assert (await peer.answer(1)).status == INTERNAL
    await peer.send(*(frame(DATA, 0, 1, bytes(16384)) for _ in range(200)))
    await peer.expect_service(3)
