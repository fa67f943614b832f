"""Requests that have a template, and those that are left to the parser."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from server.fake_raw_call import FakeRawCall
from server.known_templates import ONE, PAIR, Kept, request, rows
from server.specs import Described, spec
from yais.proto.grpc_service_pb2 import InferTensorContents, ModelInferRequest
from yais.server.errors import ExpiredError
from yais.server.grpc.codec import decode


def test_a_template_is_known_once_it_was_inserted_whatever_the_id_and_the_elements() -> None:
    kept = Kept(ONE)
    assert kept.lookup(request(rows(3))) is None
    kept.insert(request(rows(3), request_id="r1"))
    for request_id in ("", "r1", "another", "x" * 100_000):
        assert kept.lookup(request(rows(3, first=100), request_id=request_id)) is not None
    assert len(kept.templates) == 1


def test_a_request_with_a_template_says_what_its_request_is() -> None:
    kept = Kept(PAIR)
    sent = request(rows(3), np.zeros((3, 5), np.int32))
    kept.insert(sent)
    raw_call = FakeRawCall(deadline=7.5)
    call = kept.lookup(sent, raw_call)
    assert call is not None
    assert (call.model, call.call) == (kept.model, raw_call)
    assert (call.rows, call.shapes) == (3, ((2,), (5,)))
    assert (call.arrived, call.queued, call.deadline) == (5, 5, 7_500_000_000)
    call.queued = 9
    assert (call.arrived, call.queued) == (5, 9)
    assert call.is_wanted
    raw_call.has_left = True
    assert not call.is_wanted


@pytest.mark.parametrize(
    ("deadline", "nanoseconds"),
    [(math.inf, None), (0.0, 0), (-1.5, -1_500_000_000), (1e9, 10**18), (3.6e11, 360 * 10**18)],
)
def test_a_deadline_is_in_nanoseconds_however_far_away(deadline: float, nanoseconds: int | None) -> None:
    kept = Kept(ONE)
    kept.insert(request(rows(1)))
    call = kept.lookup(request(rows(1)), FakeRawCall(deadline))
    assert call is not None
    assert call.deadline == nanoseconds


def test_the_method_is_told_how_a_call_ends() -> None:
    kept = Kept(ONE)
    call = kept.known(request(rows(1)))
    error = ExpiredError()
    call.refuse(error)
    call.closed()
    call.changed()
    assert kept.ends.errors == [error]
    assert kept.ends.abandoned == [call]


def with_version(sent: ModelInferRequest) -> None:
    sent.model_version = "1"


def with_parameter(sent: ModelInferRequest) -> None:
    sent.parameters["mine"].bool_param = True


def with_output(sent: ModelInferRequest) -> None:
    sent.outputs.add(name="O0")


def with_parameter_of_a_tensor(sent: ModelInferRequest) -> None:
    sent.inputs[0].parameters["mine"].int64_param = 1


def with_another_shape(sent: ModelInferRequest) -> None:
    sent.inputs[0].shape[:] = [1, 2]
    sent.raw_input_contents[0] = bytes(8)


@pytest.mark.parametrize(
    "change",
    [with_version, with_parameter, with_output, with_parameter_of_a_tensor, with_another_shape],
    ids=lambda change: change.__name__.replace("_", " "),
)
def test_whatever_else_a_request_says_makes_it_another_template(change: Callable[[ModelInferRequest], None]) -> None:
    kept = Kept(ONE)
    kept.insert(request(rows(3)))
    other = request(rows(3))
    change(other)
    assert kept.lookup(other) is None
    kept.insert(other)
    assert kept.lookup(other) is not None
    assert kept.lookup(request(rows(3))) is not None
    assert len(kept.templates) == 2


@pytest.mark.parametrize("sizes", [(23, 12), (25, 12), (24, 11), (24, 13), (12, 24), (24,), (24, 12, 0), (), (0, 0)])
def test_contents_of_another_size_or_number_have_no_template(sizes: tuple[int, ...]) -> None:
    kept = Kept(PAIR)
    sent = request(rows(3), np.zeros((3, 1), np.int32))
    kept.insert(sent)
    sent.raw_input_contents[:] = [bytes(size) for size in sizes]
    assert kept.lookup(sent) is None


def test_contents_belong_to_the_input_at_their_place_in_the_request() -> None:
    kept = Kept(PAIR)
    first, second = rows(2), np.array([[7], [8]], np.int32)
    buffers = {"A": np.zeros((8, 2), np.float32), "B": np.zeros((8, 1), np.int32)}
    for sent in (request(first, second, names="AB"), request(second, first, names="BA")):
        for buffer in buffers.values():
            buffer[...] = 0
        kept.known(sent).fill(buffers, 3)
        np.testing.assert_array_equal(buffers["A"][3:5], first)
        np.testing.assert_array_equal(buffers["B"][3:5], second)
        assert not buffers["A"][:3].any()
        assert not buffers["B"][5:].any()
    assert len(kept.templates) == 2


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1), (3, 0, 2, 1)])
def test_fields_may_come_in_any_order(order: tuple[int, ...]) -> None:
    kept = Kept(ONE)
    sent = request(rows(1, first=5), request_id="r7")
    parts = [ModelInferRequest() for _ in range(4)]
    parts[0].model_name = "m"
    parts[1].id = "r7"
    parts[2].inputs.append(sent.inputs[0])
    parts[3].raw_input_contents.append(sent.raw_input_contents[0])
    wire = b"".join(parts[position].SerializeToString() for position in order)
    inference = decode(ModelInferRequest.FromString(wire), kept.model.signature)
    kept.templates.insert(wire, kept.model, inference.layout, inference.outputs)
    call = kept.templates.lookup(FakeRawCall(), wire, 0)
    assert call is not None
    call.answer({"O0": rows(8, first=5)}, 0)
    assert kept.ends.response.id == "r7"
    assert kept.ends.response.raw_output_contents == [rows(1, first=5).tobytes()]
    # The template has neither id nor contents in it, so that only the order of the others matters.
    assert (kept.lookup(sent) is not None) == (order.index(0) < order.index(2))


# The texts of ids travel from the request to the answer as bytes, for which what is not ASCII would have to be checked.
@pytest.mark.parametrize("request_id", ["é", "日本", "\x80"])
def test_an_id_that_is_not_ascii_is_left_to_the_parser(request_id: str) -> None:
    kept = Kept(ONE)
    kept.insert(request(rows(1)))
    kept.insert(request(rows(1), request_id=request_id))
    assert kept.lookup(request(rows(1), request_id=request_id)) is None
    assert kept.lookup(request(rows(1))) is not None
    assert len(kept.templates) == 1


@pytest.mark.parametrize("second", [b"\x1a\x00", b"\x1a\x02r7"], ids=["empty", "another"])
def test_two_ids_are_left_to_the_parser(second: bytes) -> None:
    kept = Kept(ONE)
    kept.insert(request(rows(1)))
    wire = request(rows(1), request_id="r1").SerializeToString()
    assert kept.templates.lookup(FakeRawCall(), wire, 0) is not None
    assert kept.templates.lookup(FakeRawCall(), wire + second, 0) is None
    assert kept.templates.lookup(FakeRawCall(), second + wire, 0) is None


@pytest.mark.parametrize(
    "wire",
    [
        b"\x08\x01",
        b"\x0b\x0c",
        b"\x0d1234",
        b"\x09" + bytes(8),
        b"\x10\x00",
        b"\x18\x00",
        b"\x38\x00",
        b"\x42\x00",
        b"\x8a\x00\x00",
        b"\x82\x01\x00",
        b"\x02\x00",
        b"\x0a",
        b"\x0a\x05m",
        b"\x0a\x80\x80\x80\x80\x80\x00",
        b"\x0a\xff\xff\xff\xff\x7f",
        b"\x3a\x01",
        b"\x1a\x80",
        b"\x00",
        b"\xff",
    ],
    ids=lambda wire: wire.hex(),
)
def test_unusual_and_malformed_fields_are_left_to_the_parser(wire: bytes) -> None:
    """Even if somebody taught them."""
    kept = Kept(ONE)
    usual = request(rows(1))
    inference = decode(usual, kept.model.signature)
    for unusual in (wire, usual.SerializeToString() + wire, wire + usual.SerializeToString()):
        kept.templates.insert(unusual, kept.model, inference.layout, inference.outputs)
        assert kept.templates.lookup(FakeRawCall(), unusual, 0) is None
    assert len(kept.templates) == 0


def test_an_empty_message_is_no_template() -> None:
    kept = Kept(ONE)
    assert kept.templates.lookup(FakeRawCall(), b"", 0) is None


def test_lengths_may_be_written_with_needless_bytes() -> None:
    kept = Kept(ONE)
    sent = request(rows(1))
    sent.model_name = ""
    lead = (
        b"\x0a\x81\x80\x80\x80\x00m"
        + b"\x1a\x82\x80\x00r7"
        + sent.inputs[0]
        .SerializeToString()
        .join([b"\x2a" + bytes([len(sent.inputs[0].SerializeToString()) | 0x80, 0x80, 0x80, 0]), b""])
    )
    wire = lead + b"\x3a\x88\x00" + rows(1, first=3).tobytes()
    assert ModelInferRequest.FromString(wire).id == "r7"
    inference = decode(ModelInferRequest.FromString(wire), kept.model.signature)
    kept.templates.insert(wire, kept.model, inference.layout, inference.outputs)
    call = kept.templates.lookup(FakeRawCall(), wire, 0)
    assert call is not None
    buffer = np.zeros((8, 2), np.float32)
    call.fill({"A": buffer}, 0)
    np.testing.assert_array_equal(buffer[:1], rows(1, first=3))
    call.answer({"O0": buffer}, 0)
    assert kept.ends.response.id == "r7"


def test_typed_contents_have_no_template() -> None:
    kept = Kept(ONE)
    sent = ModelInferRequest(model_name="m")
    sent.inputs.add(name="A", datatype="FP32", shape=[1, 2], contents=InferTensorContents(fp32_contents=[1, 2]))
    kept.insert(sent)
    assert kept.lookup(sent) is None
    assert len(kept.templates) == 0


@pytest.mark.parametrize(
    "engine",
    [
        Described((spec("A", "BYTES", 1),), (spec("O0", "FP32", 1),), 8),
        Described((spec("A", "FP32", 1),), (spec("O0", "BYTES", 1),), 8),
        Described((spec("A", "FP32", 1),), (spec("O0", "FP32", 1), spec("O1", "BYTES", 1)), 8),
    ],
    ids=["input", "output", "one of two outputs"],
)
def test_strings_have_no_template(engine: Described) -> None:
    kept = Kept(engine)
    array = np.zeros((1, 1), engine.inputs[0].dtype)
    if engine.inputs[0].dtype.hasobject:
        array[0, 0] = b"ab"
    kept.insert(request(array))
    assert kept.lookup(request(array)) is None
    assert len(kept.templates) == 0


@pytest.mark.parametrize("wire", [None, "x", bytearray(b"x"), memoryview(b"x")], ids=lambda wire: type(wire).__name__)
def test_only_bytes_are_messages(wire: Any) -> None:
    kept = Kept(ONE)
    with pytest.raises(TypeError):
        kept.templates.lookup(FakeRawCall(), wire, 0)


def test_a_part_of_a_message_is_read_as_far_as_it_goes() -> None:
    """Whatever is cut off, nothing is read beyond the end, where another message may lie."""
    kept = Kept(ONE)
    sent = request(rows(2), request_id="r7")
    kept.insert(sent)
    wire = sent.SerializeToString()
    for size in range(len(wire)):
        assert kept.templates.lookup(FakeRawCall(), wire[:size], 0) is None
