import asyncio
import logging
import threading
from collections.abc import Callable
from time import monotonic_ns
from typing import Any

import pytest

from server.fake_engine import FakeEngine, Gate, Serve, options, refuse_negative_rows
from server.fake_requests import FakeRequest, answered, assert_answered, give_up, idle, replies, request, requests
from yais.engines import Array, InvalidInputError
from yais.server.errors import EngineFailureError, InvalidRequestError, ServiceError
from yais.server.metrics.recorder import InferenceRecorder
from yais.server.models.batching import Batcher
from yais.server.models.model import Model
from yais.server.models.pool import Pool

UNEXPECTED = "The engine failed unexpectedly; see the server's log"


def break_on(number: int, error: Exception) -> Callable[[Array], None]:
    """Raises `error` in a run that has `number` among its rows."""

    def on_run(rows: Array) -> None:
        if number in rows:
            raise error

    return on_run


def refusal(refused: FakeRequest) -> ServiceError:
    (reply,) = refused.replies
    assert isinstance(reply, ServiceError)
    return reply


async def one_batch(serve: Serve, engine: FakeEngine, *sent: FakeRequest) -> None:
    """Sends requests that fill a batch together."""
    assert sum(each.rows for each in sent) == engine.max_batch_size
    model = serve(engine, options(delay=10**15))
    for each in sent:
        model.pool.add(each)
    await replies(*sent)


async def test_one_bad_request_fails_alone(serve: Serve) -> None:
    engine = FakeEngine(max_batch_size=4, on_run=refuse_negative_rows)
    good, bad, other = request(1, 2), request(-3), request(4)
    await one_batch(serve, engine, good, bad, other)
    assert_answered(good, other)
    assert isinstance(refusal(bad), EngineFailureError)
    assert str(refusal(bad)) == "a row is negative"
    assert [run.values for run in engine.runs] == [[1, 2, -3, 4], [1, 2], [-3], [4]]


async def test_an_error_that_is_the_requests_own_fault_is_invalid_argument(serve: Serve) -> None:
    engine = FakeEngine(max_batch_size=2, on_run=break_on(7, InvalidInputError("input 'X' is 7")))
    good, bad = request(1), request(7)
    await one_batch(serve, engine, good, bad)
    assert_answered(good)
    assert isinstance(refusal(bad), InvalidRequestError)
    assert str(refusal(bad)) == "input 'X' is 7"


async def test_a_lone_request_that_fails_is_not_run_again(serve: Serve) -> None:
    engine = FakeEngine(on_run=refuse_negative_rows)
    model = serve(engine)
    bad = request(-1)
    model.pool.add(bad)
    await replies(bad)
    assert isinstance(refusal(bad), EngineFailureError)
    assert len(engine.runs) == 1


