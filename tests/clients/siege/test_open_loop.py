import asyncio
import threading
from collections.abc import Callable
from itertools import cycle, repeat
from time import monotonic_ns

import click
import grpc
import numpy as np
import pytest
from clients.fake_line import FakeCall, FakeLine, answer_soon
from clients.fake_server import FakeServer, Gate, echo
from clients.simulated_time import SimulatedLoop, run_simulated

from yais import transport as native_transport
from yais.clients.inputs.workload import WeightedChoice
from yais.clients.protocol import infer_request
from yais.clients.siege.balancer import Endpoint
from yais.clients.siege.in_flight import NextRequest
from yais.clients.siege.open_loop import OpenLoop
from yais.clients.siege.requests import INFER, Requests
from yais.clients.siege.runner import LoadConfig, send
from yais.clients.siege.schedules.options import ArrivalOptions
from yais.clients.siege.schedules.pacer import Constant, Pacer, Until
from yais.clients.siege.transports import TransportName, UnaryCallable
from yais.clients.stats.histogram import SECOND
from yais.clients.stats.outcomes import DROPPED, OK
from yais.clients.stats.recorder import RecordBatch, Recorder, Tally
from yais.clients.stats.report import Failure, Report, summarise
from yais.proto import grpc_service_pb2 as pb

REQUEST = infer_request("identity", {"INPUT0": np.zeros(4, np.float32)}).SerializeToString()
MS = 1_000_000
ANY: NextRequest = repeat((0, b"")).__next__
ALWAYS = Requests(INFER, ("identity",), [WeightedChoice(1.0, ((0, REQUEST),))], 0)

Loader = Callable[..., LoadConfig]


@pytest.fixture
def load(fake: FakeServer, transport: TransportName) -> Loader:
    """Makes a load of the fake server, on the one transport and then on the other."""

    def make(
        plan: ArrivalOptions, timeout: float = 10.0, max_outstanding: int = 950, connections: int = 1
    ) -> LoadConfig:
        return LoadConfig(Endpoint(transport, fake.target, INFER, connections), ALWAYS, plan, timeout, max_outstanding)

    return make


class Keeper(Recorder):
    """Keeps every entry beside what they add up to."""

    def __init__(self) -> None:
        super().__init__(sink=lambda chunk, start: self._chunks.append(chunk))
        self._chunks: list[RecordBatch] = []

    @property
    def entries(self) -> RecordBatch:
        self._fold()
        return RecordBatch(*map(np.concatenate, zip(*self._chunks, strict=True)))


def make_sender(
    line: UnaryCallable, pacer: Pacer, max_outstanding: int = 950, warmup: int = 0, recorder: Recorder | None = None
) -> OpenLoop:
    return OpenLoop([line], ANY, pacer, timeout=1.0, max_outstanding=max_outstanding, warmup=warmup, recorder=recorder)


async def sent(load: LoadConfig) -> Tally:
    """What the load came to."""
    recorder = Recorder()
    await send(load, recorder, show=lambda snapshot: None)
    return recorder.tally


async def test_every_arrival_is_sent_with_its_own_due_time() -> None:
    recorder = Keeper()
    sender = make_sender(FakeLine(answer_soon), Until(Constant(5000.0), count=100), recorder=recorder)
    await sender.run()
    entries = recorder.entries
    assert (entries.due - sender.started_at).tolist() == [k * 200_000 for k in range(100)]
    assert (entries.sent >= entries.due).all()
    assert set(entries.status.tolist()) == {OK}
    assert sender.in_flight == 0


def test_what_is_due_while_the_loop_is_blocked_is_caught_up_and_counted_from_its_due_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> Report:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)

        def answer(call: FakeCall) -> None:
            if call is line.calls[0]:
                loop.call_soon(loop.skip, 0.3)
            loop.call_soon(call.end)

        line = FakeLine(answer)
        sender = make_sender(line, Until(Constant(200.0), count=60))
        await sender.run()
        return summarise(sender.recorder.tally)

    report = run_simulated(monkeypatch, work)
    assert report.counts.completed == 60
    assert report.latency.ms["p50"] > 100
    assert report.lag.ms["p50"] > 100
    assert report.service.ms["p50"] < report.latency.ms["p50"] / 2


