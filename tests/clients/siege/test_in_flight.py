import asyncio
from itertools import cycle
from time import monotonic_ns

import grpc
import pytest
from clients.fake_callable import FakeCall, FakeCallable, answer_soon
from clients.open_loops import ANY, KeepingRecorder, make_sender

from yais.clients.siege.open_loop import OpenLoop
from yais.clients.siege.schedules.pacer import Constant, Until
from yais.clients.stats.report import Failure, summarise


async def test_the_callables_take_turns() -> None:
    turns: list[str] = []

    def named(name: str) -> FakeCallable:
        def receive(call: FakeCall) -> None:
            turns.append(name)
            answer_soon(call)

        return FakeCallable(receive)

    sender = OpenLoop([named("a"), named("b")], ANY, Until(Constant(1e5), count=5), timeout=1.0, max_outstanding=10)
    await sender.run()
    assert turns == list("ababa")


async def test_each_call_gets_its_request_and_the_timeout() -> None:
    line, take = FakeCallable(answer_soon), cycle([(0, b"one"), (3, b"other")]).__next__
    sender = OpenLoop([line], take, Until(Constant(1e5), count=3), timeout=2.5, max_outstanding=10)
    await sender.run()
    assert [call.request for call in line.calls] == [b"one", b"other", b"one"]
    assert line.timeouts == {2.5}
    kinds = sender.recorder.tally.kinds
    assert {kind: kinds[kind].counts.completed for kind in (0, 3)} == {0: 2, 3: 1}


async def test_a_failure_counts_for_its_kind() -> None:
    loop = asyncio.get_running_loop()
    line, take = FakeCallable(lambda call: loop.call_soon(call.end, 14, "full")), cycle([(0, b""), (3, b"")]).__next__
    sender = OpenLoop([line], take, Until(Constant(1e5), count=3), timeout=1.0, max_outstanding=10)
    await sender.run()
    kinds = sender.recorder.tally.kinds
    assert {kind: kinds[kind].counts.rejected for kind in (0, 3)} == {0: 2, 3: 1}


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
async def test_what_a_callable_cannot_send_is_a_failure_and_the_run_goes_on(error: Exception, failure: Failure) -> None:
    def fail_twice(call: FakeCall) -> None:
        if len(line.calls) <= 2:
            raise error
        answer_soon(call)

    line = FakeCallable(fail_twice)
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
    line = FakeCallable(lambda call: loop.call_soon(call.end, status, details))
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

    line = FakeCallable(refuse)
    recorder = KeepingRecorder()
    sender = make_sender(line, Until(Constant(1000.0), count=1), recorder=recorder)
    await sender.run()
    assert len(line.calls) == 2
    assert summarise(recorder.tally).failures == failures
    entries = recorder.entries
    assert entries.due.tolist() == [sender.started_at]
    assert entries.sent[0] < sent_again_at < entries.done[0]
