import asyncio
import threading
from time import monotonic_ns

import pytest

from server.fake_engine import LONG_NS, FakeEngine, Gate, Serve, options
from server.fake_requests import answered, assert_answered, give_up, idle, replies, request, requests
from yais.server.errors import ExpiredError, QueueFullError

DAY_NS = 86_400 * 10**9


@pytest.mark.parametrize("buffers_beyond", [0, 2])
@pytest.mark.parametrize("contexts", [1, 2, 5])
async def test_as_many_batches_run_at_once_as_there_are_contexts(
    serve: Serve, gate: Gate, contexts: int, buffers_beyond: int
) -> None:
    engine = FakeEngine(max_batch_size=1, on_run=gate.pass_through)
    model = serve(engine, options(contexts, contexts + buffers_beyond))
    sent = requests(4 * contexts)
    for each in sent:
        model.pool.add(each)
    gate.wait_for_runs(contexts)
    assert model.pool.waiting == 3 * contexts
    gate.open()
    await replies(*sent)
    assert_answered(*sent)
    assert gate.most == contexts
    assert len(engine.contexts) == contexts + buffers_beyond
    assert engine.overlaps == 0


async def test_a_context_that_becomes_free_takes_all_that_waits(serve: Serve, gate: Gate) -> None:
    engine = FakeEngine(on_run=gate.pass_through)
    model = serve(engine)
    sent = requests(11)
    model.pool.add(sent[0])
    gate.wait_for_runs(1)
    for each in sent[1:]:
        model.pool.add(each)
    gate.open()
    await replies(*sent)
    assert_answered(*sent)
    assert [run.values for run in engine.runs] == [[1], [2, 3, 4, 5, 6, 7, 8, 9], [10, 11]]


async def test_a_thread_goes_on_without_the_loop_for_as_many_batches_as_there_are_buffers(serve: Serve) -> None:
    finished = threading.Semaphore(0)
    engine = FakeEngine(max_batch_size=1, on_run=lambda rows: finished.release())
    model = serve(engine, options(contexts=1, buffers=3))
    sent = requests(10)
    for each in sent:
        model.pool.add(each)
    assert all(finished.acquire(timeout=30) for _ in range(3))
    assert not finished.acquire(timeout=0.02)
    assert not any(each.replies for each in sent)
    await replies(*sent)
    assert_answered(*sent)


async def test_a_full_queue_refuses_at_once_and_takes_again_later(serve: Serve, gate: Gate) -> None:
    model = serve(FakeEngine(max_batch_size=1, on_run=gate.pass_through), options(queue=2))
    running, *waiting = requests(3)
    model.pool.add(running)
    gate.wait_for_runs(1)
    for each in waiting:
        model.pool.add(each)
    refused = request(4)
    with pytest.raises(QueueFullError):
        model.pool.add(refused)
    gate.open()
    await replies(running, *waiting)
    model.pool.add(refused)
    await replies(refused)
    assert_answered(running, *waiting, refused)


async def test_a_lone_request_is_run_when_its_delay_is_over(serve: Serve) -> None:
    model = serve(FakeEngine(), options(delay=1_000_000))
    lone = request(1)
    submitted = monotonic_ns()
    model.pool.add(lone)
    await replies(lone)
    assert monotonic_ns() - submitted >= 1_000_000
    assert_answered(lone)


async def test_a_full_batch_does_not_wait_for_its_delay(serve: Serve) -> None:
    engine = FakeEngine(max_batch_size=4)
    model = serve(engine, options(delay=DAY_NS))
    sent = [request(1, 2), request(3), request(4)]
    for each in sent:
        model.pool.add(each)
    await replies(*sent)
    assert_answered(*sent)
    assert [run.values for run in engine.runs] == [[1, 2, 3, 4]]


async def test_a_request_that_is_cancelled_in_the_queue_is_never_run(serve: Serve, gate: Gate) -> None:
    engine = FakeEngine(on_run=gate.pass_through)
    model = serve(engine)
    running, cancelled, waiting = requests(3)
    model.pool.add(running)
    gate.wait_for_runs(1)
    model.pool.add(cancelled)
    model.pool.add(waiting)
    give_up(model, cancelled)
    assert model.pool.waiting == 1
    gate.open()
    await replies(running, waiting)
    assert cancelled.replies == []
    assert [run.values for run in engine.runs] == [[1], [3]]


async def test_a_request_that_is_cancelled_while_it_runs_gets_no_reply_and_its_company_does(
    serve: Serve, gate: Gate
) -> None:
    engine = FakeEngine(on_run=gate.pass_through)
    model = serve(engine, options(delay=DAY_NS))
    cancelled, company = request(1, 2, 3, 4), request(5, 6, 7, 8)
    model.pool.add(cancelled)
    model.pool.add(company)
    gate.wait_for_runs(1)
    give_up(model, cancelled)
    gate.open()
    await replies(company)
    assert cancelled.replies == []
    assert_answered(company)
    assert model.recorder.read().successes == 1
    assert model.recorder.batches[8].count == 1


async def test_a_request_whose_deadline_passes_in_the_queue_is_refused_and_never_run(serve: Serve, gate: Gate) -> None:
    engine = FakeEngine(max_batch_size=1, on_run=gate.pass_through)
    model = serve(engine)
    running, late, waiting = request(1), request(2, deadline=monotonic_ns()), request(3, deadline=2**62)
    model.pool.add(running)
    gate.wait_for_runs(1)
    model.pool.add(late)
    model.pool.add(waiting)
    gate.open()
    await replies(running, late, waiting)
    assert_answered(running, waiting)
    assert isinstance(late.replies[0], ExpiredError)
    assert [run.values for run in engine.runs] == [[1], [3]]


async def test_an_expired_request_that_was_cancelled_gets_no_reply(serve: Serve, gate: Gate) -> None:
    """The queue may have given it up as expired before the cancellation came."""
    model = serve(FakeEngine())
    late = request(1, deadline=1)
    late.cancelled = True
    after = request(2)
    model.pool.add(late)
    model.pool.add(after)
    await replies(after)
    assert late.replies == []


@pytest.mark.usefixtures("still_clock")
@pytest.mark.parametrize("run_ns", [0, LONG_NS], ids=["loop", "thread"])
async def test_when_all_that_waits_has_expired_nothing_is_run(
    serve: Serve, caplog: pytest.LogCaptureFixture, run_ns: int
) -> None:
    engine = FakeEngine(run_ns=lambda: run_ns)
    model = serve(engine, options(contexts=1, buffers=1))
    for number in (1, 2):
        late, after = request(9, deadline=0), request(number)
        model.pool.add(late)
        await replies(late)
        model.pool.add(after)
        await replies(after)
        assert isinstance(late.replies[0], ExpiredError)
        assert_answered(after)
    assert [run.values for run in engine.runs] == [[1], [2]]
    assert caplog.records == []


@pytest.mark.usefixtures("still_clock")
async def test_a_delay_leaves_short_runs_to_the_threads_too(serve: Serve) -> None:
    engine = FakeEngine(max_batch_size=4, run_ns=lambda: 0)
    model = serve(engine, options(delay=DAY_NS))
    full, lone, company = request(1, 2, 3, 4), request(5), request(6, 7, 8)
    await answered(model, full)
    model.pool.add(lone)
    await asyncio.sleep(0)
    await idle(model)
    assert not lone.replies
    model.pool.add(company)
    await replies(lone, company)
    assert_answered(full, lone, company)
    assert [(run.values, run.on_thread) for run in engine.runs] == [([1, 2, 3, 4], True), ([5, 6, 7, 8], True)]
