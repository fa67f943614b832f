"""Whatever arrives, decoding gives arrays that fit, or raises a ServiceError: never anything else."""

from math import prod
from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from server.specs import Described, one_input, spec
from yais.proto.grpc_service_pb2 import InferParameter, InferTensorContents, ModelInferRequest
from yais.proto.tensors import CONTENTS_FIELDS, DATATYPES, DTYPES
from yais.server.errors import ServiceError
from yais.server.grpc.codec import decode
from yais.server.models.signature import Signature

ENGINES = [
    one_input("FP32", -1),
    one_input("FP32", -1, -1, -1, max_batch_size=4),
    one_input("BYTES", -1, max_batch_size=4),
    one_input("INT8", 2),
    Described((spec("X", "INT64", -1), spec("Z", "BYTES", 2), spec("W", "BOOL")), (spec("Y", "FP32"),), 3),
    one_input("BF16", max_batch_size=1),
]
SIGNATURES = [Signature("m", engine) for engine in ENGINES]

int64s = st.integers(-(2**63), 2**63 - 1)
texts = st.text(max_size=5)
names = st.sampled_from(["X", "Y", "Z", "W"]) | texts
dims = st.integers(0, 4) | st.sampled_from([-1, 2**31 - 1, 2**31, 2**62, -(2**63)]) | int64s
parameters = st.dictionaries(
    st.sampled_from(["priority", "timeout", "sequence_id", "triton_x", "classification", "shared_memory_region"])
    | texts,
    st.one_of(
        st.builds(InferParameter),
        st.builds(InferParameter, bool_param=st.booleans()),
        st.builds(InferParameter, int64_param=int64s),
        st.builds(InferParameter, string_param=texts),
        st.builds(InferParameter, double_param=st.floats()),
        st.builds(InferParameter, uint64_param=st.integers(0, 2**64 - 1)),
    ),
    max_size=1,
)
rarely = st.sampled_from([False] * 5 + [True])


def lists(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(elements, max_size=4)


contents = st.one_of(
    st.builds(InferTensorContents),
    st.builds(InferTensorContents, bool_contents=lists(st.booleans())),
    st.builds(InferTensorContents, int_contents=lists(st.integers(-(2**31), 2**31 - 1))),
    st.builds(InferTensorContents, int64_contents=lists(int64s)),
    st.builds(InferTensorContents, uint_contents=lists(st.integers(0, 2**32 - 1))),
    st.builds(InferTensorContents, uint64_contents=lists(st.integers(0, 2**64 - 1))),
    st.builds(InferTensorContents, fp32_contents=lists(st.floats(width=32))),
    st.builds(InferTensorContents, fp64_contents=lists(st.floats()), bytes_contents=lists(st.binary(max_size=3))),
    st.builds(InferTensorContents, bytes_contents=lists(st.binary(max_size=3))),
)
raws = st.binary(max_size=40) | st.integers(0, 12).map(lambda count: bytes(4 * count))


@st.composite
def messages(draw: st.DrawFn) -> ModelInferRequest:
    """Messages from nearly right to quite wrong."""
    is_typed = draw(st.booleans())
    sent = ModelInferRequest(id=draw(texts), raw_input_contents=[] if is_typed else draw(lists(raws)))
    for name in draw(lists(names) | st.sampled_from([["X"], ["X", "Z", "W"], ["W", "X", "Z"]])):
        tensor = sent.inputs.add(
            name=name, datatype=draw(st.sampled_from([*DTYPES, "", "FP8"])), shape=draw(lists(dims))
        )
        if is_typed != draw(rarely):
            tensor.contents.CopyFrom(draw(contents))
        add_parameters(draw, tensor)
    for name in draw(st.lists(names, max_size=2)):
        add_parameters(draw, sent.outputs.add(name=name))
    add_parameters(draw, sent)
    return sent


def add_parameters(draw: st.DrawFn, to: Any) -> None:
    if draw(rarely):
        for name, parameter in draw(parameters).items():
            to.parameters[name].CopyFrom(parameter)


@st.composite
def fitting(draw: st.DrawFn, engine: Described) -> ModelInferRequest:
    """Messages that keep the rules, but for the size of the batch or of the contents now and then."""
    sent = ModelInferRequest()
    batch = [draw(st.integers(0, engine.max_batch_size + 1))] if engine.max_batch_size else []
    for each in draw(st.permutations(engine.inputs)):
        datatype = DATATYPES[each.dtype]
        free = st.sampled_from([0, 1, 2, 3, 2**31 - 1])
        shape = [*batch, *(draw(free) if dim == -1 else dim for dim in each.shape)]
        sent.inputs.add(name=each.name, datatype=datatype, shape=shape)
        count = min(100, prod(shape)) + draw(rarely)
        sent.raw_input_contents.append(bytes(count * (4 if datatype == "BYTES" else each.dtype.itemsize)))
    return sent


def check(sent: ModelInferRequest, signature: Signature) -> None:
    try:
        layout, inputs, outputs = decode(sent, signature)
    except ServiceError as error:
        event(type(error).__name__)
        return
    event("accepted")
    assert list(inputs) == [rule.name for rule in signature.inputs]
    assert set(outputs) <= {rule.name for rule in signature.outputs}
    for rule, shape in zip(signature.inputs, layout.shapes, strict=True):
        assert inputs[rule.name].dtype == rule.dtype
        assert inputs[rule.name].shape == (layout.rows, *shape)
    assert layout.rows <= max(1, signature.max_batch_size)


@given(messages(), st.sampled_from(SIGNATURES))
@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.too_slow])
def test_any_message_is_decoded_or_refused(sent: ModelInferRequest, signature: Signature) -> None:
    check(sent, signature)


@given(st.data(), st.integers(0, len(ENGINES) - 1))
@settings(deadline=None, max_examples=150)
def test_nearly_right_messages_are_decoded_or_refused(data: st.DataObject, index: int) -> None:
    check(data.draw(fitting(ENGINES[index])), SIGNATURES[index])


@given(st.data(), st.integers(0, len(ENGINES) - 1))
@settings(deadline=None, max_examples=200)
def test_messages_with_a_changed_byte_are_decoded_or_refused(data: st.DataObject, index: int) -> None:
    wire = bytearray(data.draw(fitting(ENGINES[index])).SerializeToString())
    wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    check_bytes(bytes(wire), SIGNATURES[index])


@given(st.binary(max_size=60), st.sampled_from(SIGNATURES))
@example(b"", SIGNATURES[0])
@settings(deadline=None, max_examples=100)
def test_any_bytes_are_decoded_or_refused(wire: bytes, signature: Signature) -> None:
    check_bytes(wire, signature)


def check_bytes(wire: bytes, signature: Signature) -> None:
    try:
        sent = ModelInferRequest.FromString(wire)
    except DecodeError:
        event("no message")
        return
    check(sent, signature)


@given(st.sampled_from(sorted(CONTENTS_FIELDS)), st.data())
@settings(deadline=None, max_examples=100)
def test_typed_contents_are_decoded_or_refused(datatype: str, data: st.DataObject) -> None:
    sent = ModelInferRequest()
    tensor = sent.inputs.add(name="X", datatype=datatype, shape=data.draw(st.lists(st.integers(0, 3), max_size=2)))
    tensor.contents.CopyFrom(data.draw(contents))
    check(sent, Signature("m", one_input(datatype, -1)))
