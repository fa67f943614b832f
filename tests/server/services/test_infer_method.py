"""ModelInfer behind a call of no transport, with requests that are parsed and with such as are known by their form."""

import asyncio
from time import monotonic

import grpc
import numpy as np
import pytest
from fake_engine import FakeEngine, Gate, Serve, fixed, options, refuse_negative_rows
from fake_raw_call import FakeRawCall, Served
from fake_requests import idle

from yais.engines import Array
from yais.proto.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from yais.server.model import Model

DAY_NS = 86_400 * 10**9


@pytest.fixture(params=[False, True], ids=["parsed", "by form"])
def by_form(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
async def served(serve: Serve, by_form: bool) -> Served:
    return Served(serve(FakeEngine(on_run=refuse_negative_rows)), by_form)


def infer(*numbers: int, model: str = "m", version: str = "", request_id: str = "r7") -> ModelInferRequest:
    raw = np.array(numbers, "<i8").tobytes()
    request = ModelInferRequest(model_name=model, model_version=version, id=request_id, raw_input_contents=[raw])
    request.inputs.add(name="X", datatype="INT64", shape=[len(numbers), 1])
    return request


def numbers(response: ModelInferResponse) -> list[int]:
    return np.frombuffer(response.raw_output_contents[0], "<i8").tolist()


@pytest.mark.parametrize("request_id", ["r7", "", "é", "x" * 500])
@pytest.mark.parametrize("version", ["", "1", "01", "+1"])
async def test_an_inference_is_answered_with_its_own_rows_and_id(
    serve: Serve, by_form: bool, version: str, request_id: str
) -> None:
    served = Served(serve(FakeEngine()), by_form and request_id.isascii())
    response = await served.response(infer(1, 2, version=version, request_id=request_id))
    assert (response.model_name, response.model_version, response.id) == ("m", "1", request_id)
    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("Y", "INT64", [2, 1])
    assert numbers(response) == [3, 5]
    assert served.failures == {}
    assert served.admission.in_flight == 0


async def test_a_visit_says_what_it_brings(serve: Serve, gate: Gate, by_form: bool) -> None:
    served = Served(serve(FakeEngine(on_run=gate.pass_through)), by_form)
    before = monotonic()
    call = served.send(infer(1, 2), deadline=before + 1000)
    visit = call.listener
    assert (visit.rows, visit.shapes, visit.model, visit.call) == (2, ((1,),), served.model, call)  # type: ignore[union-attr]
    assert before * 1e9 <= visit.arrived <= visit.queued <= monotonic() * 1e9  # type: ignore[union-attr]
    assert visit.deadline == pytest.approx((before + 1000) * 1e9)  # type: ignore[union-attr]
    assert visit.is_wanted  # type: ignore[union-attr]
    visit.changed()  # type: ignore[union-attr]
    gate.open()
    assert numbers(await call.response()) == [3, 5]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (infer(1, model="x"), "Request for unknown model: 'x' is not found"),
        (infer(1, version="2"), "Request for unknown model: 'm' version 2 is not found"),
    ],
    ids=["model", "version"],
)
async def test_an_unknown_model_or_version_is_not_found_and_not_counted(
    served: Served, request_: ModelInferRequest, text: str
) -> None:
    assert await served.send_bytes(request_.SerializeToString()).outcome() == (grpc.StatusCode.NOT_FOUND, text)
    assert served.failures == {}
    assert served.admission.in_flight == 0


@pytest.mark.parametrize("wire", [b"\x0a\x05x", b"\xff", b"\x0a\x01\xff"], ids=["cut", "no tag", "no UTF-8"])
async def test_what_is_no_message_is_internal_and_not_counted(served: Served, wire: bytes) -> None:
    assert await served.send_bytes(wire).outcome() == (grpc.StatusCode.INTERNAL, "Unable to parse request")
    assert served.failures == {}
    assert served.admission.in_flight == 0


async def test_a_request_that_breaks_a_rule_is_counted_as_other(served: Served) -> None:
    assert await served.refusal(infer(*range(9))) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "[request id: r7] inference request batch-size must be <= 8 for 'm'",
    )
    assert served.failures == {"OTHER": 1}
    assert served.admission.in_flight == 0


