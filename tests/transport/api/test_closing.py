import asyncio
from typing import Any

import grpc.aio
import pytest

from transport.api.messages import note, services
from transport.api.reading import read_all, status
from transport.api.serving import Bench, Served

State = grpc.ChannelConnectivity


class Gate:
    """A unary method that answers once it is opened."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.opened = asyncio.Event()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def method(self, request: Any, context: Any) -> Any:
        self.begun.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.ended.set_result("cancelled")
            raise
        self.ended.set_result("answered")
        return request

    async def serve(self, bench: Bench) -> tuple[Served, Any]:
        """What serves it, and a call that has begun."""
        served = await bench.serve(methods={"UnaryUnary": self.method})
        call = served.stub.UnaryUnary(note("a"))
        await self.begun.wait()
        return served, call


async def test_closing_cancels_the_calls_under_way(bench: Bench) -> None:
    gate = Gate()
    served, call = await gate.serve(bench)
    await served.channel.close()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert call.cancelled()
    assert await gate.ended == "cancelled"


async def test_closing_with_a_grace_lets_calls_end(bench: Bench) -> None:
    gate = Gate()
    served, call = await gate.serve(bench)
    closing = asyncio.create_task(served.channel.close(grace=5))
    await asyncio.sleep(0)
    gate.opened.set()
    assert await call == note("a")
    async with asyncio.timeout(2):
        await closing


async def test_after_the_grace_calls_are_cancelled(bench: Bench) -> None:
    gate = Gate()
    served, call = await gate.serve(bench)
    await served.channel.close(grace=0.05)
    assert call.cancelled()
    assert await gate.ended == "cancelled"


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"])
async def test_a_closed_channel_takes_no_calls(bench: Bench, method: str) -> None:
    served = await bench.serve()
    await served.channel.close()
    argument = note() if method.startswith("Unary") else []
    with pytest.raises(grpc.aio.UsageError, match="Channel is closed"):
        getattr(served.stub, method)(argument)


async def test_while_a_channel_closes_it_takes_no_calls(bench: Bench) -> None:
    gate = Gate()
    served, call = await gate.serve(bench)
    closing = asyncio.create_task(served.channel.close(grace=5))
    await asyncio.sleep(0)
    with pytest.raises(grpc.aio.UsageError):
        served.stub.UnaryUnary(note())
    gate.opened.set()
    await call
    await closing


async def test_closing_again_does_nothing(bench: Bench) -> None:
    served = await bench.serve()
    await served.stub.UnaryUnary(note())
    for _ in range(3):
        await served.channel.close()


async def test_a_channel_that_never_connected_can_be_closed(bench: Bench) -> None:
    channel = bench.connect("127.0.0.1:1")
    await channel.close()
    assert channel.get_state() is State.SHUTDOWN


async def test_a_channel_closes_with_its_block(bench: Bench) -> None:
    _, target = await bench.start()
    async with bench.connect(target) as channel:
        assert await services.ProbeStub(channel).UnaryUnary(note("a")) == note("a")
    assert channel.get_state() is State.SHUTDOWN


async def test_closing_wakes_who_waits_for_a_state(bench: Bench) -> None:
    served = await bench.serve()
    await served.channel.channel_ready()
    waiting = asyncio.create_task(served.channel.wait_for_state_change(State.READY))
    await asyncio.sleep(0)
    await served.channel.close()
    await asyncio.wait([waiting])
    assert served.channel.get_state() is State.SHUTDOWN


async def test_closing_cancels_a_call_that_waits_for_a_server(bench: Bench) -> None:
    channel = bench.connect("127.0.0.1:1")
    call = services.ProbeStub(channel).UnaryUnary(note(), wait_for_ready=True)
    await asyncio.sleep(0)
    await channel.close()
    assert await call.code() is grpc.StatusCode.CANCELLED


async def test_what_has_ended_stays_known_after_closing(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.UnaryUnary(note("a"))
    await call
    await served.channel.close()
    assert await call == note("a")
    assert await status(call) == (grpc.StatusCode.OK, "")


async def test_closing_one_channel_leaves_the_others_alone(bench: Bench) -> None:
    served = await bench.serve()
    other = services.ProbeStub(bench.connect(served.target))
    call = other.StreamStream()
    await call.write(note("a"))
    assert await call.read() == note("a")
    await served.stub.UnaryUnary(note())
    await served.channel.close()
    await call.write(note("b"))
    await call.done_writing()
    assert await read_all(call) == [note("b")]
