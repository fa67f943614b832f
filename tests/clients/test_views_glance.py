import asyncio
import pickle

import grpc
import pytest
from made_glances import MS, histogram, made_glance

from yais.clients.siege.schedules.pacer import Constant, Shard
from yais.clients.siege.traffic.closed import ClosedLoop
from yais.clients.siege.traffic.sender import Sender
from yais.clients.siege.views.glance import Glance
from yais.clients.siege.views.observer import Observer, watch
from yais.clients.siege.views.rounds import Rounds
from yais.clients.stats.histogram import SECOND
from yais.clients.stats.outcomes import STATUS_NUMBERS, Counts

UNAVAILABLE, INTERNAL = STATUS_NUMBERS[grpc.StatusCode.UNAVAILABLE], STATUS_NUMBERS[grpc.StatusCode.INTERNAL]


@pytest.fixture
def sender() -> Sender:
    sender = Sender([], lambda: (0, b""), Constant(10.0), timeout=1.0, max_outstanding=1)
    sender.recorder.start(0)
    return sender


def test_each_look_sees_what_is_new(sender: Sender) -> None:
    observer = Observer(sender, Constant(10.0))
    for latency in (1, 2, 3):
        sender.recorder.add(0, 0, latency * MS)
    first = observer.look(SECOND)
    sender.recorder.add(0, 4 * MS, 9 * MS)
    second = observer.look(3 * SECOND)
    assert (first.elapsed, first.interval, first.answered) == (1.0, 1.0, 3.0)
    assert (first.latency, first.lag) == (histogram(1, 2, 3), histogram(0, 0, 0))
    assert (second.elapsed, second.interval, second.answered) == (3.0, 2.0, 0.5)
    assert (second.latency, second.lag) == (histogram(9), histogram(4))


def test_a_glance_is_not_changed_by_what_comes_after(sender: Sender) -> None:
    observer = Observer(sender, Constant(10.0))
    sender.recorder.add(0, 0, MS)
    first = observer.look(SECOND)
    sender.recorder.add(0, 0, 2 * MS)
    observer.look(2 * SECOND)
    assert (first.latency, first.lag, first.counts.completed) == (histogram(1), histogram(0), 1)


def test_outcomes_are_counted_from_the_start(sender: Sender) -> None:
    observer = Observer(sender, Constant(10.0))
    sender.recorder.add_failure(0, 0, MS, INTERNAL, "one")
    observer.look(SECOND)
    for text in ("two", "three"):
        sender.recorder.add_failure(0, 0, MS, UNAVAILABLE, text)
    sender.recorder.hold_back(0)
    sender.recorder.add_wrong(0, 0, MS, "another answer")
    sender.recorder.add(0, 0, MS)
    second = observer.look(2 * SECOND)
    assert second.counts == Counts(offered=6, sent=5, held_back=1, completed=1, rejected=2, failed=1, wrong=1)
    assert second.failures == {"UNAVAILABLE": 2, "WRONG": 1, "INTERNAL": 1}
    assert next(iter(second.failures)) == "UNAVAILABLE"
    assert observer.look(3 * SECOND).counts == second.counts


def test_the_warm_up_is_counted_apart(sender: Sender) -> None:
    sender.recorder.start(SECOND)
    sender.recorder.add(0, 0, MS)
    glance = Observer(sender, Constant(10.0)).look(SECOND)
    assert (glance.warm_up, glance.counts, glance.answered) == (1, Counts(), 0.0)


def test_a_rate_is_that_of_the_moment_and_of_the_process(sender: Sender) -> None:
    observer = Observer(sender, Shard(Constant(10.0), 1, 4))
    assert observer.look(SECOND).asked == 2.5


async def test_a_closed_loop_asks_for_no_rate() -> None:
    loop = ClosedLoop([], lambda: (0, b""), concurrency=1, timeout=1.0)
    assert Observer(loop, None).look(SECOND).asked is None


def test_before_a_beginning_that_was_agreed_upon_nothing_has_elapsed(sender: Sender) -> None:
    sender.started_at = 2 * SECOND
    observer = Observer(sender, Constant(10.0))
    early, late = observer.look(SECOND), observer.look(3 * SECOND)
    assert (early.elapsed, early.interval, early.answered) == (0.0, 0.0, 0.0)
    assert (late.elapsed, late.interval) == (1.0, 1.0)