async def test_raw_contents_of_another_size_than_those_before_are_refused(served: Served) -> None:
    await served.response(infer(1, 2))
    for size in (0, 15, 17, 24):
        request = infer(1, 2)
        request.raw_input_contents[0] = bytes(size)
        assert await served.send_bytes(request.SerializeToString()).outcome() == (
            grpc.StatusCode.INVALID_ARGUMENT,
            f"[request id: r7] input byte size mismatch for input 'X' for model 'm'. Expected 16, got {size}",
        )
    assert served.failures == {"OTHER": 4}


async def test_a_text_that_no_status_can_carry_is_cut(served: Served) -> None:
    status, text = await served.send_bytes(infer(1, model="é" * 5000).SerializeToString()).outcome()
    assert status == grpc.StatusCode.NOT_FOUND
    assert len(str(text).encode()) in (2047, 2048)


async def test_a_request_on_which_the_engine_fails_is_internal_and_counted_as_backend(served: Served) -> None:
    assert await served.refusal(infer(-1)) == (grpc.StatusCode.INTERNAL, "a row is negative")
    assert served.failures == {"BACKEND": 1}
    assert served.admission.in_flight == 0


@pytest.mark.parametrize("deadline", [-1.0, 0.0, 1e-9])
async def test_a_request_past_its_deadline_is_rejected(served: Served, deadline: float) -> None:
    assert await served.refusal(infer(1), deadline) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "Request timeout expired",
    )
    assert served.failures == {"REJECTED": 1}
    assert served.admission.in_flight == 0


# The last is what the longest of gRPC's timeouts, 99999999H, comes to.
@pytest.mark.parametrize("deadline", [1e9, 9.3e9, 3.6e11])
async def test_a_deadline_may_be_centuries_away(served: Served, deadline: float) -> None:
    assert numbers(await served.send(infer(1), monotonic() + deadline).response()) == [3]


async def test_a_full_queue_rejects(serve: Serve, gate: Gate, by_form: bool) -> None:
    engine = FakeEngine(max_batch_size=1, on_run=gate.pass_through)
    served = Served(serve(engine, options(queue=1)), by_form)
    running = served.send(infer(1))
    gate.wait_for_runs(1)
    waiting = served.send(infer(2))
    assert await served.refusal(infer(3)) == (
        grpc.StatusCode.UNAVAILABLE,
        "Exceeds maximum queue size: 1 requests are waiting (--max-queue-size)",
    )
    assert served.failures == {"REJECTED": 1}
    assert served.admission.in_flight == 2
    gate.open()
    assert [numbers(await call.response()) for call in (running, waiting)] == [[3], [5]]
    assert served.admission.in_flight == 0


async def test_a_draining_server_rejects_but_answers_what_it_accepted(serve: Serve, gate: Gate, by_form: bool) -> None:
    served = Served(serve(FakeEngine(on_run=gate.pass_through)), by_form)
    accepted = served.send(infer(1))
    gate.wait_for_runs(1)
    served.admission.close()
    for refused in (infer(2), infer(*range(9))):
        assert await served.refusal(refused) == (
            grpc.StatusCode.UNAVAILABLE,
            "GRPC server is shutting down and has stopped accepting new requests.",
        )
    assert served.failures == {"REJECTED": 2}
    assert served.admission.in_flight == 1
    gate.open()
    assert numbers(await accepted.response()) == [3]
    await served.admission.wait_empty()


@pytest.mark.parametrize("is_running", [True, False])
async def test_a_cancelled_request_is_taken_back_and_counted(
    serve: Serve, gate: Gate, by_form: bool, is_running: bool
) -> None:
    engine = FakeEngine(max_batch_size=1, on_run=gate.pass_through)
    served = Served(serve(engine), by_form)
    running, waiting = served.send(infer(1)), served.send(infer(2))
    gate.wait_for_runs(1)
    cancelled, other = (running, waiting) if is_running else (waiting, running)
    cancelled.leave()
    assert served.failures == {"CANCELED": 1}
    assert served.model.waiting == (1 if is_running else 0)
    assert served.admission.in_flight == 1
    gate.open()
    assert numbers(await other.response()) == ([5] if is_running else [3])
    await idle(served.model)
    assert cancelled.outcomes == []
    assert len(engine.runs) == (2 if is_running else 1)
    assert served.admission.in_flight == 0
    assert served.model.recorder.read().successes == 1


