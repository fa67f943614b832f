import asyncio
import math

import numpy as np
import pytest
from fake_engine import FakeEngine, Gate, Serve, options

from yais.proto.grpc_service_pb2 import ModelInferRequest
from yais.server.errors import ExpiredError, InvalidRequestError
from yais.server.model import Model
from yais.server.services.call import InferCall, deadline_after

SECOND = 10**9


@pytest.mark.parametrize(
    ("remaining", "deadline"),
    [
        (None, None),
        (math.inf, None),
        (math.nan, None),
        (9.3e9, None),
        (2.5, 7 * SECOND + 5 * SECOND // 2),
        (0.0, 7 * SECOND),
        (-1.0, 6 * SECOND),
        (1e-9, 7 * SECOND + 1),
        (86_400.0, 86_407 * SECOND),
    ],
)
def test_a_deadline_is_counted_from_the_arrival(remaining: float | None, deadline: int | None) -> None:
    assert deadline_after(7 * SECOND, remaining) == deadline


def message(*numbers: int, request_id: str = "") -> ModelInferRequest:
    sent = ModelInferRequest(model_name="m", id=request_id, raw_input_contents=[np.array(numbers, "<i8").tobytes()])
    sent.inputs.add(name="X", datatype="INT64", shape=[len(numbers), 1])
    return sent


def call(model: Model, *numbers: int, deadline: int | None = None) -> InferCall:
    return InferCall(message(*numbers, request_id="r7"), model, 5, deadline)


async def test_a_call_is_answered_with_its_own_rows_and_id(serve: Serve) -> None:
    model = serve(FakeEngine())
    waiting = call(model, 1, 2)
    model.submit(waiting)
    async with asyncio.timeout(30):
        response = await waiting.reply
    assert (response.model_name, response.model_version, response.id) == ("m", "1", "r7")
    assert response.raw_output_contents == [np.array([3, 5], "<i8").tobytes()]
    assert (waiting.arrived, waiting.rows, waiting.shapes) == (5, 2, ((1,),))


async def test_a_call_that_expired_is_refused(serve: Serve) -> None:
    model = serve(FakeEngine())
    late = call(model, 1, deadline=1)
    model.submit(late)
    async with asyncio.timeout(30):
        with pytest.raises(ExpiredError, match=r"^Request timeout expired$"):
            await late.reply


async def test_a_message_that_breaks_a_rule_makes_no_call(serve: Serve) -> None:
    with pytest.raises(InvalidRequestError, match=r"^\[request id: r7\] inference request batch-size"):
        call(serve(FakeEngine()), *range(9))


@pytest.mark.parametrize("is_refused", [False, True], ids=["answered", "refused"])
async def test_a_caller_who_leaves_just_as_the_batch_comes_back_takes_no_one_along(
    serve: Serve, gate: Gate, is_refused: bool
) -> None:
    """A cancelled task cancels the future that it awaits at once, but runs its own handling only in a later turn."""

    def run(rows: np.ndarray) -> None:
        gate.pass_through(rows)
        if is_refused:
            raise ZeroDivisionError

    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    model = serve(FakeEngine(max_batch_size=2, on_run=run), options(delay=10**15))
    leaving, staying = call(model, 1), call(model, 2)
    model.submit(leaving)
    model.submit(staying)
    gate.wait_for_runs(1)
    leaving.reply.cancel()
    gate.open()
    await asyncio.wait([staying.reply], timeout=2)
    assert staying.reply.done()
    assert (staying.reply.exception() is not None) == is_refused
    assert problems == []


@pytest.mark.usefixtures("still_clock")
async def test_a_caller_who_leaves_before_a_run_on_the_loop_takes_no_one_along(serve: Serve) -> None:
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    model = serve(FakeEngine(run_ns=lambda: 0))
    first, leaving, staying = call(model, 1), call(model, 2), call(model, 3)
    model.submit(first)
    async with asyncio.timeout(30):
        await first.reply
    model.submit(leaving)
    model.submit(staying)
    leaving.reply.cancel()
    await asyncio.wait([staying.reply], timeout=2)
    assert staying.reply.done()
    assert problems == []
