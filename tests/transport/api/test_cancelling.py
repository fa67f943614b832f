import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from transport.api.messages import note, notes
from transport.api.reading import read_all, status
from transport.api.serving import Bench, Method
from transport.api.transports import NATIVE_CHANNELS

METHODS = ["UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"]
CANCELLED = (grpc.StatusCode.CANCELLED, "Locally cancelled by application!")


class Holding:
    """Methods that answer once if they may, and then wait for their end; `ended` is how that came."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended: asyncio.Future[type[BaseException]] = asyncio.get_running_loop().create_future()

    async def hold(self, request: Any, context: Any) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            self.ended.set_result(type(error))
            raise

    async def stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield note("a")
        await self.hold(request, context)

    @property
    def methods(self) -> dict[str, Method]:
        return {method: self.stream if method.endswith("Stream") else self.hold for method in METHODS}


def begin(stub: Any, method: str) -> Any:
    return getattr(stub, method)(*[note()] if method.startswith("Unary") else [])


async def outcome(call: Any) -> None:
    """Waits for what the application waits for."""
    await (call if hasattr(call, "__await__") else call.read())


@pytest.mark.parametrize("method", METHODS)
async def test_cancelled_as_soon_as_it_was_made(bench: Bench, method: str) -> None:
    served = await bench.serve()
    call = begin(served.stub, method)
    assert call.cancel()
    assert (call.done(), call.cancelled()) == (True, True)
    with pytest.raises(asyncio.CancelledError):
        await outcome(call)
    assert await status(call) == CANCELLED
    assert await served.stub.UnaryUnary(note("a")) == note("a")


@pytest.mark.parametrize("method", METHODS)
async def test_cancelled_while_the_server_works(bench: Bench, method: str) -> None:
    holding = Holding()
    served = await bench.serve(methods=holding.methods)
    call = begin(served.stub, method)
    await holding.begun.wait()
    assert call.cancel()
    assert await status(call) == CANCELLED
    assert await holding.ended is asyncio.CancelledError


@pytest.mark.parametrize("method", METHODS)
async def test_cancelled_while_it_is_waited_for(bench: Bench, method: str) -> None:
    holding = Holding()
    served = await bench.serve(methods=holding.methods)
    call = begin(served.stub, method)
    if method.endswith("Stream"):
        assert await call.read() == note("a")
    waiting = asyncio.create_task(outcome(call))
    await holding.begun.wait()
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await status(call) == CANCELLED


@pytest.mark.parametrize("method", METHODS)
async def test_who_waits_for_it_is_cancelled(bench: Bench, method: str) -> None:
    holding = Holding()
    served = await bench.serve(methods=holding.methods)
    call = begin(served.stub, method)
    if method.endswith("Stream"):
        assert await call.read() == note("a")
    waiting = asyncio.create_task(outcome(call))
    await holding.begun.wait()
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert call.cancelled()
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert await holding.ended is asyncio.CancelledError


async def test_a_timeout_of_asyncio_cancels_the_call(bench: Bench) -> None:
    holding = Holding()
    served = await bench.serve(methods=holding.methods)
    call = served.stub.UnaryUnary(note())

    async def run_out_of_time() -> None:
        async with asyncio.timeout(None) as limit:
            await holding.begun.wait()
            limit.reschedule(asyncio.get_running_loop().time())
            await call

    with pytest.raises(TimeoutError):
        await run_out_of_time()
    assert call.cancelled()
    assert await holding.ended is asyncio.CancelledError


async def test_who_iterates_over_it_is_cancelled(bench: Bench) -> None:
    holding = Holding()
    served = await bench.serve(methods=holding.methods)
    call = served.stub.UnaryStream(note())
    received = asyncio.Event()

    async def iterate() -> None:
        async for _ in call:
            received.set()

    iterating = asyncio.create_task(iterate())
    await received.wait()
    await holding.begun.wait()
    iterating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await iterating
    assert call.cancelled()
    assert await holding.ended is asyncio.CancelledError


async def test_cancelled_after_it_has_ended(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.UnaryUnary(note("a"))
    await call
    assert not call.cancel()
    assert not call.cancelled()
    assert await call == note("a")
    assert await call.code() is grpc.StatusCode.OK


async def test_cancelled_twice(bench: Bench) -> None:
    holding = Holding()
    served = await bench.serve(methods=holding.methods)
    call = served.stub.UnaryUnary(note())
    assert [call.cancel(), call.cancel()] == [True, False]
    assert await status(call) == CANCELLED


async def test_what_was_not_read_is_gone_after_a_cancel(bench: Bench) -> None:
    holding = Holding()

    async def method(request: Any, context: Any) -> AsyncIterator[Any]:
        for each in notes("a", "b", "c"):
            yield each
        await holding.hold(request, context)

    served = await bench.serve(methods={"UnaryStream": method})
    call = served.stub.UnaryStream(note())
    assert await call.read() == note("a")
    await holding.begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.read()


async def test_writing_to_a_cancelled_call(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.StreamStream()
    await call.write(note("a"))
    call.cancel()
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(note("b"))
    await call.done_writing()


async def test_a_cancelled_call_has_its_done_callback_called(bench: Bench) -> None:
    served = await bench.serve(methods=Holding().methods)
    call = served.stub.UnaryUnary(note())
    called: list[Any] = []
    call.add_done_callback(called.append)
    call.cancel()
    assert called == [call]


async def test_initial_metadata_of_a_cancelled_call(bench: Bench) -> None:
    served = await bench.serve(methods=Holding().methods)
    call = served.stub.UnaryUnary(note())
    call.cancel()
    assert len(await call.initial_metadata()) == 0
    assert len(await call.trailing_metadata()) == 0


# In grpc.aio this depends on the version: 1.85 keeps all calls of a channel.
@pytest.mark.parametrize("ends", NATIVE_CHANNELS, ids=str)
@pytest.mark.parametrize("method", ["UnaryStream", "StreamStream"])
async def test_a_stream_that_nobody_refers_to_is_cancelled(bench: Bench, method: str) -> None:
    holding = Holding()
    served = await bench.serve(methods=holding.methods)
    call = begin(served.stub, method)
    assert await call.read() == note("a")
    await holding.begun.wait()
    del call
    gc.collect()
    assert await holding.ended is asyncio.CancelledError


async def test_a_unary_call_that_nobody_refers_to_goes_on(bench: Bench) -> None:
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def method(request: Any, context: Any) -> Any:
        begun.set()
        await go_on.wait()
        ended.set()
        return request

    served = await bench.serve(methods={"UnaryUnary": method})
    served.stub.UnaryUnary(note())
    await begun.wait()
    gc.collect()
    go_on.set()
    await ended.wait()


async def test_a_cancel_leaves_the_other_calls_alone(bench: Bench) -> None:
    served = await bench.serve()
    calls = [served.stub.StreamStream() for _ in range(4)]
    for call in calls:
        await call.write(note("a"))
        assert await call.read() == note("a")
    calls[0].cancel()
    calls[2].cancel()
    for call in calls[1::2]:
        await call.write(note("b"))
        await call.done_writing()
        assert await read_all(call) == [note("b")]