def test_a_stall_leaves_no_trace_in_what_is_sent_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> RecordBatch:
        loop, recorder = asyncio.get_running_loop(), Keeper()
        end_of_stall = loop.time() + 0.2
        line = FakeLine(lambda call: loop.call_at(max(end_of_stall, loop.time()), call.end))
        await make_sender(line, Until(Constant(200.0), count=80), recorder=recorder).run()
        return recorder.entries

    entries = run_simulated(monkeypatch, work)
    end = entries.done[0]
    waited = (entries.done - entries.due)[entries.due < end]
    after = (entries.done - entries.sent)[entries.sent > end]
    assert waited.max() > 150 * MS
    assert len(after) > 30
    assert after.max() < MS


async def test_the_lines_take_turns() -> None:
    turns: list[str] = []

    def named(name: str) -> FakeLine:
        def receive(call: FakeCall) -> None:
            turns.append(name)
            answer_soon(call)

        return FakeLine(receive)

    sender = OpenLoop([named("a"), named("b")], ANY, Until(Constant(1e5), count=5), timeout=1.0, max_outstanding=10)
    await sender.run()
    assert turns == list("ababa")


async def test_each_call_gets_its_request_and_the_timeout() -> None:
    line, take = FakeLine(answer_soon), cycle([(0, b"one"), (3, b"other")]).__next__
    sender = OpenLoop([line], take, Until(Constant(1e5), count=3), timeout=2.5, max_outstanding=10)
    await sender.run()
    assert [call.request for call in line.calls] == [b"one", b"other", b"one"]
    assert line.timeouts == {2.5}
    kinds = sender.recorder.tally.kinds
    assert {kind: kinds[kind].counts.completed for kind in (0, 3)} == {0: 2, 3: 1}


async def test_a_failure_counts_for_its_kind() -> None:
    loop = asyncio.get_running_loop()
    line, take = FakeLine(lambda call: loop.call_soon(call.end, 14, "full")), cycle([(0, b""), (3, b"")]).__next__
    sender = OpenLoop([line], take, Until(Constant(1e5), count=3), timeout=1.0, max_outstanding=10)
    await sender.run()
    kinds = sender.recorder.tally.kinds
    assert {kind: kinds[kind].counts.rejected for kind in (0, 3)} == {0: 2, 3: 1}


async def test_a_warm_up_is_sent_but_not_counted() -> None:
    line, recorder = FakeLine(answer_soon), Keeper()
    sender = make_sender(line, Until(Constant(1000.0), count=50), warmup=20 * MS, recorder=recorder)
    await sender.run()
    assert len(line.calls) == 50
    assert sender.counted_from == sender.started_at + 20 * MS
    assert (recorder.tally.warm_up, recorder.tally.counts.completed) == (20, 30)


async def test_a_schedule_begins_when_it_was_agreed_to() -> None:
    line, recorder = FakeLine(answer_soon), Keeper()
    sender = make_sender(line, Until(Constant(1000.0), count=3), recorder=recorder)
    at = monotonic_ns() + 30 * MS
    await sender.run(at)
    assert sorted(recorder.entries.due.tolist()) == [at, at + MS, at + 2 * MS]
    assert recorder.entries.sent.min() >= at


async def test_after_a_stall_answers_are_read_between_blocks_of_what_is_due() -> None:
    line = FakeLine(answer_soon)
    sender = make_sender(line, Until(Constant(1e6), count=2000), max_outstanding=300)
    await sender.run(monotonic_ns() - SECOND)
    assert (len(line.calls), sender.dropped) == (2000, 0)


