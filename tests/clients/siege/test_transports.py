import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from clients.fake_callable import FakeCallable
from clients.fake_server import FakeServer, Gate

from yais.clients.protocol import MODEL_INFER
from yais.clients.siege.transports import RawCallable, TransportName, UnaryCall, UnaryCallable, open_callable
from yais.proto import grpc_service_pb2 as pb

REQUEST = pb.ModelInferRequest(model_name="identity").SerializeToString()
CANCELLED = 1


class Caller:
    """Calls on a line, and waits for the end of each call."""

    def __init__(self, line: UnaryCallable) -> None:
        self._line = line
        self._ended: asyncio.Queue[UnaryCall] = asyncio.Queue()

    def send(self, request: bytes = REQUEST, timeout: float = 30.0) -> UnaryCall:
        call = self._line(request, self._ended.put_nowait, timeout)
        assert self._ended.empty()
        return call

    async def end(self) -> tuple[UnaryCall, str, str]:
        call = await self._ended.get()
        return call, {code.value[0]: code.name for code in grpc.StatusCode}[call.status], call.details

    async def outcome(self) -> tuple[str, str]:
        return (await self.end())[1:]


@pytest.fixture
async def channel_and_caller(
    fake: FakeServer, transport: TransportName
) -> AsyncIterator[tuple[grpc.aio.Channel, Caller]]:
    channel, line = open_callable(transport, fake.target, MODEL_INFER)
    async with channel, asyncio.timeout(30):
        await channel.channel_ready()
        yield channel, Caller(line)


@pytest.fixture
def caller(channel_and_caller: tuple[grpc.aio.Channel, Caller]) -> Caller:
    return channel_and_caller[1]


async def test_a_call_that_is_answered_ends_with_ok(caller: Caller) -> None:
    call = caller.send()
    assert await caller.end() == (call, "OK", "")


async def test_a_refusal_has_the_server_s_text(caller: Caller) -> None:
    caller.send(pb.ModelInferRequest(model_name="flowers").SerializeToString())
    assert await caller.outcome() == ("NOT_FOUND", "Request for unknown model: 'flowers' is not found")


async def test_a_call_ends_at_its_timeout(caller: Caller, gate: Gate) -> None:
    caller.send(timeout=0.05)
    status, details = await caller.outcome()
    assert status == "DEADLINE_EXCEEDED"
    assert details


@pytest.mark.parametrize("is_at_once", [True, False], ids=["at once", "once the server has it"])
async def test_a_call_that_is_cancelled_ends_as_whoever_cancelled_it_says(
    caller: Caller, gate: Gate, is_at_once: bool
) -> None:
    call = caller.send()
    if not is_at_once:
        await asyncio.to_thread(gate.arrived.wait, 30)
    call.cancel(CANCELLED, "enough of it")
    assert await caller.end() == (call, "CANCELLED", "enough of it")


async def test_cancelling_what_is_over_changes_nothing(caller: Caller) -> None:
    call = caller.send()
    await caller.end()
    call.cancel(CANCELLED, "too late")
    assert (call.status, call.details) == (0, "")


async def test_a_channel_that_is_closed_ends_what_is_in_flight(
    channel_and_caller: tuple[grpc.aio.Channel, Caller], gate: Gate
) -> None:
    channel, caller = channel_and_caller
    call = caller.send()
    await asyncio.to_thread(gate.arrived.wait, 30)
    await channel.close()
    assert (await caller.end())[:2] == (call, "CANCELLED")


async def test_a_call_to_nobody_is_unavailable(unused_tcp_port: int, transport: TransportName) -> None:
    channel, line = open_callable(transport, f"localhost:{unused_tcp_port}", MODEL_INFER)
    async with channel, asyncio.timeout(30):
        caller = Caller(line)
        caller.send()
        status, details = await caller.outcome()
    assert status == "UNAVAILABLE"
    assert "failed to connect to all addresses" in details


async def test_a_call_that_comes_before_its_connection_waits_for_it(fake: FakeServer, transport: TransportName) -> None:
    channel, line = open_callable(transport, fake.target, MODEL_INFER)
    async with channel, asyncio.timeout(30):
        caller = Caller(line)
        call = caller.send()
        assert await caller.end() == (call, "OK", "")


async def test_a_raw_line_only_waits_while_it_has_no_connection() -> None:
    is_connected = False

    def receive(call: object) -> None:
        if not is_connected:
            raise ConnectionError

    raw, waiting = FakeCallable(receive), FakeCallable()
    line = RawCallable(raw, waiting)
    line(b"first", lambda call: None, 1.0)
    is_connected = True
    line(b"second", lambda call: None, 1.0)
    assert [call.request for call in waiting.calls] == [b"first"]
    assert raw.calls[-1].request == b"second"


async def test_calls_on_the_native_transport_cost_no_tasks(fake: FakeServer, gate: Gate) -> None:
    channel, line = open_callable("native", fake.target, MODEL_INFER)
    async with channel, asyncio.timeout(30):
        await channel.channel_ready()
        caller, before = Caller(line), len(asyncio.all_tasks())
        for _ in range(20):
            caller.send()
        assert len(asyncio.all_tasks()) == before
        gate.opened.set()
        assert [await caller.outcome() for _ in range(20)] == [("OK", "")] * 20
