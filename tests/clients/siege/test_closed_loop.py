import asyncio
from itertools import cycle, repeat

import pytest
from clients.fake_callable import FakeCall, FakeCallable, answer_soon
from clients.simulated_time import run_simulated

from yais.clients.siege.closed_loop import ClosedLoop
from yais.clients.siege.in_flight import NextRequest
from yais.clients.siege.transports import UnaryCallable

MS = 1_000_000
ANY: NextRequest = repeat((0, b"")).__next__


def make_loop(line: UnaryCallable, concurrency: int = 3, count: int | None = None, **bounds: int) -> ClosedLoop:
    return ClosedLoop([line], ANY, concurrency=concurrency, timeout=1.0, count=count, **bounds)


@pytest.mark.parametrize(("concurrency", "count"), [(1, 5), (3, 20), (8, 3)])
async def test_a_count_is_sent_with_no_more_in_flight_than_asked_for(concurrency: int, count: int) -> None:
    most = 0

    def receive(call: FakeCall) -> None:
        nonlocal most
        # The call itself is in flight once it is sent.
        most = max(most, loop.in_flight + 1)
        answer_soon(call)

    line = FakeCallable(receive)
    loop = make_loop(line, concurrency, count)
    await loop.run()
    assert len(line.calls) == loop.recorder.tally.counts.completed == count
    assert most == min(concurrency, count)
    assert loop.in_flight == 0


async def test_latency_is_service_time_for_nothing_is_due() -> None:
    loop = make_loop(FakeCallable(answer_soon), count=10)
    await loop.run()
    tally = loop.recorder.tally
    assert tally.latency.percentiles() == tally.service.percentiles()
    assert tally.lag.value_at(100) == 0
    assert (loop.dropped, tally.counts.dropped) == (0, 0)


async def test_the_next_is_sent_only_when_one_ends() -> None:
    line = FakeCallable()
    loop = make_loop(line, concurrency=2)
    run = asyncio.create_task(loop.run())
    await turns()
    assert len(line.calls) == 2
    line.calls[0].end()
    await turns()
    assert len(line.calls) == 3
    loop.stop()
    line.end_all()
    await run
    assert len(line.calls) == 3


def answer_after(seconds: float) -> FakeCallable:
    loop = asyncio.get_running_loop()
    return FakeCallable(lambda call: loop.call_later(seconds, call.end))


def test_it_ends_after_its_duration_and_waits_for_what_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> tuple[FakeCallable, ClosedLoop]:
        line = answer_after(0.02)
        loop = make_loop(line, duration=50 * MS)
        await loop.run()
        return line, loop

    line, loop = run_simulated(monkeypatch, work)
    counts = loop.recorder.tally.counts
    # Three at a time: at 0, 20 and 40 ms.
    assert counts.completed == counts.offered == len(line.calls) == 9


def test_a_warm_up_is_sent_but_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> tuple[FakeCallable, ClosedLoop]:
        line = answer_after(0.005)
        loop = make_loop(line, concurrency=1, count=3, warmup=28 * MS)
        await loop.run()
        return line, loop

    line, loop = run_simulated(monkeypatch, work)
    assert loop.recorder.tally.counts.offered == 3
    assert len(line.calls) == 3 + loop.recorder.tally.warm_up == 3 + 6


def test_a_duration_comes_on_top_of_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> tuple[float, ClosedLoop]:
        loop = make_loop(answer_after(0.002), concurrency=1, duration=40 * MS, warmup=40 * MS)
        clock = asyncio.get_running_loop().time
        began = clock()
        await loop.run()
        return clock() - began, loop

    seconds, loop = run_simulated(monkeypatch, work)
    assert 0.0799 < seconds < 0.083
    assert loop.recorder.tally.warm_up == pytest.approx(20, abs=1)
    assert loop.recorder.tally.counts.offered == pytest.approx(20, abs=1)


async def test_failures_are_counted_and_do_not_end_it() -> None:
    loop_now = asyncio.get_running_loop()

    def receive(call: FakeCall) -> None:
        if len(line.calls) % 2:
            raise ConnectionError("gone")
        loop_now.call_soon(call.end, 14, "refused")

    line = FakeCallable(receive)
    loop = make_loop(line, concurrency=2, count=10)
    await loop.run()
    counts = loop.recorder.tally.counts
    assert (counts.rejected, counts.completed) == (10, 0)


async def test_cancelling_ends_what_is_in_flight_and_sends_no_more() -> None:
    line = FakeCallable()
    loop = make_loop(line, concurrency=4)
    run = asyncio.create_task(loop.run())
    await turns()
    loop.cancel()
    await run
    assert len(line.calls) == 4
    assert loop.recorder.tally.counts.cancelled == 4


async def test_a_loop_that_is_stopped_before_it_runs_sends_nothing() -> None:
    line = FakeCallable(answer_soon)
    loop = make_loop(line)
    loop.stop()
    await loop.run()
    assert not line.calls


async def test_kinds_and_lines_take_turns() -> None:
    one, other = FakeCallable(answer_soon), FakeCallable(answer_soon)
    take = cycle([(0, b"a"), (1, b"b"), (1, b"c")]).__next__
    loop = ClosedLoop([one, other], take, concurrency=1, timeout=1.0, count=6)
    await loop.run()
    assert [call.request for call in one.calls] == [b"a", b"c", b"b"]
    assert [call.request for call in other.calls] == [b"b", b"a", b"c"]
    kinds = loop.recorder.tally.kinds
    assert [kinds[kind].counts.completed for kind in (0, 1)] == [2, 4]


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