def test_an_arrival_beyond_the_bound_is_dropped_and_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    line, warnings, recorder = FakeLine(), list[str](), Keeper()

    async def work() -> OpenLoop:
        sender = OpenLoop(
            [line],
            cycle([(0, b""), (1, b"")]).__next__,
            Until(Constant(2000.0), count=40),
            timeout=1.0,
            max_outstanding=5,
            recorder=recorder,
            on_first_drop=lambda: warnings.append("dropped"),
        )
        asyncio.get_running_loop().call_later(0.1, line.end_all)
        await sender.run()
        return sender

    sender = run_simulated(monkeypatch, work)
    assert len(line.calls) == 5
    assert sorted(recorder.entries.status.tolist()) == [DROPPED] * 35 + [OK] * 5
    assert sender.dropped == 35
    assert recorder.tally.kinds[1].counts.dropped == 18
    assert warnings == ["dropped"]


async def running(sender: OpenLoop, called: asyncio.Event) -> "asyncio.Task[None]":
    """The sender's run, from which something is in flight."""
    task = asyncio.create_task(sender.run())
    await called.wait()
    return task


async def test_stopping_ends_the_schedule_and_waits_for_what_is_in_flight() -> None:
    called = asyncio.Event()
    line = FakeLine(lambda call: called.set())
    sender = make_sender(line, Constant(0.001))
    run = await running(sender, called)
    sender.stop()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not run.done()
    assert sender.in_flight == 1
    line.end_all()
    await run
    assert sender.recorder.tally.counts.completed == 1


async def test_a_sender_that_is_stopped_before_it_runs_sends_nothing() -> None:
    line = FakeLine()
    sender = make_sender(line, Constant(1000.0))
    sender.stop()
    await sender.run()
    assert not line.calls


async def test_cancelling_ends_what_is_in_flight_as_cancelled() -> None:
    called = asyncio.Event()
    sender = make_sender(FakeLine(lambda call: called.set()), Constant(0.001))
    run = await running(sender, called)
    sender.stop()
    sender.cancel()
    await run
    assert summarise(sender.recorder.tally).failures == (Failure("CANCELLED", "cancelled by siege", 1),)
    assert sender.in_flight == 0


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ConnectionError("The connection was lost"), Failure("UNAVAILABLE", "The connection was lost", 2)),
        (
            grpc.aio.UsageError("Channel is closed."),
            Failure("UNKNOWN", "UsageError('Channel is closed.')", 2),
        ),
    ],
    ids=["without a connection", "for another reason"],
)
async def test_what_a_line_cannot_send_is_a_failure_and_the_run_goes_on(error: Exception, failure: Failure) -> None:
    def fail_twice(call: FakeCall) -> None:
        if len(line.calls) <= 2:
            raise error
        answer_soon(call)

    line = FakeLine(fail_twice)
    sender = make_sender(line, Until(Constant(1000.0), count=5))
    await sender.run()
    report = summarise(sender.recorder.tally)
    assert report.failures == (failure,)
    assert report.counts.completed == 3


@pytest.mark.parametrize(
    ("status", "details", "failure"),
    [
        (14, "Exceeds maximum queue size", Failure("UNAVAILABLE", "Exceeds maximum queue size", 1)),
        (4, "", Failure("DEADLINE_EXCEEDED", "no details given", 1)),
        (999, "a status of the future", Failure("UNKNOWN", "a status of the future", 1)),
    ],
    ids=["with a text", "without one", "of no known number"],
)
async def test_a_call_that_fails_is_recorded_with_its_status_and_text(
    status: int, details: str, failure: Failure
) -> None:
    loop = asyncio.get_running_loop()
    line = FakeLine(lambda call: loop.call_soon(call.end, status, details))
    sender = make_sender(line, Until(Constant(1000.0), count=1))
    await sender.run()
    assert summarise(sender.recorder.tally).failures == (failure,)