async def test_a_call_that_ended_otherwise_is_not_answered_and_counted_once(
    serve: Serve, gate: Gate, by_form: bool
) -> None:
    """The transport ends calls past their deadline itself, and tells the listener only when the stream is gone."""
    served = Served(serve(FakeEngine(max_batch_size=1, on_run=gate.pass_through)), by_form)
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


async def test_an_answered_call_is_not_counted_again_when_its_stream_ends(served: Served) -> None:
    call = served.send(infer(1))
    assert numbers(await call.response()) == [3]
    call.leave()
    assert served.failures == {}
    assert served.admission.in_flight == 0


@pytest.mark.parametrize("is_refused", [False, True], ids=["answered", "refused"])
async def test_a_caller_who_leaves_just_as_the_batch_comes_back_takes_no_one_along(
    serve: Serve, gate: Gate, by_form: bool, is_refused: bool
) -> None:
    """A call of grpcio's is over at once, and its listener hears of it only in a later turn of the loop."""

    def run(rows: Array) -> None:
        gate.pass_through(rows)
        if is_refused:
            raise ZeroDivisionError

    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    served = Served(serve(FakeEngine(max_batch_size=2, on_run=run), options(delay=DAY_NS)), by_form)
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
async def test_a_caller_who_leaves_before_a_run_on_the_loop_takes_no_one_along(serve: Serve, by_form: bool) -> None:
    engine = FakeEngine(run_ns=lambda: 0)
    served = Served(serve(engine), by_form)
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
    serve: Serve, gate: Gate, by_form: bool
) -> None:
    served = Served(serve(FakeEngine(max_batch_size=1, on_run=gate.pass_through)), by_form)
    running, late, after = served.send(infer(1)), served.send(infer(2), deadline=1e-9), served.send(infer(3))
    gate.wait_for_runs(1)
    late.has_left = True
    gate.open()
    assert [numbers(await call.response()) for call in (running, after)] == [[3], [7]]
    late.leave()
    assert late.outcomes == []
    assert served.failures == {"CANCELED": 1}
    assert served.admission.in_flight == 0


async def test_an_answer_that_cannot_be_sent_fails_alone_and_leaves_nothing_behind(
    serve: Serve, by_form: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(FakeRawCall):
        def respond(self, *buffers: bytes) -> None:
            raise ValueError("too large")

    served = Served(serve(FakeEngine(max_batch_size=2), options(delay=DAY_NS)), by_form)
    broken, request = Stubborn(), infer(1)
    if by_form:
        served.teach(request)
    served.method(broken, memoryview(request.SerializeToString()))
    company = served.send(infer(2))
    assert numbers(await company.response()) == [5]
    assert await broken.outcome() == (
        grpc.StatusCode.INTERNAL,
        "The result could not be encoded; the server's log tells more",
    )
    assert "ValueError: too large" in caplog.text
    assert served.failures == {"BACKEND": 1}
    assert served.admission.in_flight == 0


async def test_requests_of_one_batch_get_their_own_rows_whichever_way_they_came(serve: Serve) -> None:
    engine = FakeEngine(**fixed(1), max_batch_size=8)
    model = serve(engine, options(delay=DAY_NS))
    ways = [Served(model, by_form) for by_form in (True, False, True, False)]
    sent = [(1, 2), (3,), (4, 5, 6), (7, 8)]
    calls = [way.send(infer(*values)) for way, values in zip(ways, sent, strict=True)]
    answers = [numbers(await call.response()) for call in calls]
    assert answers == [[3, 5], [7], [9, 11, 13], [15, 17]]
    assert engine.runs[-1].values == [1, 2, 3, 4, 5, 6, 7, 8]
    assert not any(way.admission.in_flight for way in ways)


async def test_without_rows_a_request_gets_an_answer_without_rows(served: Served) -> None:
    response = await served.response(infer())
    assert list(response.outputs[0].shape) == [0, 1]
    assert response.raw_output_contents == [b""]


async def test_what_happens_is_recorded_alike(serve: Serve, by_form: bool) -> None:
    model: Model = serve(FakeEngine())
    served = Served(model, by_form)
    await served.response(infer(1, 2, 3))
    recorder = model.recorder.read()
    assert (recorder.successes, recorder.inference_count, recorder.execution_count) == (1, 3, 1)
    request, queue, *rest = recorder.duration_ns.tolist()
    assert 0 <= queue <= request
    assert all(each <= request for each in rest if each != 10_000_000)
