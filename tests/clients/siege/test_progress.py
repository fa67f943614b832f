import asyncio
import pickle

import grpc
import pytest
from clients.made_snapshots import MS, histogram, made_snapshot

from yais.clients.siege.closed_loop import ClosedLoop
from yais.clients.siege.open_loop import OpenLoop
from yais.clients.siege.progress import Observer, Snapshot, SnapshotMerger, show_snapshots
from yais.clients.siege.schedules.pacer import Constant, Shard
from yais.clients.stats.histogram import SECOND
from yais.clients.stats.outcomes import STATUS_NUMBERS, Counts

UNAVAILABLE, INTERNAL = STATUS_NUMBERS[grpc.StatusCode.UNAVAILABLE], STATUS_NUMBERS[grpc.StatusCode.INTERNAL]


@pytest.fixture
def sender() -> OpenLoop:
    sender = OpenLoop([], lambda: (0, b""), Constant(10.0), timeout=1.0, max_outstanding=1)
    sender.recorder.start(0)
    return sender


def test_each_look_sees_what_is_new(sender: OpenLoop) -> None:
    observer = Observer(sender, Constant(10.0))
    for latency in (1, 2, 3):
        sender.recorder.add(0, 0, latency * MS)
    first = observer.observe(SECOND)
    sender.recorder.add(0, 4 * MS, 9 * MS)
    second = observer.observe(3 * SECOND)
    assert (first.elapsed, first.interval, first.answered) == (1.0, 1.0, 3.0)
    assert (first.latency, first.lag) == (histogram(1, 2, 3), histogram(0, 0, 0))
    assert (second.elapsed, second.interval, second.answered) == (3.0, 2.0, 0.5)
    assert (second.latency, second.lag) == (histogram(9), histogram(4))


def test_a_snapshot_is_not_changed_by_what_comes_after(sender: OpenLoop) -> None:
    observer = Observer(sender, Constant(10.0))
    sender.recorder.add(0, 0, MS)
    first = observer.observe(SECOND)
    sender.recorder.add(0, 0, 2 * MS)
    observer.observe(2 * SECOND)
    assert (first.latency, first.lag, first.counts.completed) == (histogram(1), histogram(0), 1)


def test_outcomes_are_counted_from_the_start(sender: OpenLoop) -> None:
    observer = Observer(sender, Constant(10.0))
    sender.recorder.add_failure(0, 0, MS, INTERNAL, "one")
    observer.observe(SECOND)
    for text in ("two", "three"):
        sender.recorder.add_failure(0, 0, MS, UNAVAILABLE, text)
    sender.recorder.drop(0)
    sender.recorder.add_wrong(0, 0, MS, "another answer")
    sender.recorder.add(0, 0, MS)
    second = observer.observe(2 * SECOND)
    assert second.counts == Counts(offered=6, sent=5, dropped=1, completed=1, rejected=2, errored=1, wrong=1)
    assert second.failures == {"UNAVAILABLE": 2, "WRONG": 1, "INTERNAL": 1}
    assert next(iter(second.failures)) == "UNAVAILABLE"
    assert observer.observe(3 * SECOND).counts == second.counts


def test_the_warm_up_is_counted_apart(sender: OpenLoop) -> None:
    sender.recorder.start(SECOND)
    sender.recorder.add(0, 0, MS)
    snapshot = Observer(sender, Constant(10.0)).observe(SECOND)
    assert (snapshot.warm_up, snapshot.counts, snapshot.answered) == (1, Counts(), 0.0)


def test_a_rate_is_that_of_the_moment_and_of_the_process(sender: OpenLoop) -> None:
    observer = Observer(sender, Shard(Constant(10.0), 1, 4))
    assert observer.observe(SECOND).asked == 2.5


async def test_a_closed_loop_asks_for_no_rate() -> None:
    loop = ClosedLoop([], lambda: (0, b""), concurrency=1, timeout=1.0)
    assert Observer(loop, None).observe(SECOND).asked is None


def test_before_a_beginning_that_was_agreed_upon_nothing_has_elapsed(sender: OpenLoop) -> None:
    sender.started_at = 2 * SECOND
    observer = Observer(sender, Constant(10.0))
    early, late = observer.observe(SECOND), observer.observe(3 * SECOND)
    assert (early.elapsed, early.interval, early.answered) == (0.0, 0.0, 0.0)
    assert (late.elapsed, late.interval) == (1.0, 1.0)


