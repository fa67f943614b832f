import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from transport.api.differences import (
    UNREADABLE_ANSWER,
    UNREADABLE_REQUEST,
    UNWRITABLE_ANSWER,
    UNWRITABLE_ITERATED_REQUEST,
    UNWRITABLE_REQUEST,
)
from transport.api.messages import SERVICE, note
from transport.api.reading import read_all, status
from transport.api.serving import Bench

# A field of 5 bytes, of which one is there.
GARBAGE = b"\x0a\x05x"

KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]


@pytest.fixture(autouse=True)
def no_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    """Of what fails on purpose."""
    caplog.set_level(logging.CRITICAL)


def path(kind: str) -> str:
    return f"{SERVICE}/{kind.title().replace('_', '')}"


def argument(kind: str, message: bytes) -> Any:
    return message if kind.startswith("unary") else [message]


def refuse(_: Any) -> Any:
    raise ValueError("nonsense")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_that_is_no_message_fails_its_call(bench: Bench, kind: str) -> None:
    served = await bench.serve()
    call = getattr(served.channel, kind)(path(kind))(argument(kind, GARBAGE))
    code, details = await status(call)
    assert code is UNREADABLE_REQUEST.at(bench.ends.server)
    assert "Error parsing message" in details
    assert await served.stub.UnaryUnary(note("a")) == note("a")


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"])
@pytest.mark.parametrize("given", ["no message", None], ids=["text", "nothing"])
async def test_an_answer_that_is_no_message_fails_its_call(bench: Bench, method: str, given: Any) -> None:
    async def answer(request: Any, context: Any) -> Any:
        return given

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        yield given

    served = await bench.serve(methods={method: stream if method.endswith("Stream") else answer})
    call = getattr(served.stub, method)(note() if method.startswith("Unary") else [])
    assert await call.code() is UNWRITABLE_ANSWER.at(bench.ends.server)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_that_the_client_cannot_read(bench: Bench, kind: str) -> None:
    served = await bench.serve()
    request = note("a").SerializeToString()
    call = getattr(served.channel, kind)(path(kind), response_deserializer=refuse)(argument(kind, request))
    try:
        result = await (call.read() if kind.endswith("stream") else call)
    except grpc.aio.AioRpcError as error:
        result = error.code()
    assert result is UNREADABLE_ANSWER.at(bench.ends.channel)
    call.cancel()


async def test_a_request_that_cannot_be_serialized(bench: Bench) -> None:
    served = await bench.serve()
    try:
        result = f"is sent as {await served.stub.UnaryUnary('no message')!r}"
    except TypeError:
        result = "raises what the serializer raises"
    assert result == UNWRITABLE_REQUEST.at(bench.ends.channel)
    assert await served.stub.UnaryUnary(note("a")) == note("a")


async def test_writing_what_cannot_be_serialized(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.StreamStream()
    try:
        await call.write("no message")
        result = f"is sent as {await call.read()!r}"
    except TypeError:
        result = "raises what the serializer raises"
    assert result == UNWRITABLE_REQUEST.at(bench.ends.channel)
    await call.write(note("a"))
    assert await call.read() == note("a")
    await call.done_writing()
    assert await read_all(call) == []


async def test_an_iterator_that_gives_what_cannot_be_serialized(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.StreamUnary(["no message"])
    assert await call.code() is UNWRITABLE_ITERATED_REQUEST.at(bench.ends.channel)
