import asyncio
from typing import Any

import grpc.aio
import pytest

from transport.api.messages import note, services
from transport.api.reading import read_all
from transport.api.relay import Relay
from transport.api.serving import Bench
from transport.api.test_channel_states import BACKOFF, reach
from transport.api.transports import NATIVE_CHANNELS, NATIVE_SERVERS, WITH_A_NATIVE_END

State = grpc.ChannelConnectivity
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE

# A PING, or the answer to one, with its header.
PING_BYTES = 17
KEEPALIVE = [
    ("grpc.keepalive_time_ms", 100),
    ("grpc.keepalive_timeout_ms", 100),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]


async def test_an_old_connection_is_replaced_and_no_call_lost(bench: Bench) -> None:
    _, target = await bench.start(options=[("grpc.max_connection_age_ms", 100)])
    async with Relay.to(target) as relay:
        stub = services.ProbeStub(bench.connect(relay.target, options=BACKOFF))

        async def ask() -> None:
            while relay.connections < 4:
                assert await stub.UnaryUnary(note("a"), wait_for_ready=True) == note("a")

        await asyncio.gather(*(ask() for _ in range(4)))


async def test_a_call_outlives_the_age_of_its_connection(bench: Bench) -> None:
    _, target = await bench.start(options=[("grpc.max_connection_age_ms", 100)])
    async with Relay.to(target) as relay:
        channel = bench.connect(relay.target, options=BACKOFF)
        call = services.ProbeStub(channel).StreamStream()
        await call.write(note("a"))
        assert await call.read() == note("a")
        await reach(channel, State.IDLE)
        await call.write(note("b"))
        assert await call.read() == note("b")
        assert await services.ProbeStub(channel).UnaryUnary(note("c")) == note("c")
        assert relay.connections >= 2
        await call.done_writing()
        assert await read_all(call) == []


async def test_a_call_does_not_outlive_the_grace_of_an_old_connection(bench: Bench) -> None:
    options = [("grpc.max_connection_age_ms", 50), ("grpc.max_connection_age_grace_ms", 50)]
    served = await bench.serve(options=options)
    call = served.stub.StreamStream()
    await call.write(note("a"))
    assert await call.read() == note("a")
    async with asyncio.timeout(2):
        assert await call.code() is UNAVAILABLE
    assert await served.stub.UnaryUnary(note("b"), wait_for_ready=True) == note("b")


async def test_an_idle_connection_is_closed_and_made_again(bench: Bench) -> None:
    _, target = await bench.start(options=[("grpc.max_connection_idle_ms", 100)])
    async with Relay.to(target) as relay:
        channel = bench.connect(relay.target, options=BACKOFF)
        stub = services.ProbeStub(channel)
        assert await stub.UnaryUnary(note("a")) == note("a")
        await reach(channel, State.IDLE)
        assert await stub.UnaryUnary(note("b"), wait_for_ready=True) == note("b")
        assert relay.connections == 2


async def test_a_connection_with_a_call_is_not_idle(bench: Bench) -> None:
    _, target = await bench.start(options=[("grpc.max_connection_idle_ms", 50)])
    async with Relay.to(target) as relay, Relay.to(target) as other:
        call = services.ProbeStub(bench.connect(relay.target)).StreamStream()
        await call.write(note("a"))
        assert await call.read() == note("a")
        # One that has been quiet for less long is closed meanwhile.
        idle = bench.connect(other.target)
        await services.ProbeStub(idle).UnaryUnary(note())
        await reach(idle, State.IDLE)
        await call.write(note("b"))
        assert await call.read() == note("b")
        assert relay.connections == 1
        call.cancel()


# grpcio's channels do not ping as often as that.
@pytest.mark.parametrize("ends", NATIVE_CHANNELS, ids=str)
async def test_a_channel_notices_a_server_that_has_fallen_silent(bench: Bench) -> None:
    _, target = await bench.start()
    async with Relay.to(target) as relay:
        call = services.ProbeStub(bench.connect(relay.target, options=KEEPALIVE)).StreamStream()
        await call.write(note("a"))
        assert await call.read() == note("a")
        relay.hold()
        async with asyncio.timeout(2):
            assert await call.code() is UNAVAILABLE
        relay.resume()


@pytest.mark.parametrize("ends", NATIVE_SERVERS, ids=str)
async def test_a_server_notices_a_client_that_has_fallen_silent(bench: Bench) -> None:
    begun, ended = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def method(request: Any, context: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            ended.set_result(type(error))
            raise

    _, target = await bench.start(methods={"UnaryUnary": method}, options=KEEPALIVE)
    async with Relay.to(target) as relay:
        call = services.ProbeStub(bench.connect(relay.target)).UnaryUnary(note())
        await begun.wait()
        relay.hold()
        async with asyncio.timeout(2):
            assert await ended is asyncio.CancelledError
        relay.resume()
        call.cancel()


# Between two of grpcio nothing is sent as often as that.
@pytest.mark.parametrize("ends", WITH_A_NATIVE_END, ids=str)
async def test_a_quiet_call_survives_keepalive(bench: Bench) -> None:
    allowance = ("grpc.http2.min_recv_ping_interval_without_data_ms", 10)
    _, target = await bench.start(options=[*KEEPALIVE, allowance])
    async with Relay.to(target) as relay:
        call = services.ProbeStub(bench.connect(relay.target, options=KEEPALIVE)).StreamStream()
        await call.write(note("a"))
        assert await call.read() == note("a")
        sent, received = relay.sent + 3 * PING_BYTES, relay.received + 3 * PING_BYTES
        await relay.until(lambda: relay.sent >= sent and relay.received >= received)
        await call.write(note("b"))
        assert await call.read() == note("b")
        assert relay.connections == 1
        call.cancel()


@pytest.mark.parametrize("ends", NATIVE_SERVERS, ids=str)
async def test_a_silent_handshake_ends(bench: Bench) -> None:
    _, target = await bench.start(options=[("grpc.server_handshake_timeout_ms", 100)])
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(2):
        # The server speaks first: its SETTINGS.
        assert await reader.read()
    writer.close()
