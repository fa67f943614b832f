import asyncio
import socket
from typing import Any

import grpc.aio
import pytest

from transport.api.messages import note, services
from transport.api.reading import failure
from transport.api.relay import Relay
from transport.api.serving import Bench
from transport.api.test_channel_states import BACKOFF, reach
from transport.api.transports import NATIVE_SERVERS

State = grpc.ChannelConnectivity
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"])
async def test_a_call_fails_with_its_connection(bench: Bench, method: str) -> None:
    begun, ended = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def hang(request: Any, context: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            ended.set_result(type(error))
            raise

    _, target = await bench.start(methods={method: hang})
    async with Relay.to(target) as relay:
        stub = services.ProbeStub(bench.connect(relay.target))
        call = getattr(stub, method)(*[note()] if method.startswith("Unary") else [])
        await begun.wait()
        await relay.cut()
        assert (await failure(call.read() if method.endswith("Stream") else call)).code() is UNAVAILABLE
        assert await ended is asyncio.CancelledError


async def test_after_its_connection_was_lost_a_channel_makes_another(bench: Bench) -> None:
    _, target = await bench.start()
    async with Relay.to(target) as relay:
        channel = bench.connect(relay.target)
        stub = services.ProbeStub(channel)
        for number in range(1, 4):
            async with asyncio.timeout(0.7):
                assert await stub.UnaryUnary(note("a")) == note("a")
            assert relay.connections == number
            await relay.cut()
            await reach(channel, State.IDLE)


async def test_a_channel_survives_a_restart_of_its_server(bench: Bench) -> None:
    served = await bench.serve(channel_options=BACKOFF)
    assert await served.stub.UnaryUnary(note("a")) == note("a")
    await served.server.stop(None)
    await reach(served.channel, State.IDLE)
    await bench.start(served.target)
    assert await served.stub.UnaryUnary(note("b"), wait_for_ready=True) == note("b")


async def test_a_channel_survives_a_pause_of_its_server(bench: Bench) -> None:
    served = await bench.serve(channel_options=BACKOFF)
    await served.stub.UnaryUnary(note("a"))
    await served.server.stop(None)
    assert await served.stub.UnaryUnary(note()).code() is UNAVAILABLE
    call = served.stub.UnaryUnary(note("b"), wait_for_ready=True)
    await bench.start(served.target)
    assert await call == note("b")


# grpc.aio's server cancels calls that it has been sent and not begun when it is stopped.
@pytest.mark.parametrize("ends", NATIVE_SERVERS, ids=str)
async def test_a_busy_channel_loses_no_call_to_a_server_that_drains(bench: Bench) -> None:
    """Those that the old server had not begun go to the new one."""
    served = await bench.serve(options=[("grpc.so_reuseport", 1)])
    under_way = asyncio.Event()

    async def ask() -> None:
        for number in range(100):
            assert await served.stub.UnaryUnary(note("a"), wait_for_ready=True) == note("a")
            if number == 10:
                under_way.set()

    asking = asyncio.gather(*(ask() for _ in range(8)))
    await under_way.wait()
    await bench.start(served.target, options=[("grpc.so_reuseport", 1)])
    await served.server.stop(5)
    await asking


async def test_calls_that_wait_share_one_connection(bench: Bench) -> None:
    _, target = await bench.start()
    async with Relay.to(target) as relay:
        stub = services.ProbeStub(bench.connect(relay.target))
        await asyncio.gather(*(stub.UnaryUnary(note()) for _ in range(20)))
        assert relay.connections == 1


async def test_a_half_made_connection_does_not_count(bench: Bench) -> None:
    """A port that takes connections and says nothing is no server."""

    with socket.create_server(("127.0.0.1", 0)) as silent:
        channel = bench.connect(f"127.0.0.1:{silent.getsockname()[1]}")
        call = services.ProbeStub(channel).UnaryUnary(note(), timeout=0.1)
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert channel.get_state() is State.CONNECTING
        await channel.close()