@pytest.mark.parametrize(
    ("refusals", "failures"),
    [(1, ()), (2, (Failure("UNAVAILABLE", "refused", 1),))],
    ids=["once", "twice"],
)
async def test_a_call_that_was_refused_is_sent_again_once_with_its_own_times(
    refusals: int, failures: tuple[Failure, ...]
) -> None:
    loop = asyncio.get_running_loop()
    sent_again_at = 0

    def refuse(call: FakeCall) -> None:
        nonlocal sent_again_at
        if len(line.calls) > 1:
            sent_again_at = monotonic_ns()
        if len(line.calls) <= refusals:
            loop.call_soon(call.end, 14, "refused", True)
        else:
            loop.call_soon(call.end)

    line = FakeLine(refuse)
    recorder = Keeper()
    sender = make_sender(line, Until(Constant(1000.0), count=1), recorder=recorder)
    await sender.run()
    assert len(line.calls) == 2
    assert summarise(recorder.tally).failures == failures
    entries = recorder.entries
    assert entries.due.tolist() == [sender.started_at]
    assert entries.sent[0] < sent_again_at < entries.done[0]


async def test_a_stalled_server_shows_in_the_latency_of_all_that_was_due_meanwhile(
    fake: FakeServer, load: Loader
) -> None:
    """It answers nobody before so many have come."""
    rate, stalled, count = 200, 60, 80
    is_over = threading.Event()

    def stalling(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        if len(fake.requests) == stalled:
            is_over.set()
        assert is_over.wait(30)
        return echo(request, context)

    fake.answer = stalling
    tally = await sent(load(ArrivalOptions(rate, count=count)))
    assert tally.counts.completed == count
    # A closed loop would have met the stall once. Those due in its first 200 ms waited for at least the last 95 ms.
    assert tally.latency.above(90 * MS) >= rate * 0.2 * 0.8


async def test_a_server_that_does_not_answer_is_sent_no_more_than_the_bound(
    fake: FakeServer, load: Loader, gate: Gate
) -> None:
    report = summarise(await sent(load(ArrivalOptions(200.0, count=40), timeout=0.6, max_outstanding=5)))
    assert (report.counts.sent, report.counts.dropped) == (5, 35)
    assert report.statuses == {"DEADLINE_EXCEEDED": 5}
    assert len(fake.requests) == 5


async def test_the_server_s_text_is_kept_with_its_count(fake: FakeServer, load: Loader) -> None:
    def refuse(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        context.abort(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
        raise AssertionError

    fake.answer = refuse
    report = summarise(await sent(load(ArrivalOptions(1000.0, count=20))))
    assert report.failures == (Failure("UNAVAILABLE", "Exceeds maximum queue size", 20),)


async def test_connections_are_separate_ones(fake: FakeServer, load: Loader) -> None:
    peers: set[str] = set()

    def remember(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        peers.add(context.peer())
        return echo(request, context)

    fake.answer = remember
    await sent(load(ArrivalOptions(1000.0, count=12), connections=3))
    assert len(peers) == 3


async def test_requests_arrive_as_they_were_made(fake: FakeServer, load: Loader) -> None:
    await sent(load(ArrivalOptions(1000.0, count=3)))
    assert [request.SerializeToString() for request in fake.requests] == [REQUEST] * 3


async def test_a_server_that_never_takes_the_connection_ends_the_siege_before_it_begins(
    unused_tcp_port: int, transport: TransportName
) -> None:
    target = f"localhost:{unused_tcp_port}"
    with pytest.raises(click.ClickException, match=f"^{target}: no connection within 0.2 s$"):
        await sent(LoadConfig(Endpoint(transport, target, INFER, 2), ALWAYS, ArrivalOptions(1.0), 0.2, 1))


async def test_a_server_that_sends_its_clients_elsewhere_loses_no_request(transport: TransportName) -> None:
    server = native_transport.server(options=[("grpc.max_connection_age_ms", 200)])
    server.add_raw_method(INFER, lambda call, message: call.respond(b""))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    route = Endpoint(transport, f"127.0.0.1:{port}", INFER)
    tally = await sent(LoadConfig(route, ALWAYS, ArrivalOptions(500.0, count=500), 10.0, 950))
    await server.stop(None)
    assert tally.counts.completed == 500
