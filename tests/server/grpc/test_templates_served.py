"""Requests of known and of unknown templates, from the bytes to the answer."""

from typing import Any

import numpy as np

from server.fake_raw_call import FakeRawCall
from server.inline_model import Echo, InlineModel, echo
from server.known_templates import PAIR, request, rows
from server.specs import spec
from yais.proto.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from yais.server.grpc.infer import InferMethod
from yais.server.grpc.templates import WireRequest
from yais.server.models.admission import Admission
from yais.server.models.registry import Registry


def service(engine: Echo) -> tuple[InferMethod, InlineModel]:
    model = InlineModel(engine)
    registry = Registry()
    registry.add(model)
    method = InferMethod(registry, Admission())
    method.cache_templates()
    return method, model


def outcome(method: InferMethod, model: InlineModel, sent: ModelInferRequest) -> tuple[bool, Any]:
    """Whether the template of `sent` was known, and what came of it."""
    call = FakeRawCall()
    method(call, memoryview(sent.SerializeToString()))
    was_known = isinstance(call.listener, WireRequest)
    model.run()
    (outcome,) = call.outcomes
    return was_known, outcome


def test_a_service_parses_a_request_only_the_first_time() -> None:
    method, model = service(PAIR)
    sent = request(rows(3), np.ones((3, 2), np.int32), request_id="r7")
    known, first = outcome(method, model, sent)
    known_again, second = outcome(method, model, sent)
    assert (known, known_again) == (False, True)
    assert ModelInferResponse.FromString(first) == ModelInferResponse.FromString(second)
    assert ModelInferResponse.FromString(second).raw_output_contents == sent.raw_input_contents


def test_a_request_that_was_refused_is_refused_again_and_has_no_template() -> None:
    method, model = service(PAIR)
    bad = request(rows(3), np.ones((3, 2), np.float32))
    outcomes = [outcome(method, model, bad) for _ in range(3)]
    assert [was_known for was_known, _ in outcomes] == [False] * 3
    assert len({told for _, told in outcomes}) == 1


def test_a_template_that_is_known_lets_no_other_request_through() -> None:
    method, model = service(PAIR)
    left, right = rows(1), np.ones((1, 5), np.int32)
    for _ in range(2):
        for good in (request(left, right), request(right, left, names="BA")):
            assert isinstance(outcome(method, model, good)[1], bytes)
            for surplus in (-1, 1):
                bad = ModelInferRequest.FromString(good.SerializeToString())
                bad.raw_input_contents[1] = bytes(len(bad.raw_input_contents[1]) + surplus)
                assert "byte size mismatch" in outcome(method, model, bad)[1][1]
        typed = request(left, right)
        typed.inputs[0].contents.fp32_contents.extend([1, 2])
        assert "contents field must not be specified" in outcome(method, model, typed)[1][1]


def test_two_models_have_templates_of_their_own() -> None:
    models = [InlineModel(echo([spec("A", "FP32", 2)], count, 4)) for count in (1, 2)]
    registry = Registry()
    for name, model in zip("mn", models, strict=True):
        model.name = model.signature.model = name
        registry.add(model)
    method = InferMethod(registry, Admission())
    method.cache_templates()
    for _ in range(2):
        for name, model in zip("mn", models, strict=True):
            sent = request(rows(1))
            sent.model_name = name
            response = ModelInferResponse.FromString(outcome(method, model, sent)[1])
            assert (response.model_name, len(response.outputs)) == (name, 1 if name == "m" else 2)
