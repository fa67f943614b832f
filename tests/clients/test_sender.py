# ruff: noqa: ASYNC109 - the fakes have the interface of gRPC's methods
import asyncio
import time
from collections.abc import Awaitable, Callable

import grpc
import numpy as np
from fake_server import FakeServer, Gate, echo

from yais.clients.messages import infer_request
from yais.clients.records import HELD_BACK, OK
from yais.clients.report import summarise
from yais.clients.siege.alarm import Alarm
from yais.clients.siege.cli import Load, send
from yais.clients.siege.pacer import SECOND, Constant, Pacer, Until
from yais.clients.siege.sender import Sender
from yais.proto import grpc_service_pb2 as pb

REQUEST = infer_request("identity", {"INPUT0": np.zeros(4, np.float32)}).SerializeToString()
MS = 1_000_000


def load(
    fake: FakeServer, pacer: Pacer, timeout: float = 10.0, max_outstanding: int = 950, connections: int = 1
) -> Load:
    return Load(fake.target, REQUEST, pacer, timeout, max_outstanding, connections)


def make_sender(method: Callable[..., Awaitable[bytes]], pacer: Pacer, max_outstanding: int = 950) -> Sender:
    return Sender([method], b"", pacer, timeout=1.0, max_outstanding=max_outstanding)


async def answer_at_once(request: bytes, *, timeout: float) -> bytes:
    return b""


async def test_every_arrival_is_sent_with_its_own_due_time() -> None:
    sender = make_sender(answer_at_once, Until(Constant(5000.0), count=100))
    await sender.run()
    assert [due - sender.started_at for due in sender.records.due] == [k * 200_000 for k in range(100)]
    assert all(sent >= due for due, sent in zip(sender.records.due, sender.records.sent, strict=True))
    assert set(sender.records.status) == {OK}
    assert sender.in_flight == 0


async def test_what_is_due_while_the_loop_is_blocked_is_caught_up_and_counted_from_its_due_time() -> None:
    def block_once(blocked: list[bool]) -> None:
        if not blocked:
            blocked.append(True)
            time.sleep(0.3)

    blocked: list[bool] = []

    async def answer(request: bytes, *, timeout: float) -> bytes:
        asyncio.get_running_loop().call_soon(block_once, blocked)
        return b""

    sender = make_sender(answer, Until(Constant(200.0), count=60))
    await sender.run()
    report = summarise(sender.records, 200.0)
    assert report.completed == 60
    assert report.latency["p50"] > 100
    assert report.lag["p50"] > 100
    assert report.service["p50"] < report.latency["p50"] / 2


async def test_a_stall_leaves_no_trace_in_what_is_sent_after_it() -> None:
    ended = asyncio.Event()

    async def answer(request: bytes, *, timeout: float) -> bytes:
        await ended.wait()
        return b""

    sender = make_sender(answer, Until(Constant(200.0), count=80))
    asyncio.get_running_loop().call_later(0.2, ended.set)
    await sender.run()
    records = sender.records
    end = records.done[0]
    waited = [done - due for due, done in zip(records.due, records.done, strict=True) if due < end]
    after = [done - sent for sent, done in zip(records.sent, records.done, strict=True) if sent > end]
    assert max(waited) > 150 * MS
    assert np.median(after) < 50 * MS


async def test_the_methods_take_turns() -> None:
    calls: list[str] = []

    def named(name: str) -> Callable[..., Awaitable[bytes]]:
        async def method(request: bytes, *, timeout: float) -> bytes:
            calls.append(name)
            return b""

        return method

    sender = Sender([named("a"), named("b")], b"", Until(Constant(1e5), count=5), timeout=1.0, max_outstanding=10)
    await sender.run()
    assert calls == list("ababa")


async def test_an_arrival_beyond_the_bound_is_held_back_and_never_sent() -> None:
    calls, warnings = list[bytes](), list[str]()
    ended = asyncio.Event()

    class Ending(Constant):
        def due(self, arrival: int) -> int | None:  # type: ignore[override]
            if arrival == 40:
                ended.set()
            return Constant.due(self, arrival) if arrival < 40 else None

    async def wait(request: bytes, *, timeout: float) -> bytes:
        calls.append(request)
        await ended.wait()
        return b""

    sender = Sender(
        [wait],
        b"",
        Ending(2000.0),
        timeout=1.0,
        max_outstanding=5,
        on_first_held_back=lambda: warnings.append("held back"),
    )
    await sender.run()
    assert len(calls) == 5
    assert sorted(sender.records.status) == [HELD_BACK] * 35 + [OK] * 5
    assert warnings == ["held back"]


