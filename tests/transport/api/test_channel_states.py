import asyncio
import socket
from contextlib import closing
from typing import Any

import grpc.aio
import pytest

from transport.api.messages import note, services
from transport.api.reading import failure, read_all, status
from transport.api.serving import Bench

State = grpc.ChannelConnectivity
# As short as grpcio has them.
BACKOFF = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100)]


@pytest.fixture
def closed_port() -> int:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def reach(channel: grpc.aio.Channel, wanted: grpc.ChannelConnectivity) -> None:
    while (state := channel.get_state()) is not wanted:
        await channel.wait_for_state_change(state)


def begin(channel: grpc.aio.Channel, method: str, **arguments: Any) -> Any:
    stub = services.ProbeStub(channel)
    return getattr(stub, method)(note("a") if method.startswith("Unary") else [note("a")], **arguments)


async def test_a_channel_does_not_connect_before_it_must(bench: Bench) -> None:
    served = await bench.serve()
    assert served.channel.get_state() is State.IDLE
    # Another one, which must, has connected meanwhile.
    await services.ProbeStub(bench.connect(served.target)).UnaryUnary(note())
    assert served.channel.get_state() is State.IDLE


async def test_a_call_connects(bench: Bench) -> None:
    served = await bench.serve()
    await served.stub.UnaryUnary(note())
    assert served.channel.get_state() is State.READY


async def test_asking_for_the_state_may_connect(bench: Bench) -> None:
    served = await bench.serve()
    assert served.channel.get_state(try_to_connect=True) in (State.IDLE, State.CONNECTING)
    await reach(served.channel, State.READY)


async def test_channel_ready_connects_and_waits(bench: Bench) -> None:
    served = await bench.serve()
    await served.channel.channel_ready()
    assert served.channel.get_state() is State.READY
    await served.channel.channel_ready()


async def test_waiting_for_another_state_than_there_is_returns_at_once(bench: Bench) -> None:
    served = await bench.serve()
    await served.channel.wait_for_state_change(State.READY)


async def test_several_may_wait_for_a_state(bench: Bench) -> None:
    served = await bench.serve()
    waiting = [asyncio.create_task(reach(served.channel, State.READY)) for _ in range(3)]
    await asyncio.sleep(0)
    served.channel.get_state(try_to_connect=True)
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"])
async def test_without_a_server_calls_fail(bench: Bench, method: str, closed_port: int) -> None:
    channel = bench.connect(f"127.0.0.1:{closed_port}")
    code, details = await status(begin(channel, method))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "failed to connect to all addresses" in details.lower()
    assert channel.get_state() is State.TRANSIENT_FAILURE


async def test_without_a_server_wait_for_connection_fails(bench: Bench, closed_port: int) -> None:
    call = begin(bench.connect(f"127.0.0.1:{closed_port}"), "UnaryStream")
    assert (await failure(call.wait_for_connection())).code() is grpc.StatusCode.UNAVAILABLE


async def test_writing_without_a_server_fails(bench: Bench, closed_port: int) -> None:
    stub = services.ProbeStub(bench.connect(f"127.0.0.1:{closed_port}"))
    call = stub.StreamStream()
    assert (await failure(call.write(note()))).code() is grpc.StatusCode.UNAVAILABLE
    assert await call.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("method", ["UnaryUnary", "StreamUnary"])
async def test_a_call_may_wait_for_a_server_that_starts_later(bench: Bench, method: str, closed_port: int) -> None:
    channel = bench.connect(f"127.0.0.1:{closed_port}", options=BACKOFF)
    call = begin(channel, method, wait_for_ready=True)
    await reach(channel, State.TRANSIENT_FAILURE)
    assert not call.done()
    await bench.start(f"127.0.0.1:{closed_port}")
    assert await call == note("a")


async def test_a_stream_may_wait_for_a_server_that_starts_later(bench: Bench, closed_port: int) -> None:
    channel = bench.connect(f"127.0.0.1:{closed_port}", options=BACKOFF)
    call = begin(channel, "StreamStream", wait_for_ready=True)
    await reach(channel, State.TRANSIENT_FAILURE)
    await bench.start(f"127.0.0.1:{closed_port}")
    assert await read_all(call) == [note("a")]


async def test_a_call_waits_for_a_server_no_longer_than_its_deadline(bench: Bench, closed_port: int) -> None:
    channel = bench.connect(f"127.0.0.1:{closed_port}")
    call = begin(channel, "UnaryUnary", wait_for_ready=True, timeout=0.05)
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_that_waits_for_a_server_can_be_cancelled(bench: Bench, closed_port: int) -> None:
    channel = bench.connect(f"127.0.0.1:{closed_port}")
    call = begin(channel, "UnaryUnary", wait_for_ready=True)
    await reach(channel, State.TRANSIENT_FAILURE)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_while_it_fails_to_connect_calls_fail_at_once(bench: Bench, closed_port: int) -> None:
    channel = bench.connect(f"127.0.0.1:{closed_port}")
    assert await begin(channel, "UnaryUnary").code() is grpc.StatusCode.UNAVAILABLE
    async with asyncio.timeout(0.9):
        assert await begin(channel, "UnaryUnary").code() is grpc.StatusCode.UNAVAILABLE


async def test_a_channel_that_failed_connects_by_itself_later(bench: Bench, closed_port: int) -> None:
    channel = bench.connect(f"127.0.0.1:{closed_port}", options=BACKOFF)
    assert await begin(channel, "UnaryUnary").code() is grpc.StatusCode.UNAVAILABLE
    await bench.start(f"127.0.0.1:{closed_port}")
    await channel.channel_ready()
    assert await begin(channel, "UnaryUnary") == note("a")


async def test_a_channel_is_idle_once_its_server_has_gone(bench: Bench) -> None:
    served = await bench.serve()
    await served.channel.channel_ready()
    await served.server.stop(None)
    await reach(served.channel, State.IDLE)
