import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc.aio
import pytest

from transport.api.messages import note, notes
from transport.api.reading import read_all, status
from transport.api.serving import Bench

CANCELLED = (grpc.StatusCode.CANCELLED, "Locally cancelled by application!")
STREAMS = ["StreamUnary", "StreamStream"]


async def end_at_once(requests: Any, context: Any) -> Any:
    return note("early")


async def failing() -> AsyncIterator[Any]:
    yield note("a")
    raise ValueError("an iterator's own")


def failing_plainly() -> Iterator[Any]:
    yield note("a")
    raise ValueError("an iterator's own")


@pytest.mark.parametrize("make", [failing, failing_plainly], ids=["asynchronous", "synchronous"])
@pytest.mark.parametrize("method", STREAMS)
async def test_an_iterator_that_fails_cancels_its_call(bench: Bench, method: str, make: Any) -> None:
    served = await bench.serve()
    call = getattr(served.stub, method)(make())
    assert await status(call) == CANCELLED
    with pytest.raises(asyncio.CancelledError):
        await (call if method == "StreamUnary" else call.read())


async def test_the_method_of_an_iterator_that_fails_is_cancelled(bench: Bench) -> None:
    ended = asyncio.get_running_loop().create_future()

    async def method(requests: Any, context: Any) -> None:
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            ended.set_result(type(error))
            raise

    served = await bench.serve(methods={"StreamUnary": method})
    call = served.stub.StreamUnary(failing())
    assert await ended is asyncio.CancelledError
    assert call.cancelled()


async def test_an_iterator_ends_with_its_cancelled_call(bench: Bench) -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def requests() -> AsyncIterator[Any]:
        try:
            yield note("a")
            begun.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    served = await bench.serve()
    call = served.stub.StreamUnary(requests())
    await begun.wait()
    call.cancel()
    await closed.wait()


async def test_an_iterator_takes_its_time(bench: Bench) -> None:
    given = asyncio.Event()

    async def requests() -> AsyncIterator[Any]:
        yield note("a")
        await given.wait()
        yield note("b")

    served = await bench.serve()
    call = served.stub.StreamStream(requests())
    assert await call.read() == note("a")
    given.set()
    assert await read_all(call) == [note("b")]


@pytest.mark.parametrize("method", STREAMS)
async def test_with_an_iterator_nothing_can_be_written(bench: Bench, method: str) -> None:
    served = await bench.serve()
    call = getattr(served.stub, method)(notes("a"))
    with pytest.raises(grpc.aio.UsageError):
        await call.write(note("b"))
    with pytest.raises(grpc.aio.UsageError):
        await call.done_writing()
    await (call if method == "StreamUnary" else read_all(call))


@pytest.mark.parametrize("method", STREAMS)
async def test_nothing_can_be_written_after_done_writing(bench: Bench, method: str) -> None:
    served = await bench.serve()
    call = getattr(served.stub, method)()
    await call.write(note("a"))
    await call.done_writing()
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(note("b"))
    assert (await call if method == "StreamUnary" else await call.read()) == note("a")


async def test_done_writing_may_be_repeated(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.StreamUnary()
    await call.write(note("a"))
    for _ in range(2):
        await call.done_writing()
    assert await call == note("a")
    await call.done_writing()


async def test_nothing_can_be_written_once_the_call_has_ended(bench: Bench) -> None:
    served = await bench.serve(methods={"StreamUnary": end_at_once})
    call = served.stub.StreamUnary()
    assert await call == note("early")
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(note("late"))
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


async def test_an_answer_ends_an_iterator_that_has_more(bench: Bench) -> None:
    taken = []
    go_on = asyncio.Event()

    async def requests() -> AsyncIterator[Any]:
        for number in range(100):
            taken.append(number)
            yield note(str(number))
            await go_on.wait()

    served = await bench.serve(methods={"StreamUnary": end_at_once})
    call = served.stub.StreamUnary(requests())
    assert await call == note("early")
    go_on.set()
    # A call that begins and ends later has its turns meanwhile.
    assert await served.stub.UnaryUnary(note("b")) == note("b")
    assert len(taken) <= 2


async def test_done_writing_alone_ends_the_requests(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.StreamUnary()
    await call.done_writing()
    assert await call == note()


async def test_wait_for_connection_comes_before_the_first_message(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.StreamStream()
    await call.wait_for_connection()
    assert served.channel.get_state() is grpc.ChannelConnectivity.READY
    await call.write(note("a"))
    assert await call.read() == note("a")
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryStream"])
async def test_wait_for_connection_of_a_unary_request(bench: Bench, method: str) -> None:
    served = await bench.serve()
    call = getattr(served.stub, method)(note("a"))
    await call.wait_for_connection()
    assert (await call if method == "UnaryUnary" else await call.read()) == note("a")
