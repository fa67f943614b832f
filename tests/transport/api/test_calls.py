import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from transport.api.messages import note, notes
from transport.api.reading import failure, read_all, status
from transport.api.serving import Bench
from transport.api.transports import NATIVE_CHANNELS

OK, NOT_FOUND = grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND
KINDS = {
    "UnaryUnary": grpc.aio.UnaryUnaryCall,
    "UnaryStream": grpc.aio.UnaryStreamCall,
    "StreamUnary": grpc.aio.StreamUnaryCall,
    "StreamStream": grpc.aio.StreamStreamCall,
}


async def refuse(request: Any, context: Any) -> None:
    await context.abort(NOT_FOUND, "absent", (("a", "1"),))


def argument(method: str) -> Any:
    return note("a") if method.startswith("Unary") else notes("a")


@pytest.mark.parametrize("method", KINDS)
async def test_a_call_is_of_grpc_aios_type(bench: Bench, method: str) -> None:
    served = await bench.serve()
    call = getattr(served.stub, method)(argument(method))
    assert isinstance(call, KINDS[method])
    assert isinstance(call, grpc.aio.Call)
    await status(call) if method.endswith("Unary") else await read_all(call)


@pytest.mark.parametrize("method", ["UnaryUnary", "StreamUnary"])
async def test_a_call_may_be_awaited_again(bench: Bench, method: str) -> None:
    served = await bench.serve()
    call = getattr(served.stub, method)(argument(method))
    assert [await call, await call] == notes("a", "a")


@pytest.mark.parametrize("method", ["UnaryUnary", "StreamUnary"])
async def test_several_may_await_a_call(bench: Bench, method: str) -> None:
    async def wait(call: Any) -> Any:
        return await call

    served = await bench.serve()
    call = getattr(served.stub, method)(argument(method))
    assert await asyncio.gather(*(wait(call) for _ in range(3))) == notes("a", "a", "a")


@pytest.mark.parametrize("method", ["UnaryUnary", "StreamUnary"])
async def test_a_call_that_failed_fails_whenever_it_is_awaited(bench: Bench, method: str) -> None:
    served = await bench.serve(methods={method: refuse})
    call = getattr(served.stub, method)(argument(method))
    for _ in range(2):
        error = await failure(call)
        assert (error.code(), error.details()) == (NOT_FOUND, "absent")


async def test_the_outcome_is_known_before_the_answer_is_asked_for(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.UnaryUnary(note("a"))
    assert not call.done()
    assert await status(call) == (OK, "")
    assert call.done()
    assert not call.cancelled()
    assert await call == note("a")


@pytest.mark.parametrize("method", KINDS)
async def test_a_failed_call_tells_all_about_its_failure(bench: Bench, method: str) -> None:
    served = await bench.serve(methods={method: refuse})
    call = getattr(served.stub, method)(*[argument(method)] if method.startswith("Unary") else [])
    assert await status(call) == (NOT_FOUND, "absent")
    assert (await call.trailing_metadata())["a"] == "1"
    assert "absent" in await call.debug_error_string()
    assert "NOT_FOUND" in repr(call)
    assert call.done()
    assert not call.cancelled()


async def test_the_outcome_may_be_asked_for_again_and_again(bench: Bench) -> None:
    served = await bench.serve(methods={"UnaryUnary": refuse})
    call = served.stub.UnaryUnary(note())
    codes = await asyncio.gather(call.code(), call.code(), call.code())
    assert {*codes, await call.code()} == {NOT_FOUND}
    assert list(await call.initial_metadata()) == list(await call.initial_metadata())


async def test_a_call_runs_though_nobody_awaits_it(bench: Bench) -> None:
    called = asyncio.Event()

    async def method(request: Any, context: Any) -> Any:
        called.set()
        return request

    served = await bench.serve(methods={"UnaryUnary": method})
    call = served.stub.UnaryUnary(note("a"))
    await called.wait()
    assert await call == note("a")


async def test_a_done_callback_gets_the_call(bench: Bench) -> None:
    done = asyncio.get_running_loop().create_future()
    served = await bench.serve()
    call = served.stub.UnaryUnary(note("a"))
    call.add_done_callback(done.set_result)
    assert await done is call
    assert call.done()
    assert await call == note("a")


async def test_a_done_callback_of_a_finished_call_is_called_at_once(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.UnaryUnary(note("a"))
    await call
    called: list[Any] = []
    call.add_done_callback(called.append)
    assert called == [call]


@pytest.mark.parametrize("method", KINDS)
async def test_a_done_callback_is_called_after_failures_too(bench: Bench, method: str) -> None:
    done = asyncio.get_running_loop().create_future()
    served = await bench.serve(methods={method: refuse})
    call = getattr(served.stub, method)(*[argument(method)] if method.startswith("Unary") else [])
    call.add_done_callback(done.set_result)
    assert await (await done).code() is NOT_FOUND


async def test_a_done_callback_of_a_stream_comes_after_its_last_message(bench: Bench) -> None:
    served = await bench.serve()
    done = asyncio.get_running_loop().create_future()
    call = served.stub.StreamStream()
    call.add_done_callback(done.set_result)
    await call.write(note("a"))
    assert await call.read() == note("a")
    assert not done.done()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await done is call


# In grpc.aio the call never ends for those who await it.
@pytest.mark.parametrize("ends", NATIVE_CHANNELS, ids=str)
async def test_a_done_callback_that_fails_hurts_nobody(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Any) -> None:
        raise ValueError("a callback's own")

    called: list[Any] = []
    served = await bench.serve()
    call = served.stub.UnaryUnary(note("a"))
    call.add_done_callback(fail)
    call.add_done_callback(called.append)
    assert await call == note("a")
    assert called == [call]
    assert "a callback's own" in caplog.text
    assert await served.stub.UnaryUnary(note("b")) == note("b")


async def test_many_calls_run_at_the_same_time(bench: Bench) -> None:
    arrived = []
    all_there = asyncio.Event()

    async def meet(request: Any, context: Any) -> Any:
        arrived.append(request)
        if len(arrived) == 50:
            all_there.set()
        await all_there.wait()
        return request

    served = await bench.serve(methods={"UnaryUnary": meet})
    requests = [note(str(number)) for number in range(50)]
    assert await asyncio.gather(*(served.stub.UnaryUnary(each) for each in requests)) == requests


async def test_calls_of_a_stub_do_not_wait_for_each_other(bench: Bench) -> None:
    released = asyncio.Event()

    async def hold(request: Any, context: Any) -> AsyncIterator[Any]:
        await released.wait()
        yield request

    served = await bench.serve(methods={"UnaryStream": hold})
    held = served.stub.UnaryStream(note("held"))
    assert await served.stub.UnaryUnary(note("a")) == note("a")
    released.set()
    assert await read_all(held) == notes("held")