async def test_stopping_ends_the_schedule_and_waits_for_what_is_in_flight() -> None:
    opened, called = asyncio.Event(), asyncio.Event()

    async def wait(request: bytes, *, timeout: float) -> bytes:
        called.set()
        await opened.wait()
        return b""

    sender = make_sender(wait, Constant(0.001))
    running = asyncio.create_task(sender.run())
    await called.wait()
    sender.stop()
    await asyncio.sleep(0)
    assert not running.done()
    opened.set()
    await running
    assert list(sender.records.status) == [OK]


async def test_cancelling_ends_what_is_in_flight_as_cancelled() -> None:
    called = asyncio.Event()

    async def hang(request: bytes, *, timeout: float) -> bytes:
        called.set()
        await asyncio.Event().wait()
        return b""

    sender = make_sender(hang, Constant(0.001))
    running = asyncio.create_task(sender.run())
    await called.wait()
    sender.stop()
    sender.cancel()
    await running
    assert summarise(sender.records).failed_by_status == {"CANCELLED": 1}
    assert sender.in_flight == 0


async def test_an_unexpected_exception_is_a_failure_too() -> None:
    async def broken(request: bytes, *, timeout: float) -> bytes:
        raise grpc.aio.UsageError("Channel is closed.")

    sender = make_sender(broken, Until(Constant(1000.0), count=2))
    await sender.run()
    (failure,) = summarise(sender.records).failures
    assert (failure.status, failure.text, failure.count) == ("UNKNOWN", "UsageError('Channel is closed.')", 2)


async def test_an_alarm_rings_after_its_time_and_at_once_for_the_past() -> None:
    alarm = Alarm()
    when = time.monotonic_ns() + 2 * MS
    await alarm.until(when)
    assert time.monotonic_ns() >= when
    await alarm.until(0)
    await alarm.until(when)
    alarm.close()


async def test_an_alarm_can_be_woken_from_a_wait_of_any_length() -> None:
    alarm = Alarm()
    asyncio.get_running_loop().call_soon(alarm.wake)
    await alarm.until(10**40)
    alarm.close()


async def test_a_stalled_server_shows_in_the_latency_of_all_that_was_due_meanwhile(fake: FakeServer) -> None:
    rate, stall = 200, 0.3
    first: list[float] = []

    def stalling(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        first.append(time.monotonic())
        begin = first[0] + 0.2
        if begin <= time.monotonic() < begin + stall:
            time.sleep(begin + stall - time.monotonic())
        return echo(request, context)

    fake.answer = stalling
    records = await send(load(fake, Until(Constant(rate), duration=SECOND)))
    assert summarise(records).completed == rate
    latency = (np.array(records.done) - np.array(records.due)) / MS
    # A closed loop would have met the stall once. Those due in its first 200 ms waited for at least the last 100 ms.
    assert (latency > 90).sum() >= rate * 0.2 * 0.8


async def test_a_server_that_does_not_answer_is_sent_no_more_than_the_bound(fake: FakeServer, gate: Gate) -> None:
    records = await send(load(fake, Until(Constant(200.0), count=40), timeout=0.6, max_outstanding=5))
    report = summarise(records, 200.0)
    assert (report.sent, report.held_back) == (5, 35)
    assert report.failed_by_status == {"DEADLINE_EXCEEDED": 5}
    assert len(fake.requests) == 5


async def test_the_server_s_text_is_kept_with_its_count(fake: FakeServer) -> None:
    def refuse(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        context.abort(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
        raise AssertionError

    fake.answer = refuse
    report = summarise(await send(load(fake, Until(Constant(1000.0), count=20))))
    assert [(kind.status, kind.text, kind.count) for kind in report.failures] == [
        ("UNAVAILABLE", "Exceeds maximum queue size", 20)
    ]


async def test_connections_are_separate_ones(fake: FakeServer) -> None:
    peers: set[str] = set()

    def remember(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        peers.add(context.peer())
        return echo(request, context)

    fake.answer = remember
    await send(load(fake, Until(Constant(1000.0), count=12), connections=3))
    assert len(peers) == 3


async def test_requests_arrive_as_they_were_made(fake: FakeServer) -> None:
    await send(load(fake, Until(Constant(1000.0), count=3)))
    assert [request.SerializeToString() for request in fake.requests] == [REQUEST] * 3
