import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc.aio
import pytest

from transport.api.messages import note
from transport.api.reading import failure, status
from transport.api.serving import Bench, Method
from transport.api.transports import NATIVE_CHANNELS

EXPIRED = grpc.StatusCode.DEADLINE_EXCEEDED
SHORT_S = 0.05
# Enough for a first answer.
LONGER_S = 0.3


class Stuck:
    """Methods that wait for what never comes; `ended` is how the last of them was stopped."""

    def __init__(self) -> None:
        self.has_begun = False
        self.ended: asyncio.Future[type[BaseException]] = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        self.has_begun = True
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            self.ended.set_result(type(error))
            raise

    async def unary(self, request: Any, context: Any) -> None:
        await self.wait()

    async def stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield note("a")
        await self.wait()

    def methods(self) -> dict[str, Method]:
        return {
            "UnaryUnary": self.unary,
            "UnaryStream": self.stream,
            "StreamUnary": self.unary,
            "StreamStream": self.stream,
        }


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"])
async def test_a_deadline_ends_the_call_and_cancels_its_method(bench: Bench, method: str) -> None:
    stuck = Stuck()
    served = await bench.serve(methods=stuck.methods())
    timeout = SHORT_S
    while not stuck.has_begun:
        call = getattr(served.stub, method)(*[note()] if method.startswith("Unary") else [], timeout=timeout)
        if method.endswith("Stream"):
            with suppress(grpc.aio.AioRpcError):
                await call.read()
        code, details = await status(call)
        assert code is EXPIRED
        assert "Deadline Exceeded" in details
        timeout *= 2
    assert await stuck.ended is asyncio.CancelledError


async def test_awaiting_reading_and_writing_raise_at_the_deadline(bench: Bench) -> None:
    served = await bench.serve(methods=Stuck().methods())
    assert (await failure(served.stub.UnaryUnary(note(), timeout=SHORT_S))).code() is EXPIRED
    assert (await failure(served.stub.StreamUnary(timeout=SHORT_S))).code() is EXPIRED
    call = served.stub.StreamStream(timeout=LONGER_S)
    assert await call.read() == note("a")
    assert (await failure(call.read())).code() is EXPIRED
    with pytest.raises((asyncio.InvalidStateError, grpc.aio.AioRpcError)):
        await call.write(note())


async def test_iterating_raises_at_the_deadline(bench: Bench) -> None:
    served = await bench.serve(methods=Stuck().methods())
    answers = aiter(served.stub.UnaryStream(note(), timeout=LONGER_S))
    assert await anext(answers) == note("a")
    assert (await failure(anext(answers))).code() is EXPIRED


async def test_a_deadline_that_has_passed_needs_no_server(bench: Bench) -> None:
    calls = []

    async def count(request: Any, context: Any) -> Any:
        calls.append(request)
        return request

    served = await bench.serve(methods={"UnaryUnary": count})
    await served.channel.channel_ready()
    assert (await failure(served.stub.UnaryUnary(note(), timeout=-1))).code() is EXPIRED
    assert await served.stub.UnaryUnary(note("a")) == note("a")
    assert calls == [note("a")]


# In grpc.aio the answer sometimes comes first.
@pytest.mark.parametrize("ends", NATIVE_CHANNELS, ids=str)
async def test_no_time_at_all_is_not_enough(bench: Bench) -> None:
    served = await bench.serve()
    await served.channel.channel_ready()
    assert await served.stub.UnaryUnary(note(), timeout=0).code() is EXPIRED


async def test_a_method_may_clean_up_after_the_deadline(bench: Bench) -> None:
    cleaned = asyncio.Event()

    async def hold(request: Any, context: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    served = await bench.serve(methods={"UnaryUnary": hold})
    await failure(served.stub.UnaryUnary(note(), timeout=LONGER_S))
    await cleaned.wait()


async def test_an_answer_that_comes_in_time_is_not_touched_by_the_deadline(bench: Bench) -> None:
    served = await bench.serve(methods={"StreamUnary": Stuck().unary})
    call = served.stub.UnaryUnary(note("a"), timeout=LONGER_S)
    assert await call == note("a")
    # The deadline of a call that began later passes.
    assert (await failure(served.stub.StreamUnary(timeout=LONGER_S))).code() is EXPIRED
    assert await call == note("a")
    assert await call.code() is grpc.StatusCode.OK


async def test_both_sides_know_the_time_that_remains(bench: Bench) -> None:
    remaining = []

    async def look(request: Any, context: Any) -> Any:
        remaining.append(context.time_remaining())
        return request

    served = await bench.serve(methods={"UnaryUnary": look})
    call = served.stub.UnaryUnary(note(), timeout=100)
    assert 95 < call.time_remaining() <= 100
    await call
    # grpcio rounds up by as much as a hundredth.
    assert 95 < remaining[0] <= 101.1


async def test_without_a_deadline_no_time_is_told(bench: Bench) -> None:
    remaining = []

    async def look(request: Any, context: Any) -> Any:
        remaining.append(context.time_remaining())
        return request

    served = await bench.serve(methods={"UnaryUnary": look})
    call = served.stub.UnaryUnary(note())
    assert call.time_remaining() is None
    await call
    assert remaining == [None]


async def test_after_the_deadline_no_time_remains(bench: Bench) -> None:
    served = await bench.serve(methods=Stuck().methods())
    call = served.stub.UnaryUnary(note(), timeout=SHORT_S)
    await failure(call)
    assert call.time_remaining() < 0.01


async def test_a_method_may_set_its_own_limit(bench: Bench) -> None:
    async def limit(request: Any, context: Any) -> None:
        try:
            async with asyncio.timeout(SHORT_S):
                await asyncio.Event().wait()
        except TimeoutError:
            await context.abort(grpc.StatusCode.ABORTED, "too slow")

    served = await bench.serve(methods={"UnaryUnary": limit})
    assert (await failure(served.stub.UnaryUnary(note(), timeout=30))).code() is grpc.StatusCode.ABORTED
