import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc.aio
import pytest

from transport.api.differences import STOP_AND_METHODS
from transport.api.messages import note, services
from transport.api.reading import read_all, status
from transport.api.serving import Bench, Served
from transport.api.test_closing import Gate
from transport.api.transports import GRPCIO

UNAVAILABLE, CANCELLED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED


async def stopped_listening(served: Served) -> None:
    """Returns once the server has begun to stop: nobody can connect any more."""
    host, _, port = served.target.rpartition(":")
    with suppress(ConnectionError):
        while True:
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()


async def test_stopping_cancels_the_calls_under_way(bench: Bench) -> None:
    gate = Gate()
    served, call = await gate.serve(bench)
    await served.server.stop(None)
    assert await gate.ended == "cancelled"
    assert await call.code() in (UNAVAILABLE, CANCELLED)


async def test_stopping_cancels_streams(bench: Bench) -> None:
    begun, ended = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def method(request: Any, context: Any) -> AsyncIterator[Any]:
        yield note("a")
        begun.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            ended.set_result(type(error))
            raise

    served = await bench.serve(methods={"UnaryStream": method})
    call = served.stub.UnaryStream(note())
    assert await call.read() == note("a")
    await begun.wait()
    await served.server.stop(None)
    assert await ended is asyncio.CancelledError
    assert await call.code() in (UNAVAILABLE, CANCELLED)


async def test_stopping_with_a_grace_lets_calls_end(bench: Bench) -> None:
    gate = Gate()
    served, call = await gate.serve(bench)
    stopping = asyncio.create_task(served.server.stop(5))
    await stopped_listening(served)
    assert not stopping.done()
    gate.opened.set()
    assert await call == note("a")
    assert await gate.ended == "answered"
    async with asyncio.timeout(2):
        await stopping


async def test_after_the_grace_calls_are_cancelled(bench: Bench) -> None:
    gate = Gate()
    served, call = await gate.serve(bench)
    await served.server.stop(0.05)
    assert await gate.ended == "cancelled"
    assert await call.code() in (UNAVAILABLE, CANCELLED)


async def test_a_stream_under_way_goes_on_during_the_grace(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.StreamStream()
    await call.write(note("a"))
    assert await call.read() == note("a")
    stopping = asyncio.create_task(served.server.stop(5))
    await stopped_listening(served)
    await call.write(note("b"))
    assert await call.read() == note("b")
    await call.done_writing()
    assert await read_all(call) == []
    async with asyncio.timeout(2):
        await stopping


async def test_during_the_grace_new_calls_are_refused(bench: Bench) -> None:
    gate = Gate()
    served, call = await gate.serve(bench)
    stopping = asyncio.create_task(served.server.stop(5))
    await stopped_listening(served)
    async with asyncio.timeout(4):
        # What the channel sends before it has read the GOAWAY is still served, or cancelled by grpcio's server.
        while (code := await served.stub.StreamUnary([note()]).code()) is grpc.StatusCode.OK:
            pass
    assert code is UNAVAILABLE or (code is CANCELLED and bench.ends.server is GRPCIO)
    assert await services.ProbeStub(bench.connect(served.target)).StreamUnary([note()]).code() is UNAVAILABLE
    gate.opened.set()
    await call
    await stopping


async def test_stopping_at_once_overtakes_a_grace(bench: Bench) -> None:
    gate = Gate()
    served, _ = await gate.serve(bench)
    slowly = asyncio.create_task(served.server.stop(30))
    await stopped_listening(served)
    async with asyncio.timeout(2):
        await served.server.stop(None)
        await slowly
    assert await gate.ended == "cancelled"


async def test_a_longer_grace_does_not_prolong_a_shorter(bench: Bench) -> None:
    gate = Gate()
    served, _ = await gate.serve(bench)
    soon = asyncio.create_task(served.server.stop(0.1))
    await stopped_listening(served)
    async with asyncio.timeout(2):
        await served.server.stop(30)
        await soon
    assert await gate.ended == "cancelled"


async def test_several_may_stop_a_server(bench: Bench) -> None:
    served = await bench.serve()
    await served.stub.UnaryUnary(note())
    await asyncio.gather(*(served.server.stop(grace) for grace in (None, 1, None, 0.1)))
    await served.server.stop(None)


async def test_a_server_that_was_not_started_can_be_stopped(bench: Bench) -> None:
    server = bench.make_server()
    server.add_insecure_port("127.0.0.1:0")
    async with asyncio.timeout(2):
        await server.stop(None)


async def test_who_waits_for_the_end_is_told_of_it(bench: Bench) -> None:
    server, _ = await bench.start()
    waiting = asyncio.create_task(server.wait_for_termination())
    assert await server.wait_for_termination(0.02) is True
    assert not waiting.done()
    await server.stop(None)
    await waiting
    assert await server.wait_for_termination(0.02) is False


async def test_a_stopped_server_leaves_its_port(bench: Bench) -> None:
    served = await bench.serve()
    await served.stub.UnaryUnary(note())
    await served.server.stop(None)
    await bench.start(served.target, options=[("grpc.so_reuseport", 0)])


async def test_starting_again_does_nothing(bench: Bench) -> None:
    served = await bench.serve()
    await served.server.start()
    assert await served.stub.UnaryUnary(note("a")) == note("a")


async def test_a_stopped_server_does_not_start_again(bench: Bench) -> None:
    server, _ = await bench.start()
    await server.stop(None)
    with pytest.raises(grpc.aio.UsageError):
        await server.start()


async def test_after_a_stop_calls_fail(bench: Bench) -> None:
    served = await bench.serve()
    await served.stub.UnaryUnary(note())
    await served.server.stop(None)
    async with asyncio.timeout(0.7):
        code, details = await status(served.stub.UnaryUnary(note()))
    assert code is UNAVAILABLE
    assert details


async def test_stopping_waits_for_the_methods(bench: Bench) -> None:
    begun, cancelled, go_on, cleaned = (asyncio.Event() for _ in range(4))

    async def method(request: Any, context: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            await go_on.wait()
            cleaned.set()

    served = await bench.serve(methods={"UnaryUnary": method})
    call = served.stub.UnaryUnary(note())
    await begun.wait()
    stopping = asyncio.create_task(served.server.stop(None))
    await cancelled.wait()
    if STOP_AND_METHODS.at(bench.ends.server) == "waits":
        await call.code()
        assert not stopping.done()
        go_on.set()
        await stopping
        assert cleaned.is_set()
    else:
        await stopping
        assert not cleaned.is_set()
        go_on.set()
    await cleaned.wait()
    call.cancel()