async def test_a_watch_shows_a_snapshot_each_second_and_a_last_one_when_it_is_over(sender: OpenLoop) -> None:
    times = iter((1 * SECOND, 2 * SECOND, 2 * SECOND + 500 * MS))
    shown: list[Snapshot] = []
    waited: list[float] = []
    waits_again = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        if waited.count(1.0) == 3:
            waits_again.set()
            await asyncio.Event().wait()

    watching = asyncio.create_task(show_snapshots(sender, Constant(10.0), shown.append, lambda: next(times), sleep))
    await waits_again.wait()
    sender.recorder.add(0, 0, MS)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert [(snapshot.elapsed, snapshot.interval, snapshot.last) for snapshot in shown] == [
        (1.0, 1.0, False),
        (2.0, 1.0, False),
        (2.5, 0.5, True),
    ]
    assert shown[-1].counts.completed == 1


def test_snapshots_at_several_processes_add_up() -> None:
    one = made_snapshot(
        1, 2, lags=(0.1,), elapsed=3.0, asked=10.0, failures={"INTERNAL": 1, "UNAVAILABLE": 1}, warm_up=1
    )
    other = made_snapshot(
        3, 4, lags=(0.2,), interval=2.0, asked=5.0, failures={"UNAVAILABLE": 2}, in_flight=7, last=True
    )
    merged = Snapshot.merged([one, other])
    assert merged == Snapshot(
        elapsed=3.0,
        interval=2.0,
        asked=15.0,
        counts=Counts(offered=4, sent=4, completed=4),
        failures={"UNAVAILABLE": 3, "INTERNAL": 1},
        warm_up=1,
        in_flight=7,
        latency=histogram(1, 2, 3, 4),
        lag=histogram(0.1, 0.2),
    )
    assert merged.answered == 2.0
    assert list(merged.failures) == ["UNAVAILABLE", "INTERNAL"]


def test_closed_loops_together_ask_for_no_rate() -> None:
    assert Snapshot.merged([made_snapshot(asked=None), made_snapshot(asked=None)]).asked is None


def test_merging_leaves_the_snapshots_as_they_were() -> None:
    one, other = made_snapshot(1), made_snapshot(2)
    Snapshot.merged([one, other])
    one.combine(other)
    assert (one, other) == (made_snapshot(1), made_snapshot(2))


def test_two_intervals_become_one() -> None:
    later = made_snapshot(3, lags=(0.3,), elapsed=3.0, interval=2.0, in_flight=7)
    both = made_snapshot(1, 2, lags=(0.1,), in_flight=3).combine(later)
    assert (both.latency, both.lag, both.interval) == (histogram(1, 2, 3), histogram(0.1, 0.3), 3.0)
    assert (both.elapsed, both.in_flight, both.counts) == (3.0, 7, later.counts)


def test_a_snapshot_goes_through_a_pipe() -> None:
    snapshot = made_snapshot(1, 2, lags=(3,), failures={"INTERNAL": 1})
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot


def test_a_round_is_shown_when_every_process_has_told() -> None:
    shown: list[Snapshot] = []
    rounds = SnapshotMerger(2, shown.append)
    rounds.take(0, made_snapshot(1))
    assert shown == []
    rounds.take(1, made_snapshot(2))
    rounds.take(0, made_snapshot(3))
    assert [snapshot.latency for snapshot in shown] == [histogram(1, 2)]
    rounds.take(1, made_snapshot(4))
    assert [snapshot.latency for snapshot in shown] == [histogram(1, 2), histogram(3, 4)]


def test_a_process_that_looks_seldom_holds_the_view_up_only_until_it_looks() -> None:
    shown: list[Snapshot] = []
    rounds = SnapshotMerger(2, shown.append)
    for completed in (1, 2, 3):
        rounds.take(0, made_snapshot(completed, counts=Counts(completed, completed, 0, completed)))
    rounds.take(1, made_snapshot(4, 5, 6, interval=3.0))
    (snapshot,) = shown
    assert (snapshot.latency, snapshot.interval, snapshot.answered) == (histogram(1, 2, 3, 4, 5, 6), 3.0, 2.0)
    assert snapshot.counts.completed == 6
    rounds.take(0, made_snapshot(1))
    rounds.take(1, made_snapshot(1))
    assert len(shown) == 2


def test_what_a_process_did_that_has_ended_stays_in_the_sum() -> None:
    shown: list[Snapshot] = []
    rounds = SnapshotMerger(2, shown.append)
    rounds.take(0, made_snapshot(1, lags=(0.1,), failures={"INTERNAL": 1}, in_flight=3, last=True))
    rounds.take(1, made_snapshot(2))
    rounds.take(1, made_snapshot(3, last=True))
    first, second = shown
    assert (first.counts.completed, first.asked, first.in_flight, first.last) == (2, 5000.0, 3, False)
    assert (second.counts.completed, second.asked, second.in_flight, second.last) == (2, 2500.0, 0, True)
    assert (second.latency, second.lag, second.failures) == (histogram(3), histogram(), {"INTERNAL": 1})
