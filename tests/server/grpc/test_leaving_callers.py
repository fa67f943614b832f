"""ModelInfer for callers who leave, whichever way their requests are read."""

import asyncio

import grpc
import pytest

from server.fake_engine import FakeEngine, Gate, Serve, options
from server.fake_raw_call import Served, infer, numbers
from server.fake_requests import idle
from yais.engines import Array

DAY_NS = 86_400 * 10**9


@pytest.mark.parametrize("is_running", [True, False])
async def test_a_cancelled_request_is_taken_back_and_counted(
    serve: Serve, gate: Gate, by_template: bool, is_running: bool
) -> None:
    engine = FakeEngine(max_batch_size=1, on_run=gate.pass_through)
    served = Served(serve(engine), by_template)
    running, waiting = served.send(infer(1)), served.send(infer(2))
    gate.wait_for_runs(1)
    cancelled, other = (running, waiting) if is_running else (waiting, running)
    cancelled.leave()
    assert served.failures == {"CANCELED": 1}
    assert served.model.pool.waiting == (1 if is_running else 0)
    assert served.admission.in_flight == 1
    gate.open()
    assert numbers(await other.response()) == ([5] if is_running else [3])
    await idle(served.model)
    assert cancelled.outcomes == []
    assert len(engine.runs) == (2 if is_running else 1)
    assert served.admission.in_flight == 0
    assert served.model.recorder.read().successes == 1


async def test_a_call_that_ended_otherwise_is_not_answered_and_counted_once(
    serve: Serve, gate: Gate, by_template: bool
) -> None:
    """The transport ends calls past their deadline itself, and tells the listener only when the stream is gone."""
    served = Served(serve(FakeEngine(max_batch_size=1, on_run=gate.pass_through)), by_template)
    running, other = served.send(infer(1)), served.send(infer(2))
    gate.wait_for_runs(1)
    running.fail(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    gate.open()
    assert numbers(await other.response()) == [5]
    await idle(served.model)
    assert served.admission.in_flight == 1
    running.leave()
    assert len(running.outcomes) == 1
    assert served.failures == {"CANCELED": 1}
    assert served.admission.in_flight == 0


async def test_an_answered_call_is_not_counted_again_when_its_stream_ends(serve: Serve, by_template: bool) -> None:
    served = Served(serve(FakeEngine()), by_template)
    call = served.send(infer(1))
    assert numbers(await call.response()) == [3]
    call.leave()
    assert served.failures == {}
    assert served.admission.in_flight == 0


@pytest.mark.parametrize("is_refused", [False, True], ids=["answered", "refused"])
async def test_a_caller_who_leaves_just_as_the_batch_comes_back_takes_no_one_along(
    serve: Serve, gate: Gate, by_template: bool, is_refused: bool
) -> None:
    """A call of grpcio's is over at once, and its listener hears of it only in a later tick of the loop."""

    def run(rows: Array) -> None:
        gate.pass_through(rows)
        if is_refused:
            raise ZeroDivisionError

    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    served = Served(serve(FakeEngine(max_batch_size=2, on_run=run), options(delay=DAY_NS)), by_template)
    leaving, staying = served.send(infer(1)), served.send(infer(2))
    gate.wait_for_runs(1)
    leaving.has_left = True
    gate.open()
    outcome = await staying.outcome()
    assert isinstance(outcome, bytes) != is_refused
    leaving.leave()
    assert leaving.outcomes == []
    assert served.failures == ({"BACKEND": 1, "CANCELED": 1} if is_refused else {"CANCELED": 1})
    assert served.admission.in_flight == 0
    assert problems == []


@pytest.mark.usefixtures("still_clock")
async def test_a_caller_who_leaves_before_a_run_on_the_loop_takes_no_one_along(serve: Serve, by_template: bool) -> None:
    engine = FakeEngine(run_ns=lambda: 0)
    served = Served(serve(engine), by_template)
    await served.response(infer(1))
    await idle(served.model)
    leaving, over, staying = (served.send(infer(number)) for number in (2, 3, 4))
    leaving.leave()
    over.has_left = True
    assert numbers(await staying.response()) == [9]
    assert engine.runs[-1].values == [3, 4]
    assert leaving.outcomes == over.outcomes == []
    over.leave()
    assert served.failures == {"CANCELED": 2}
    assert served.admission.in_flight == 0


async def test_a_request_that_expired_while_its_caller_left_is_counted_as_cancelled(
    serve: Serve, gate: Gate, by_template: bool
) -> None:
    served = Served(serve(FakeEngine(max_batch_size=1, on_run=gate.pass_through)), by_template)
    running, late, after = served.send(infer(1)), served.send(infer(2), deadline=1e-9), served.send(infer(3))
    gate.wait_for_runs(1)
    late.has_left = True
    gate.open()
    assert [numbers(await call.response()) for call in (running, after)] == [[3], [7]]
    late.leave()
    assert late.outcomes == []
    assert served.failures == {"CANCELED": 1}
    assert served.admission.in_flight == 0
