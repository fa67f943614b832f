import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from transport.api.differences import CONTEXT_AFTER_A_CANCEL
from transport.api.messages import note
from transport.api.reading import failure
from transport.api.serving import Bench, Method


class Watched:
    """A method behind which a done callback waits for the call's end."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self.begun = asyncio.Event()
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def method(self, request: Any, context: Any) -> Any:
        context.add_done_callback(self.done.set_result)
        assert not context.done()
        self.begun.set()
        return await self._method(request, context)


async def answer(request: Any, context: Any) -> Any:
    return request


async def abort(request: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.ABORTED, "no")


async def fail(request: Any, context: Any) -> None:
    raise ValueError("no")


async def hang(request: Any, context: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("method", [answer, abort, fail])
async def test_a_done_callback_is_called_with_the_context(bench: Bench, method: Method) -> None:
    watched = Watched(method)
    served = await bench.serve(methods={"UnaryUnary": watched.method})
    await served.stub.UnaryUnary(note()).code()
    context = await watched.done
    assert context.done()
    assert not context.cancelled()


async def test_a_done_callback_is_called_when_the_client_cancels(bench: Bench) -> None:
    watched = Watched(hang)
    served = await bench.serve(methods={"UnaryUnary": watched.method})
    call = served.stub.UnaryUnary(note())
    await watched.begun.wait()
    call.cancel()
    context = await watched.done
    assert (context.done(), context.cancelled()) == CONTEXT_AFTER_A_CANCEL.at(bench.ends.server)


async def test_all_done_callbacks_are_called_in_order(bench: Bench) -> None:
    called: list[int] = []
    done = asyncio.Event()

    async def method(request: Any, context: Any) -> Any:
        for number in range(3):
            context.add_done_callback(lambda _, number=number: called.append(number))
        context.add_done_callback(lambda _: done.set())
        return request

    served = await bench.serve(methods={"UnaryUnary": method})
    await served.stub.UnaryUnary(note())
    await done.wait()
    assert called == [0, 1, 2]


async def test_a_done_callback_that_fails_hurts_nobody(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Any) -> None:
        raise ValueError("a callback's own")

    async def method(request: Any, context: Any) -> Any:
        context.add_done_callback(fail)
        return request

    served = await bench.serve(methods={"UnaryUnary": method})
    other = served.stub.StreamStream()
    for _ in range(3):
        assert await served.stub.UnaryUnary(note("a")) == note("a")
    await other.write(note("b"))
    assert await other.read() == note("b")
    other.cancel()
    await served.server.stop(None)
    assert "a callback's own" in caplog.text


async def test_a_context_knows_its_peer(bench: Bench) -> None:
    peers = []

    async def look(request: Any, context: Any) -> Any:
        peers.append(context.peer())
        return request

    served = await bench.serve(methods={"UnaryUnary": look})
    await served.stub.UnaryUnary(note())
    await served.stub.UnaryUnary(note())
    family, host, port = peers[0].split(":")
    assert (family, host) == ("ipv4", "127.0.0.1")
    assert int(port) > 0
    assert peers[0] == peers[1]


async def test_without_tls_a_peer_has_no_identity(bench: Bench) -> None:
    seen = []

    async def look(request: Any, context: Any) -> Any:
        seen.append((context.peer_identities(), context.peer_identity_key()))
        assert not [key for key in context.auth_context() if key.startswith("x509")]
        return request

    served = await bench.serve(methods={"UnaryUnary": look})
    await served.stub.UnaryUnary(note())
    assert seen == [(None, None)]


async def test_cancelling_a_call_cancels_its_method(bench: Bench) -> None:
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
    await begun.wait()
    call.cancel()
    assert await ended is asyncio.CancelledError


async def test_a_method_that_outlives_its_client_may_finish(bench: Bench) -> None:
    begun, finished = asyncio.Event(), asyncio.Event()

    async def method(request: Any, context: Any) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            finished.set()
        return request

    served = await bench.serve(methods={"UnaryUnary": method})
    call = served.stub.UnaryUnary(note())
    await begun.wait()
    call.cancel()
    await finished.wait()
    assert await served.stub.StreamUnary([note("a")]) == note("a")


async def test_a_shielded_part_of_a_method_survives_its_client(bench: Bench) -> None:
    begun, go_on, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def important() -> None:
        await go_on.wait()
        finished.set()

    async def method(request: Any, context: Any) -> Any:
        begun.set()
        await asyncio.shield(asyncio.create_task(important()))
        return request

    served = await bench.serve(methods={"UnaryUnary": method})
    call = served.stub.UnaryUnary(note())
    await begun.wait()
    call.cancel()
    go_on.set()
    await finished.wait()


async def test_a_context_is_over_once_it_was_aborted(bench: Bench) -> None:
    states = asyncio.get_running_loop().create_future()

    async def method(request: Any, context: Any) -> None:
        before = context.done()
        try:
            await context.abort(grpc.StatusCode.ABORTED, "no")
        finally:
            states.set_result((before, context.done()))

    served = await bench.serve(methods={"UnaryUnary": method})
    await failure(served.stub.UnaryUnary(note()))
    assert await states == (False, True)
