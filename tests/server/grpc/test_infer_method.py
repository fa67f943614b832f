"""ModelInfer behind a call of no transport, with requests that are parsed and with such as have a template."""

import sys
from time import monotonic
from typing import Any

import grpc
import pytest

from server.fake_engine import FakeEngine, Gate, Serve, fixed, options, refuse_negative_rows
from server.fake_raw_call import FakeRawCall, Served, infer, numbers
from yais.proto.grpc_service_pb2 import ModelInferRequest
from yais.server.models.model import Model

DAY_NS = 86_400 * 10**9


@pytest.fixture
async def served(serve: Serve, by_template: bool) -> Served:
    return Served(serve(FakeEngine(on_run=refuse_negative_rows)), by_template)


@pytest.mark.parametrize("request_id", ["r7", "", "é", "x" * 500])
@pytest.mark.parametrize("version", ["", "1", "01", "+1"])
async def test_an_inference_is_answered_with_its_own_rows_and_id(
    serve: Serve, by_template: bool, version: str, request_id: str
) -> None:
    served = Served(serve(FakeEngine()), by_template and request_id.isascii())
    response = await served.response(infer(1, 2, version=version, request_id=request_id))
    assert (response.model_name, response.model_version, response.id) == ("m", "1", request_id)
    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("Y", "INT64", [2, 1])
    assert numbers(response) == [3, 5]
    assert served.failures == {}
    assert served.admission.in_flight == 0


async def test_a_request_says_what_it_brings(serve: Serve, gate: Gate, by_template: bool) -> None:
    served = Served(serve(FakeEngine(on_run=gate.pass_through)), by_template)
    before = monotonic()
    call = served.send(infer(1, 2), deadline=before + 1000)
    request: Any = call.listener
    assert (request.rows, request.shapes, request.model, request.call) == (2, ((1,),), served.model, call)
    assert before * 1e9 <= request.arrived <= request.queued <= monotonic() * 1e9
    assert request.deadline == pytest.approx((before + 1000) * 1e9)
    assert request.is_wanted
    request.changed()
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


async def test_a_full_queue_rejects(serve: Serve, gate: Gate, by_template: bool) -> None:
    engine = FakeEngine(max_batch_size=1, on_run=gate.pass_through)
    served = Served(serve(engine, options(queue=1)), by_template)
    running = served.send(infer(1))
    gate.wait_for_runs(1)
    waiting = served.send(infer(2))
    refused = served.send(infer(3))
    assert await refused.outcome() == (
        grpc.StatusCode.UNAVAILABLE,
        "Exceeds maximum queue size: 1 requests are waiting (--max-queue-size)",
    )
    assert served.failures == {"REJECTED": 1}
    assert served.admission.in_flight == 2
    assert [call.is_held_back for call in (running, waiting, refused)] == [False, False, True]
    gate.open()
    assert [numbers(await call.response()) for call in (running, waiting)] == [[3], [5]]
    assert served.admission.in_flight == 0


async def test_only_a_full_queue_holds_a_client_back(served: Served) -> None:
    calls = [served.send(infer(-1)), served.send(infer(1), deadline=1e-9), served.send(infer(*range(9)))]
    calls.append(served.send_bytes(b"\xff"))
    served.admission.close()
    calls.append(served.send(infer(1)))
    for call in calls:
        assert isinstance(await call.outcome(), tuple)
        assert not call.is_held_back


async def test_a_draining_server_rejects_but_answers_what_it_accepted(
    serve: Serve, gate: Gate, by_template: bool
) -> None:
    served = Served(serve(FakeEngine(on_run=gate.pass_through)), by_template)
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


async def test_an_answer_that_cannot_be_sent_fails_alone_and_leaves_nothing_behind(
    serve: Serve, by_template: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(FakeRawCall):
        def respond(self, *buffers: bytes) -> None:
            raise ValueError("too large")

    served = Served(serve(FakeEngine(max_batch_size=2), options(delay=DAY_NS)), by_template)
    broken, request = Stubborn(), infer(1)
    if by_template:
        served.teach(request)
    served.method(broken, memoryview(request.SerializeToString()))
    company = served.send(infer(2))
    assert numbers(await company.response()) == [5]
    assert await broken.outcome() == (
        grpc.StatusCode.INTERNAL,
        "The result could not be encoded; see the server's log",
    )
    assert "ValueError: too large" in caplog.text
    assert served.failures == {"BACKEND": 1}
    assert served.admission.in_flight == 0


async def test_requests_of_one_batch_get_their_own_rows_whichever_way_they_came(serve: Serve) -> None:
    engine = FakeEngine(**fixed(1), max_batch_size=8)
    model = serve(engine, options(delay=DAY_NS))
    ways = [Served(model, by_template) for by_template in (True, False, True, False)]
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


async def test_what_happens_is_recorded_alike(serve: Serve, by_template: bool) -> None:
    model: Model = serve(FakeEngine())
    served = Served(model, by_template)
    await served.response(infer(1, 2, 3))
    recorder = model.recorder.read()
    assert (recorder.successes, recorder.inference_count, recorder.execution_count) == (1, 3, 1)
    request, queue, *rest = recorder.duration_ns.tolist()
    assert 0 <= queue <= request
    assert all(each <= request for each in rest if each != 10_000_000)


async def test_without_the_native_extension_there_are_no_templates_and_requests_are_parsed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(serve(FakeEngine()), by_template=False)
    monkeypatch.setitem(sys.modules, "yais.server.grpc.templates", None)
    with pytest.raises(ImportError):
        served.method.cache_templates()
    assert numbers(await served.response(infer(1))) == [3]
