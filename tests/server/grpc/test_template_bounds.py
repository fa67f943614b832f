"""How large a template may be, how many there may be, and what becomes of the others."""

import sys

import numpy as np
import pytest

from server.inline_model import echo
from server.known_templates import ONE, Kept, request, rows
from server.specs import spec
from yais.proto.grpc_service_pb2 import ModelInferRequest

MAX_FORMS = 1024
MAX_FORM_BYTES = 1024


@pytest.mark.parametrize(
    ("inputs", "outputs", "is_known"), [(16, 1, True), (17, 1, False), (1, 16, True), (1, 17, False)]
)
def test_a_template_has_16_tensors_at_most(inputs: int, outputs: int, is_known: bool) -> None:
    names = "ABCDEFGHIJKLMNOPQ"[:inputs]
    kept = Kept(echo([spec(name, "INT16", 1) for name in names], outputs, 2))
    sent = request(*[np.full((1, 1), number, np.int16) for number in range(inputs)], names=names)
    kept.insert(sent)
    call = kept.lookup(sent)
    assert (call is not None) == is_known
    if call is None:
        return
    buffers = {name: np.zeros((2, 1), np.int16) for name in names}
    call.fill(buffers, 1)
    assert [int(buffers[name][1, 0]) for name in names] == list(range(inputs))
    call.answer({f"O{i}": np.array([[0], [i]], np.int16) for i in range(outputs)}, 1)
    assert kept.ends.response.raw_output_contents == [np.int16(i).tobytes() for i in range(outputs)]


@pytest.mark.parametrize(("surplus", "is_known"), [(-1, True), (0, True), (1, False)])
def test_a_template_has_1024_bytes_at_most(surplus: int, is_known: bool) -> None:
    kept = Kept(ONE)
    sent = request(rows(1))
    sent.parameters["mine"].string_param = "x" * 500
    bare = request(rows(1))
    bare.ClearField("raw_input_contents")
    bare.parameters["mine"].string_param = "x" * 500
    sent.parameters["mine"].string_param = "x" * (500 + MAX_FORM_BYTES - bare.ByteSize() + surplus)
    kept.insert(sent)
    assert (kept.lookup(sent) is not None) == is_known
    assert len(kept.templates) == is_known


def test_the_contents_may_be_of_any_size_beside_the_template() -> None:
    kept = Kept(echo([spec("A", "FP32", -1)], 1, 2))
    sent = request(rows(1, 100_000, first=1), request_id="r7")
    buffer = np.zeros((2, 100_000), np.float32)
    call = kept.known(sent)
    call.fill({"A": buffer}, 1)
    np.testing.assert_array_equal(buffer[1:], rows(1, 100_000, first=1))
    assert not buffer[0].any()
    call.answer({"O0": buffer}, 1)
    assert kept.ends.response.raw_output_contents == sent.raw_input_contents
    assert list(kept.ends.response.outputs[0].shape) == [1, 100_000]


def test_beyond_1024_templates_all_are_collected_anew() -> None:
    kept = Kept(echo([spec("A", "INT8", -1)], 1, 0))

    def of_length(length: int) -> ModelInferRequest:
        return request(np.zeros(length, np.int8))

    waiting = kept.known(of_length(0))
    for length in range(1, MAX_FORMS):
        kept.insert(of_length(length))
    assert len(kept.templates) == MAX_FORMS
    assert kept.lookup(of_length(0)) is not None
    kept.insert(of_length(MAX_FORMS))
    assert len(kept.templates) == 1
    assert kept.lookup(of_length(0)) is None
    assert kept.lookup(of_length(MAX_FORMS)) is not None
    # A call of a template that was forgotten is served as any other.
    assert waiting.shapes == ((0,),)
    waiting.answer({"O0": np.zeros((1, 0), np.int8)}, 0)
    assert list(kept.ends.response.outputs[0].shape) == [0]


def test_one_template_may_get_outputs_of_any_number_of_shapes_without_keeping_them_all() -> None:
    kept = Kept(ONE)
    call = kept.known(request(rows(1)))
    before = sys.getallocatedblocks()
    for _ in range(2):
        for width in range(2000):
            kept.ends.responses.clear()
            call.answer({"O0": np.full((1, width), 7, np.int8)}, 0)
            assert list(kept.ends.response.outputs[0].shape) == [1, width]
            assert kept.ends.response.raw_output_contents == [b"\7" * width]
    assert sys.getallocatedblocks() - before < 1000
