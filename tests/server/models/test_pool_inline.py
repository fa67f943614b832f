"""Runs on the event loop: what came in one tick of it, for no longer than it can be spared."""

import asyncio
from typing import Any

import pytest

from server.fake_engine import LONG_NS, FakeEngine, Gate, Serve, options
from server.fake_requests import answered, assert_answered, give_up, replies, request, requests
from yais.engines import Array
from yais.server.errors import QueueFullError

pytestmark = pytest.mark.usefixtures("still_clock")


async def test_a_short_run_is_followed_by_runs_on_the_loop_of_all_that_came_in_one_tick(serve: Serve) -> None:
    engine = FakeEngine(run_ns=lambda: 0)
    model = serve(engine)
    first, *rest = requests(4)
    await answered(model, first)
    for each in rest:
        model.pool.add(each)
    assert model.pool.waiting == 3
    await asyncio.sleep(0)
    assert_answered(first, *rest)
    assert [(run.values, run.on_thread) for run in engine.runs] == [([1], True), ([2, 3, 4], False)]


@pytest.mark.parametrize("device", ["cuda:0", "cuda:0,cuda:1"])
async def test_an_engine_on_another_device_than_the_cpu_never_runs_on_the_loop(serve: Serve, device: str) -> None:
    engine = FakeEngine(device=device, max_batch_size=2, run_ns=lambda: 0)
    model = serve(engine)
    sent = requests(5)
    for each in sent:
        await answered(model, each)
    together = requests(4)
    for each in together:
        model.pool.add(each)
    await replies(*together)
    assert_answered(*sent, *together)
    assert [run.values for run in engine.runs[5:]] == [[1, 2], [3, 4]]
    assert all(run.on_thread for run in engine.runs)


async def test_on_the_loop_more_than_one_batch_is_run_in_a_tick(serve: Serve) -> None:
    engine = FakeEngine(max_batch_size=2, run_ns=lambda: 0)
    model = serve(engine)
    first, *rest = requests(6)
    await answered(model, first)
    for each in rest:
        model.pool.add(each)
    await asyncio.sleep(0)
    assert_answered(first, *rest)
    assert [run.values for run in engine.runs if not run.on_thread] == [[2, 3], [4, 5], [6]]


async def test_other_shapes_than_the_short_ones_stay_on_threads(serve: Serve, gate: Gate) -> None:
    def wait_if_wide(rows: Array) -> None:
        if rows.shape[1] > 1:
            gate.pass_through(rows)

    engine = FakeEngine(run_ns=lambda: 0, on_run=wait_if_wide)
    model = serve(engine)
    first, second, wide = request(1), request(2), request(3, 4, width=2)
    await answered(model, first)
    model.pool.add(wide)
    gate.wait_for_runs(1)
    model.pool.add(second)
    await replies(second)
    gate.open()
    await replies(wide)
    assert_answered(first, second, wide)
    assert [(run.values, run.on_thread) for run in engine.runs] == [([1], True), ([3, 4], True), ([2], False)]


async def paths(serve: Serve, *times: int) -> list[bool]:
    """Whether each of a series of runs that take these `times` was on a thread."""
    left = iter(times)
    engine = FakeEngine(run_ns=lambda: next(left))
    model = serve(engine)
    for each in requests(len(times)):
        await answered(model, each)
    return [run.on_thread for run in engine.runs]


async def test_a_single_long_run_decides_nothing(serve: Serve) -> None:
    assert await paths(serve, 0, 1000 * LONG_NS, *[0] * 5) == [True] + [False] * 6


async def test_runs_that_become_long_go_back_to_the_threads_and_return_once_they_are_short(serve: Serve) -> None:
    on_thread = await paths(serve, 0, *[LONG_NS] * 10, *[0] * 50)
    gone = on_thread.index(True, 1)
    back = on_thread.index(False, gone)
    assert 2 < gone < 10 < back
    assert on_thread == [True] + [False] * (gone - 1) + [True] * (back - gone) + [False] * (61 - back)