async def test_a_watch_shows_a_glance_each_second_and_a_last_one_when_it_is_over(sender: Sender) -> None:
    times = iter((1 * SECOND, 2 * SECOND, 2 * SECOND + 500 * MS))
    shown: list[Glance] = []
    waited: list[float] = []
    waits_again = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        if waited.count(1.0) == 3:
            waits_again.set()
            await asyncio.Event().wait()

    watching = asyncio.create_task(watch(sender, Constant(10.0), shown.append, lambda: next(times), sleep))
    await waits_again.wait()
    sender.recorder.add(0, 0, MS)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert [(glance.elapsed, glance.interval, glance.last) for glance in shown] == [
        (1.0, 1.0, False),
        (2.0, 1.0, False),
        (2.5, 0.5, True),
    ]
    assert shown[-1].counts.completed == 1


def test_glances_at_several_processes_add_up() -> None:
    one = made_glance(1, 2, lags=(0.1,), elapsed=3.0, asked=10.0, failures={"INTERNAL": 1, "UNAVAILABLE": 1}, warm_up=1)
    other = made_glance(3, 4, lags=(0.2,), interval=2.0, asked=5.0, failures={"UNAVAILABLE": 2}, in_flight=7, last=True)
    merged = Glance.merged([one, other])
    assert merged == Glance(
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
    assert Glance.merged([made_glance(asked=None), made_glance(asked=None)]).asked is None


def test_merging_leaves_the_glances_as_they_were() -> None:
    one, other = made_glance(1), made_glance(2)
    Glance.merged([one, other])
    one.then(other)
    assert (one, other) == (made_glance(1), made_glance(2))


def test_two_intervals_become_one() -> None:
    later = made_glance(3, lags=(0.3,), elapsed=3.0, interval=2.0, in_flight=7)
    both = made_glance(1, 2, lags=(0.1,), in_flight=3).then(later)
    assert (both.latency, both.lag, both.interval) == (histogram(1, 2, 3), histogram(0.1, 0.3), 3.0)
    assert (both.elapsed, both.in_flight, both.counts) == (3.0, 7, later.counts)


def test_a_glance_goes_through_a_pipe() -> None:
    glance = made_glance(1, 2, lags=(3,), failures={"INTERNAL": 1})
    assert pickle.loads(pickle.dumps(glance)) == glance


def test_a_round_is_shown_when_every_process_has_told() -> None:
    shown: list[Glance] = []
    rounds = Rounds(2, shown.append)
    rounds.take(0, made_glance(1))
    assert shown == []
    rounds.take(1, made_glance(2))
    rounds.take(0, made_glance(3))
    assert [glance.latency for glance in shown] == [histogram(1, 2)]
    rounds.take(1, made_glance(4))
    assert [glance.latency for glance in shown] == [histogram(1, 2), histogram(3, 4)]


def test_a_process_that_looks_seldom_holds_the_view_up_only_until_it_looks() -> None:
    shown: list[Glance] = []
    rounds = Rounds(2, shown.append)
    for completed in (1, 2, 3):
        rounds.take(0, made_glance(completed, counts=Counts(completed, completed, 0, completed)))
    rounds.take(1, made_glance(4, 5, 6, interval=3.0))
    (glance,) = shown
    assert (glance.latency, glance.interval, glance.answered) == (histogram(1, 2, 3, 4, 5, 6), 3.0, 2.0)
    assert glance.counts.completed == 6
    rounds.take(0, made_glance(1))
    rounds.take(1, made_glance(1))
    assert len(shown) == 2


def test_what_a_process_did_that_has_ended_stays_in_the_sum() -> None:
    shown: list[Glance] = []
    rounds = Rounds(2, shown.append)
    rounds.take(0, made_glance(1, lags=(0.1,), failures={"INTERNAL": 1}, in_flight=3, last=True))
    rounds.take(1, made_glance(2))
    rounds.take(1, made_glance(3, last=True))
    first, second = shown
    assert (first.counts.completed, first.asked, first.in_flight, first.last) == (2, 5000.0, 3, False)
    assert (second.counts.completed, second.asked, second.in_flight, second.last) == (2, 2500.0, 0, True)
    assert (second.latency, second.lag, second.failures) == (histogram(3), histogram(), {"INTERNAL": 1})
