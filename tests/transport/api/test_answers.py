import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from transport.api.differences import STATUS_BEFORE_MESSAGES
from transport.api.messages import note, notes
from transport.api.reading import failure, read_all
from transport.api.serving import Bench


async def test_what_is_iterated_over_cannot_be_read(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.StreamStream()
    answers = call.__aiter__()
    await call.write(note("a"))
    assert await anext(answers) == note("a")
    with pytest.raises(grpc.aio.UsageError):
        await call.read()
    call.cancel()


async def test_what_is_read_cannot_be_iterated_over(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.StreamStream()
    await call.write(note("a"))
    assert await call.read() == note("a")
    with pytest.raises(grpc.aio.UsageError):
        async for _ in call:
            pass
    call.cancel()


async def test_after_the_last_message_there_is_no_other(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.UnaryStream(note("a"))
    assert await call.read() == note("a")
    assert [await call.read() for _ in range(3)] == [grpc.aio.EOF] * 3


async def test_an_iteration_goes_on_where_it_was_left(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.UnaryStream(note("abc"))
    async for each in call:
        assert each == note("a")
        break
    assert [each async for each in call] == notes("b", "c")
    assert [each async for each in call] == []


async def test_reading_again_raises_the_failure_again(bench: Bench) -> None:
    async def fail(request: Any, context: Any) -> AsyncIterator[Any]:
        yield note("a")
        await context.abort(grpc.StatusCode.ABORTED, "no")

    served = await bench.serve(methods={"UnaryStream": fail})
    call = served.stub.UnaryStream(note())
    assert await call.read() == note("a")
    for _ in range(2):
        assert (await failure(call.read())).code() is grpc.StatusCode.ABORTED


async def test_a_message_waits_until_it_is_read(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.StreamStream()
    await call.write(note("a"))
    assert await served.stub.UnaryUnary(note("b")) == note("b")
    assert await call.read() == note("a")
    await call.done_writing()
    assert await read_all(call) == []


async def test_the_status_of_a_stream_whose_messages_were_not_read(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.UnaryStream(note("a"))
    expected = STATUS_BEFORE_MESSAGES.at(bench.ends.channel)
    if expected:
        assert await call.code() is expected
    else:
        code = asyncio.create_task(call.code())
        # What comes later on the same connection has come.
        assert await served.stub.UnaryUnary(note("b")) == note("b")
        assert not code.done()
        code.cancel()
    call.cancel()


async def test_iterators_of_a_call_share_its_messages(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.UnaryStream(note("abcd"))
    one, other = call.__aiter__(), call.__aiter__()
    assert [await anext(one), await anext(other), await anext(one)] == notes("a", "b", "c")
    call.cancel()
