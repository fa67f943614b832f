"""How long a tick on the event loop may take, and when it begins, by a clock that only passes when it is told to."""

import asyncio
from functools import partial

import pytest

from server.fake_engine import LONG_NS, FakeEngine, Gate, Serve, options, refuse_negative_rows
from server.fake_requests import FakeRequest, answered, assert_answered, give_up, replies, request, requests
from yais.server.errors import EngineFailureError, ExpiredError
from yais.server.models import pool as pool_module
from yais.server.models.model import Model

pytestmark = pytest.mark.usefixtures("still_clock")


class Clock:
    """The pool's clock, which only passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000
        for module in ("pool", "execution"):
            monkeypatch.setattr(f"yais.server.models.{module}.monotonic_ns", lambda: self.now)

    def pass_by(self, share: float) -> None:
        """Lets a part of a tick pass."""
        self.now += int(share * pool_module._INLINE_NS)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def serve_one_by_one(serve: Serve, clock: Clock, share: float) -> Model:
    """A model of batches of 1 that runs them on the loop, each for a `share` of what a tick may take."""
    engine = FakeEngine(max_batch_size=1, run_ns=lambda: 0)
    model = serve(engine)
    await answered(model, request(0))
    engine.on_run = lambda rows: clock.pass_by(share)
    return model


def count_answered(sent: list[FakeRequest]) -> int:
    """How many have their answer; those must be the first."""
    count = sum(bool(each.replies) for each in sent)
    assert_answered(*sent[:count])
    return count


@pytest.mark.parametrize(("share", "runs"), [(0.45, 3), (0.5, 2), (0.34, 3), (1.0, 1), (50.0, 1)])
async def test_a_tick_begins_no_run_once_its_time_is_over_and_the_next_goes_on(
    serve: Serve, clock: Clock, share: float, runs: int
) -> None:
    model = await serve_one_by_one(serve, clock, share)
    sent = requests(7)
    for each in sent:
        model.pool.add(each)
    for tick in range(1, 8):
        await asyncio.sleep(0)
        assert count_answered(sent) == min(7, tick * runs)
        assert model.pool.waiting == 7 - count_answered(sent)
    assert not any(run.on_thread for run in model.engine.runs[1:])  # type: ignore[attr-defined]


async def test_between_two_ticks_the_loop_sees_to_everything_else(serve: Serve, clock: Clock) -> None:
    model = await serve_one_by_one(serve, clock, 1.0)
    sent = requests(3)
    seen: list[int] = []
    for each in sent:
        model.pool.add(each)
        asyncio.get_running_loop().call_soon(lambda: seen.append(count_answered(sent)))
    await replies(*sent)
    assert seen == [1, 1, 1]


async def test_who_comes_while_a_tick_is_left_over_lines_up_behind_it(serve: Serve, clock: Clock) -> None:
    model = await serve_one_by_one(serve, clock, 1.0)
    sent = requests(3)
    for each in sent[:2]:
        model.pool.add(each)
    await asyncio.sleep(0)
    model.pool.add(sent[2])
    for tick in (2, 3):
        await asyncio.sleep(0)
        assert count_answered(sent) == tick


async def test_shapes_that_become_long_between_two_ticks_leave_the_rest_to_the_threads(
    serve: Serve, clock: Clock
) -> None:
    model = await serve_one_by_one(serve, clock, 1.0)
    sent = requests(2)
    for each in sent:
        model.pool.add(each)
    await asyncio.sleep(0)
    for _ in range(10):
        model.pool._update_average(sent[0].shapes, LONG_NS)
    await replies(*sent)
    assert_answered(*sent)
    assert [run.on_thread for run in model.engine.runs] == [True, False, True]  # type: ignore[attr-defined]


async def test_a_left_over_request_whose_deadline_passes_is_refused_and_not_run(serve: Serve, clock: Clock) -> None:
    model = await serve_one_by_one(serve, clock, 1.0)
    first, late, staying = request(1), request(2, deadline=clock.now + 1), request(3)
    for each in (first, late, staying):
        model.pool.add(each)
    await replies(first, late, staying)
    assert_answered(first, staying)
    assert isinstance(late.replies[0], ExpiredError)
    assert [run.values for run in model.engine.runs] == [[0], [1], [3]]  # type: ignore[attr-defined]


async def after_a_lull(serve: Serve, clock: Clock, engine: FakeEngine, longer_by: int = 1) -> Model:
    """A model that has last run on the loop `longer_by` nanoseconds more than a lull ago."""
    model = serve(engine, options(contexts=1, buffers=1))
    await answered(model, request(0))
    model.pool.add(request(0))
    await asyncio.sleep(0)
    clock.now += pool_module._LULL_NS + longer_by
    return model


async def test_after_a_lull_a_request_is_run_at_once(serve: Serve, clock: Clock) -> None:
    engine = FakeEngine(run_ns=lambda: 0)
    model = await after_a_lull(serve, clock, engine)
    first, *rest = requests(4)
    model.pool.add(first)
    assert_answered(first)
    assert model.pool.waiting == 0
    for each in rest:
        model.pool.add(each)
    assert model.pool.waiting == 3
    await asyncio.sleep(0)
    assert_answered(*rest)
    assert [run.values for run in engine.runs] == [[0], [0], [1], [2, 3, 4]]
    assert [run.on_thread for run in engine.runs] == [True, False, False, False]


async def test_without_a_lull_a_request_waits_for_company(serve: Serve, clock: Clock) -> None:
    engine = FakeEngine(run_ns=lambda: 0)
    model = await after_a_lull(serve, clock, engine, longer_by=0)
    sent = requests(2)
    for each in sent:
        model.pool.add(each)
    assert model.pool.waiting == 2
    await asyncio.sleep(0)
    assert_answered(*sent)
    assert engine.runs[-1].values == [1, 2]


async def test_a_lull_is_counted_from_the_end_of_the_last_tick(serve: Serve, clock: Clock) -> None:
    engine = FakeEngine(run_ns=lambda: 0)
    model = await after_a_lull(serve, clock, engine)
    engine.on_run = lambda rows: clock.pass_by(0.5)
    first, second = requests(2)
    model.pool.add(first)
    model.pool.add(second)
    assert_answered(first)
    assert second.replies == []
    await replies(second)


async def test_a_lull_does_not_help_where_runs_are_long(serve: Serve, clock: Clock) -> None:
    engine = FakeEngine()
    model = serve(engine)
    clock.now += 10 * pool_module._LULL_NS
    await answered(model, request(1))
    clock.now += 10 * pool_module._LULL_NS
    await answered(model, request(2))
    assert [run.on_thread for run in engine.runs] == [True, True]


async def test_after_a_lull_a_request_goes_to_a_thread_when_no_context_is_free(
    serve: Serve, clock: Clock, gate: Gate
) -> None:
    engine = FakeEngine(run_ns=lambda: 0)
    model = await after_a_lull(serve, clock, engine)
    engine.on_run = lambda rows: gate.pass_through(rows) if rows.shape[1] > 1 else None
    wide, narrow = request(1, 2, width=2), request(3)
    model.pool.add(wide)
    gate.wait_for_runs(1)
    model.pool.add(narrow)
    assert model.pool.waiting == 1
    gate.open()
    await replies(wide, narrow)
    assert_answered(wide, narrow)


async def test_after_a_lull_an_expired_request_is_refused_at_once(serve: Serve, clock: Clock) -> None:
    model = await after_a_lull(serve, clock, FakeEngine(run_ns=lambda: 0))
    late = request(1, deadline=clock.now)
    model.pool.add(late)
    (reply,) = late.replies
    assert isinstance(reply, ExpiredError)


async def test_who_is_answered_at_once_may_ask_again_at_once(serve: Serve, clock: Clock) -> None:
    """The next request then comes while the tick of the last is not over yet."""
    engine = FakeEngine(run_ns=lambda: 0)
    model = await after_a_lull(serve, clock, engine)
    *asking, last = sent = requests(5)
    for each, following in zip(asking, sent[1:], strict=True):
        each.on_reply = partial(model.pool.add, following)
    model.pool.add(sent[0])
    assert_answered(sent[0])
    await replies(last)
    assert_answered(*sent)
    assert engine.overlaps == 0
    assert [run.values for run in engine.runs[2:]] == [[1], [2], [3], [4], [5]]
    assert model.pool.waiting == 0


async def test_a_request_is_refused_once_when_the_engine_fails_after_a_lull(serve: Serve, clock: Clock) -> None:
    model = await after_a_lull(serve, clock, FakeEngine(run_ns=lambda: 0, on_run=refuse_negative_rows))
    bad = request(-1)
    model.pool.add(bad)
    (reply,) = bad.replies
    assert isinstance(reply, EngineFailureError)


async def test_a_tick_left_over_is_not_run_at_once_by_who_comes_after_a_lull(serve: Serve, clock: Clock) -> None:
    model = await serve_one_by_one(serve, clock, 1.0)
    sent = requests(3)
    for each in sent[:2]:
        model.pool.add(each)
    await asyncio.sleep(0)
    clock.now += 10 * pool_module._LULL_NS
    model.pool.add(sent[2])
    assert count_answered(sent) == 1
    await replies(*sent)
    assert_answered(*sent)


async def test_giving_up_the_only_one_of_a_tick_lets_the_next_begin_one_of_its_own(serve: Serve, clock: Clock) -> None:
    engine = FakeEngine(run_ns=lambda: 0)
    model = await after_a_lull(serve, clock, engine, longer_by=0)
    given_up, after, late = requests(3)
    model.pool.add(given_up)
    give_up(model, given_up)
    clock.now += 1
    model.pool.add(after)
    assert_answered(after)
    model.pool.add(late)
    await replies(late)
    assert given_up.replies == []
    assert [run.values for run in engine.runs[2:]] == [[2], [3]]