async def test_what_came_for_the_loop_goes_to_a_thread_when_no_context_is_free(serve: Serve, gate: Gate) -> None:
    engine = FakeEngine(run_ns=lambda: 0, on_run=lambda rows: gate.pass_through(rows) if rows.shape[1] > 1 else None)
    model = serve(engine, options(contexts=1, buffers=1))
    first, second, wide = request(1), request(2), request(3, 4, width=2)
    model.pool.add(first)
    await replies(first)
    model.pool.add(wide)
    gate.wait_for_runs(1)
    model.pool.add(second)
    await asyncio.sleep(0)
    assert model.pool.waiting == 1
    gate.open()
    await replies(wide, second)
    assert_answered(first, wide, second)


async def test_what_is_left_over_when_runs_have_become_long_goes_to_the_threads(serve: Serve) -> None:
    times = iter([0, *[LONG_NS] * 10])
    engine = FakeEngine(max_batch_size=1, run_ns=lambda: next(times))
    model = serve(engine, options(contexts=1, buffers=1))
    sent = requests(11)
    await answered(model, sent[0])
    for each in sent[1:]:
        model.pool.add(each)
    await replies(*sent)
    assert_answered(*sent)
    assert [run.values for run in engine.runs] == [[number] for number in range(1, 12)]
    on_thread = [run.on_thread for run in engine.runs]
    gone = on_thread.index(True, 1)
    assert on_thread == [True] + [False] * (gone - 1) + [True] * (11 - gone)


async def test_shapes_that_become_the_short_ones_within_a_tick_never_share_a_batch_with_it(serve: Serve) -> None:
    engine = FakeEngine(run_ns=lambda: 0)
    model = serve(engine)
    await answered(model, request(1))
    narrow, wide, late = request(2), request(3, 4, width=2), request(5)
    model.pool.add(narrow)
    # As a thread does at the end of a run of other shapes.
    model.pool._update_average(wide.shapes, 0)
    model.pool.add(wide)
    model.pool.add(late)
    await replies(narrow, wide, late)
    assert_answered(narrow, wide, late)
    assert sorted(run.values for run in engine.runs[1:]) == [[2, 5], [3, 4]]
    assert all(run.on_thread for run in engine.runs)


async def test_in_the_next_tick_other_shapes_may_be_the_short_ones(serve: Serve) -> None:
    engine = FakeEngine(run_ns=lambda: 0)
    model = serve(engine)
    await answered(model, request(1))
    await answered(model, request(2, 3, width=2))
    sent = [request(4, 5, width=2), request(6, 7, width=2)]
    for each in sent:
        model.pool.add(each)
    await asyncio.sleep(0)
    assert_answered(*sent)
    assert (engine.runs[-1].values, engine.runs[-1].on_thread) == ([4, 5, 6, 7], False)


async def test_a_request_that_is_given_up_in_a_tick_is_never_run(serve: Serve) -> None:
    engine = FakeEngine(run_ns=lambda: 0)
    model = serve(engine)
    first, given_up, staying = requests(3)
    await answered(model, first)
    model.pool.add(given_up)
    model.pool.add(staying)
    give_up(model, given_up)
    assert model.pool.waiting == 1
    await replies(staying)
    assert given_up.replies == []
    assert [run.values for run in engine.runs] == [[1], [3]]


async def test_a_tick_that_everybody_has_left_runs_nothing_and_the_next_one_is_as_usual(serve: Serve) -> None:
    engine = FakeEngine(run_ns=lambda: 0)
    model = serve(engine, options(contexts=1, buffers=1))
    first, given_up, after, late = requests(4)
    await answered(model, first)
    model.pool.add(given_up)
    give_up(model, given_up)
    assert model.pool.waiting == 0
    model.pool.add(after)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    model.pool.add(late)
    await asyncio.sleep(0)
    assert_answered(after, late)
    assert [(run.values, run.on_thread) for run in engine.runs] == [([1], True), ([3], False), ([4], False)]