async def test_a_thread_survives_an_unexpected_exception(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine(on_run=break_on(1, ZeroDivisionError("of the engine")))
    model = serve(engine, options(contexts=1, buffers=1))
    for _ in range(3):
        broken, after = request(1), request(2)
        model.pool.add(broken)
        await replies(broken)
        assert isinstance(refusal(broken), EngineFailureError)
        assert str(refusal(broken)) == UNEXPECTED
        model.pool.add(after)
        await replies(after)
        assert_answered(after)
    assert "ZeroDivisionError: of the engine" in caplog.text
    assert [record.message for record in caplog.records] == ["A batch of 1 request(s) failed"] * 3


@pytest.mark.usefixtures("still_clock")
async def test_the_loop_survives_an_unexpected_exception(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine(run_ns=lambda: 0, on_run=break_on(2, ZeroDivisionError("of the engine")))
    model = serve(engine, options(contexts=1, buffers=1))
    sent = requests(3)
    for each in sent:
        model.pool.add(each)
        await replies(each)
        await idle(model)
    assert_answered(sent[0], sent[2])
    assert str(refusal(sent[1])) == UNEXPECTED
    # What goes wrong in the short way is run again with care.
    assert [(run.values, run.on_thread) for run in engine.runs] == [
        ([1], True),
        ([2], False),
        ([2], False),
        ([3], False),
    ]
    assert caplog.record_tuples[0][1] == logging.ERROR


@pytest.mark.usefixtures("still_clock")
async def test_one_bad_request_fails_alone_on_the_loop_too(serve: Serve) -> None:
    engine = FakeEngine(run_ns=lambda: 0, on_run=refuse_negative_rows)
    model = serve(engine)
    first, good, bad, other = request(1), request(2), request(-3), request(4)
    await answered(model, first)
    for each in (good, bad, other):
        model.pool.add(each)
    await replies(good, bad, other)
    assert_answered(first, good, other)
    assert isinstance(refusal(bad), EngineFailureError)
    assert [run.on_thread for run in engine.runs] == [True, *[False] * 5]


async def test_failing_runs_that_take_long_stay_off_the_loop(serve: Serve) -> None:
    def fail_slowly(rows: Array) -> None:
        started = monotonic_ns()
        while monotonic_ns() - started < 2_000_000:
            pass
        refuse_negative_rows(rows)

    engine = FakeEngine(on_run=fail_slowly)
    model = serve(engine)
    for number in (-1, -2, -3):
        bad = request(number)
        model.pool.add(bad)
        await replies(bad)
    assert all(run.on_thread for run in engine.runs)


async def test_a_request_that_was_cancelled_is_not_told_that_its_batch_failed(serve: Serve, gate: Gate) -> None:
    def fail(rows: Array) -> None:
        gate.pass_through(rows)
        refuse_negative_rows(rows)

    engine = FakeEngine(max_batch_size=2, on_run=fail)
    model = serve(engine, options(delay=10**15))
    cancelled, company = request(-1), request(-2)
    model.pool.add(cancelled)
    model.pool.add(company)
    gate.wait_for_runs(1)
    give_up(model, cancelled)
    gate.open()
    await replies(company)
    assert cancelled.replies == []


async def test_a_context_is_free_again_although_taking_its_outputs_failed() -> None:
    loop = asyncio.get_running_loop()
    problems: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, problem: problems.append(problem))
    finished = asyncio.Event()
    broken = request(1)

    class BrokenRecorder(InferenceRecorder):
        def record(self, *values: Any, **others: Any) -> None:
            if broken in values[6]:
                raise ZeroDivisionError
            finished.set()

    context = FakeEngine().create_context()
    pool = Pool("m", [context], threads=1, batcher=Batcher(8, 8), recorder=BrokenRecorder("m", "1"), loop=loop)
    pool.start()
    try:
        pool.add(broken)
        pool.add(request(2, 3, width=2))
        async with asyncio.timeout(30):
            await finished.wait()
    finally:
        pool.close()
    assert [type(problem["exception"]) for problem in problems] == [ZeroDivisionError]


async def test_closing_lets_runs_finish_and_leaves_what_waits(
    serve: Serve, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    join = threading.Thread.join

    def open_and_join(thread: threading.Thread, timeout: float | None = None) -> None:
        gate.open()
        join(thread, timeout)

    engine = FakeEngine(max_batch_size=1, on_run=gate.pass_through)
    model = serve(engine)
    running, *waiting = requests(3)
    for each in (running, *waiting):
        model.pool.add(each)
    gate.wait_for_runs(1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "join", open_and_join)
        model.pool.close()
    await replies(running)
    assert_answered(running)
    assert [run.values for run in engine.runs] == [[1]]
    assert model.pool.waiting == 2
    assert not any(each.replies for each in waiting)


@pytest.mark.usefixtures("still_clock")
async def test_after_closing_nothing_is_run_on_the_loop_either(serve: Serve) -> None:
    engine = FakeEngine(run_ns=lambda: 0)
    model = serve(engine)
    first, waiting = request(1), request(2)
    await answered(model, first)
    model.pool.add(waiting)
    model.pool.close()
    await asyncio.sleep(0)
    assert [run.values for run in engine.runs] == [[1]]
    assert model.pool.waiting == 1


async def test_closing_waits_no_longer_than_it_is_told_and_says_whether_all_has_ended(serve: Serve, gate: Gate) -> None:
    model = serve(FakeEngine(on_run=gate.pass_through), options(contexts=2))
    model.pool.add(request(1))
    gate.wait_for_runs(1)
    assert not model.pool.close(patience=0)
    gate.open()
    assert model.pool.close(patience=30)
    assert model.pool.close()


@pytest.mark.parametrize("contexts", [1, 2, 5])
async def test_closing_ends_every_thread_and_can_be_done_twice(serve: Serve, contexts: int) -> None:
    before = threading.active_count()
    model = serve(FakeEngine(), options(contexts))
    assert threading.active_count() == before + contexts
    model.pool.close()
    model.pool.close()
    assert threading.active_count() == before


def test_a_run_that_outlasts_the_loop_ends_quietly() -> None:
    gate = Gate()

    async def leave_running() -> None:
        model = Model("left", FakeEngine(on_run=gate.pass_through), options(), asyncio.get_running_loop())
        model.pool.start()
        model.pool.add(request(1))
        gate.wait_for_runs(1)
        model.pool.close(patience=0)

    asyncio.run(leave_running())
    (thread,) = [each for each in threading.enumerate() if each.name == "left-0"]
    gate.open()
    thread.join(30)
    assert not thread.is_alive()
