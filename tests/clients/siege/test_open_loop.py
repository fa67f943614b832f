import asyncio
from itertools import cycle
from time import monotonic_ns

import pytest
from clients.fake_callable import FakeCall, FakeCallable, answer_soon
from clients.open_loops import MS, KeepingRecorder, make_sender
from clients.simulated_time import SimulatedLoop, run_simulated

from yais.clients.siege.open_loop import OpenLoop
from yais.clients.siege.schedules.pacer import Constant, Until
from yais.clients.stats.histogram import SECOND
from yais.clients.stats.outcomes import DROPPED, OK
from yais.clients.stats.recorder import RecordBatch
from yais.clients.stats.report import Failure, Report, summarise


async def test_every_arrival_is_sent_with_its_own_due_time() -> None:
    recorder = KeepingRecorder()
    sender = make_sender(FakeCallable(answer_soon), Until(Constant(5000.0), count=100), recorder=recorder)
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

        line = FakeCallable(answer)
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
        loop, recorder = asyncio.get_running_loop(), KeepingRecorder()
        end_of_stall = loop.time() + 0.2
        line = FakeCallable(lambda call: loop.call_at(max(end_of_stall, loop.time()), call.end))
        await make_sender(line, Until(Constant(200.0), count=80), recorder=recorder).run()
        return recorder.entries

    entries = run_simulated(monkeypatch, work)
    end = entries.done[0]
    waited = (entries.done - entries.due)[entries.due < end]
    after = (entries.done - entries.sent)[entries.sent > end]
    assert waited.max() > 150 * MS
    assert len(after) > 30
    assert after.max() < MS


async def test_a_warm_up_is_sent_but_not_counted() -> None:
    line, recorder = FakeCallable(answer_soon), KeepingRecorder()
    sender = make_sender(line, Until(Constant(1000.0), count=50), warmup=20 * MS, recorder=recorder)
    await sender.run()
    assert len(line.calls) == 50
    assert sender.counted_from == sender.started_at + 20 * MS
    assert (recorder.tally.warm_up, recorder.tally.counts.completed) == (20, 30)


async def test_a_schedule_begins_when_it_was_agreed_to() -> None:
    line, recorder = FakeCallable(answer_soon), KeepingRecorder()
    sender = make_sender(line, Until(Constant(1000.0), count=3), recorder=recorder)
    at = monotonic_ns() + 30 * MS
    await sender.run(at)
    assert sorted(recorder.entries.due.tolist()) == [at, at + MS, at + 2 * MS]
    assert recorder.entries.sent.min() >= at


async def test_after_a_stall_answers_are_read_between_blocks_of_what_is_due() -> None:
    line = FakeCallable(answer_soon)
    sender = make_sender(line, Until(Constant(1e6), count=2000), max_outstanding=300)
    await sender.run(monotonic_ns() - SECOND)
    assert (len(line.calls), sender.dropped) == (2000, 0)


def test_an_arrival_beyond_the_bound_is_dropped_and_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    line, warnings, recorder = FakeCallable(), list[str](), KeepingRecorder()

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
    line = FakeCallable(lambda call: called.set())
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
    line = FakeCallable()
    sender = make_sender(line, Constant(1000.0))
    sender.stop()
    await sender.run()
    assert not line.calls


async def test_cancelling_ends_what_is_in_flight_as_cancelled() -> None:
    called = asyncio.Event()
    sender = make_sender(FakeCallable(lambda call: called.set()), Constant(0.001))
    run = await running(sender, called)
    sender.stop()
    sender.cancel()
    await run
    assert summarise(sender.recorder.tally).failures == (Failure("CANCELLED", "cancelled by siege", 1),)
    assert sender.in_flight == 0