async def test_a_caller_who_leaves_because_another_is_answered_is_not_run(serve: Serve) -> None:
    """An answer can show the transport that a connection, with all other calls on it, has ended."""
    engine = FakeEngine(max_batch_size=1, run_ns=lambda: 0)
    model = serve(engine)
    first, answering, leaving, staying = requests(4)
    await answered(model, first)
    answering.on_reply = lambda: give_up(model, leaving)
    for each in (answering, leaving, staying):
        model.pool.add(each)
    await asyncio.sleep(0)
    assert_answered(answering, staying)
    assert leaving.replies == []
    assert [run.values for run in engine.runs] == [[1], [2], [4]]


async def test_the_bound_of_the_queue_counts_the_tick_as_well(serve: Serve) -> None:
    model = serve(FakeEngine(run_ns=lambda: 0), options(queue=2))
    first, *tick, refused = requests(4)
    await answered(model, first)
    for each in tick:
        model.pool.add(each)
    with pytest.raises(QueueFullError, match="2 requests are waiting"):
        model.pool.add(refused)
    await asyncio.sleep(0)
    model.pool.add(refused)
    await replies(refused)
    assert_answered(first, *tick, refused)


async def test_the_tick_and_what_waits_for_threads_are_counted_together(serve: Serve, gate: Gate) -> None:
    def wait_if_wide(rows: Array) -> None:
        if rows.shape[1] > 1:
            gate.pass_through(rows)

    model = serve(FakeEngine(run_ns=lambda: 0, on_run=wait_if_wide), options(queue=2))
    await answered(model, request(1))
    running, waiting = (request(number, number, width=2) for number in (2, 3))
    model.pool.add(running)
    gate.wait_for_runs(1)
    model.pool.add(waiting)
    on_loop = request(4)
    model.pool.add(on_loop)
    assert model.pool.waiting == 2
    for refused in (request(5), request(6, 7, width=2)):
        with pytest.raises(QueueFullError):
            model.pool.add(refused)
    await asyncio.sleep(0)
    assert_answered(on_loop)
    assert model.pool.waiting == 1
    gate.open()
    await replies(running, waiting)


async def test_a_full_queue_in_a_tick_still_finds_room_with_the_threads(serve: Serve, gate: Gate) -> None:
    """What goes from the tick to the threads has been counted already, and is never refused."""
    engine = FakeEngine(run_ns=lambda: 0, on_run=lambda rows: gate.pass_through(rows) if rows.shape[1] > 1 else None)
    model = serve(engine, options(contexts=1, buffers=1, queue=3))
    await answered(model, request(1))
    wide = request(2, 3, width=2)
    model.pool.add(wide)
    gate.wait_for_runs(1)
    sent = requests(3)
    for each in sent:
        model.pool.add(each)
    await asyncio.sleep(0)
    assert model.pool.waiting == 3
    gate.open()
    await replies(wide, *sent)
    assert_answered(wide, *sent)


async def test_a_tick_that_cannot_be_recorded_gives_its_context_back_and_goes_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    engine = FakeEngine(max_batch_size=1, run_ns=lambda: 0)
    model = serve(engine, options(contexts=1, buffers=1))
    first, broken, after = requests(3)
    await answered(model, first)
    record = model.pool._record

    def fail_on_two(*values: Any) -> None:
        if broken in values[6]:
            raise ZeroDivisionError
        record(*values)

    monkeypatch.setattr(model.pool, "_record", fail_on_two)
    model.pool.add(broken)
    model.pool.add(after)
    await replies(after)
    await answered(model, request(4))
    assert [type(problem["exception"]) for problem in problems] == [ZeroDivisionError]
    assert [run.values for run in engine.runs] == [[1], [2], [3], [4]]
