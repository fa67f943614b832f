from typing import Any

import ml_dtypes
import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor

from server.specs import Described, one_input, spec
from yais.proto.grpc_service_pb2 import InferParameter, InferTensorContents, ModelInferRequest
from yais.proto.tensors import CONTENTS_FIELDS, DTYPES, pack_strings, to_raw
from yais.server.errors import InvalidRequestError, NotFoundError, ServiceError, UnsupportedError
from yais.server.grpc.codec import Inference, decode
from yais.server.models.signature import Signature

InferInputTensor = ModelInferRequest.InferInputTensor

# For each datatype with a field of its own: values at its edges, as Python has them.
EDGES: dict[str, list[Any]] = {
    "BOOL": [True, False, True],
    "INT8": [-128, 0, 127],
    "INT16": [-(2**15), 0, 2**15 - 1],
    "INT32": [-(2**31), 0, 2**31 - 1],
    "INT64": [-(2**63), 0, 2**63 - 1],
    "UINT8": [0, 1, 255],
    "UINT16": [0, 1, 2**16 - 1],
    "UINT32": [0, 1, 2**32 - 1],
    "UINT64": [0, 1, 2**64 - 1],
    "FP32": [-0.0, 1.5, float("inf")],
    "FP64": [5e-324, -1.7976931348623157e308, float("nan")],
    "BYTES": [b"", b"a\x00\xff", "é".encode()],
}


def message(*inputs: InferInputTensor, raws: list[bytes] | None = None, **fields: Any) -> ModelInferRequest:
    return ModelInferRequest(model_name="m", inputs=inputs, raw_input_contents=raws, **fields)


def tensor(datatype: str, *shape: int, name: str = "X", **contents: Any) -> InferInputTensor:
    has_contents = {"contents": InferTensorContents(**contents)} if contents else {}
    return InferInputTensor(name=name, datatype=datatype, shape=shape, **has_contents)


def three(datatype: str) -> Signature:
    return Signature("m", one_input(datatype, 3))


def refused(sent: ModelInferRequest, signature: Signature, kind: type[ServiceError] = InvalidRequestError) -> str:
    with pytest.raises(kind) as caught:
        decode(sent, signature)
    assert type(caught.value) is kind
    return str(caught.value)


def values(inference: Inference) -> list[Any]:
    return inference.inputs["X"].ravel().tolist()


@pytest.mark.parametrize("datatype", CONTENTS_FIELDS)
def test_typed_contents_of_every_datatype_come_out_as_they_are(datatype: str) -> None:
    sent = message(tensor(datatype, 3, **{CONTENTS_FIELDS[datatype]: EDGES[datatype]}))
    array = decode(sent, three(datatype)).inputs["X"]
    want = np.array(EDGES[datatype], DTYPES[datatype])
    np.testing.assert_array_equal(array, want.reshape(1, 3), strict=True)


@pytest.mark.parametrize("datatype", CONTENTS_FIELDS)
def test_raw_contents_of_every_datatype_come_out_as_they_are(datatype: str) -> None:
    array = np.array(EDGES[datatype], DTYPES[datatype])
    inference = decode(message(tensor(datatype, 3), raws=[to_raw(array)]), three(datatype))
    np.testing.assert_array_equal(inference.inputs["X"], array.reshape(1, 3), strict=True)


@pytest.mark.parametrize(("datatype", "dtype"), [("FP16", np.float16), ("BF16", ml_dtypes.bfloat16)])
def test_half_precision_is_raw_only(datatype: str, dtype: Any) -> None:
    array = np.array([1.5, -2, np.inf], dtype)
    inference = decode(message(tensor(datatype, 3), raws=[array.tobytes()]), three(datatype))
    np.testing.assert_array_equal(inference.inputs["X"], array.reshape(1, 3), strict=True)
    assert refused(message(tensor(datatype, 3, fp32_contents=[1, 2, 3])), three(datatype)) == (
        "unexpected explicit tensor data for input tensor 'X' for model 'm' of type 'FP32', "
        f"expected datatype '{datatype}'"
    )


def test_typed_strings_and_raw_ones_are_the_same() -> None:
    typed = decode(message(tensor("BYTES", 3, bytes_contents=EDGES["BYTES"])), three("BYTES"))
    raw = pack_strings(np.array(EDGES["BYTES"], np.object_))
    assert values(typed) == values(decode(message(tensor("BYTES", 3), raws=[raw]), three("BYTES"))) == EDGES["BYTES"]


@pytest.mark.parametrize(
    ("datatype", "outside"),
    [("INT8", 128), ("INT8", -129), ("INT16", 2**15), ("UINT8", 256), ("UINT16", 2**16)],
)
def test_a_typed_value_that_the_datatype_cannot_hold_is_refused(datatype: str, outside: int) -> None:
    text = refused(message(tensor(datatype, 3, **{CONTENTS_FIELDS[datatype]: [0, outside, 0]})), three(datatype))
    assert text.startswith(f"input 'X' has a value outside {datatype}: ")


@pytest.mark.parametrize("field", [field.name for field in InferTensorContents.DESCRIPTOR.fields])
@pytest.mark.parametrize("datatype", ["FP64", "INT16", "BYTES"])
def test_typed_contents_of_another_datatype_are_refused(datatype: str, field: str) -> None:
    if field == CONTENTS_FIELDS[datatype]:
        return
    is_bytes = InferTensorContents.DESCRIPTOR.fields_by_name[field].type == FieldDescriptor.TYPE_BYTES
    kind = {"int_contents": "INT32", "uint_contents": "UINT32"}.get(field, field.split("_")[0].upper())
    sent = message(tensor(datatype, 3, **{field: [b"a" if is_bytes else 1] * 3}))
    assert refused(sent, three(datatype)) == (
        f"unexpected explicit tensor data for input tensor 'X' for model 'm' of type '{kind}', "
        f"expected datatype '{datatype}'"
    )


def test_typed_contents_of_an_unknown_datatype_are_refused() -> None:
    text = refused(message(tensor("FP8", 3, fp32_contents=[1, 2, 3])), three("FP32"))
    assert text.endswith("of type 'FP32', expected datatype '<invalid>'")


@pytest.mark.parametrize("datatype", ["FP32", "FP16", "BYTES", "FP8", ""])
def test_empty_typed_contents_are_no_elements(datatype: str) -> None:
    sent = message(InferInputTensor(name="X", datatype=datatype, shape=[3], contents=InferTensorContents()))
    text = refused(sent, three("FP32" if datatype not in DTYPES else datatype))
    assert ("data-type" in text) == (datatype not in DTYPES)


@pytest.mark.parametrize("datatype", DTYPES)
def test_a_tensor_without_elements_is_legal(datatype: str) -> None:
    signature = Signature("m", one_input(datatype, -1))
    raw = decode(message(tensor(datatype, 0), raws=[b""]), signature)
    typed = decode(
        message(InferInputTensor(name="X", datatype=datatype, shape=[0], contents=InferTensorContents())), signature
    )
    for inference in (raw, typed):
        assert (inference.inputs["X"].shape, inference.inputs["X"].dtype) == ((1, 0), DTYPES[datatype])


TWO = Signature("m", Described((spec("A", "FP32", 1), spec("B", "FP32", 1)), (spec("P", "FP32", 1),)))
A, B = tensor("FP32", 1, name="A"), tensor("FP32", 1, name="B")
TYPED_A = tensor("FP32", 1, name="A", fp32_contents=[1])
TYPED_B = tensor("FP32", 1, name="B", fp32_contents=[2])
ONE, OTHER = np.float32(1).tobytes(), np.float32(2).tobytes()


@pytest.mark.parametrize(
    "sent",
    [message(A, B, raws=[ONE, OTHER]), message(B, A, raws=[OTHER, ONE]), message(TYPED_B, TYPED_A)],
    ids=["raw", "raw in another order", "typed in another order"],
)
def test_contents_belong_to_the_input_at_their_place(sent: ModelInferRequest) -> None:
    inputs = decode(sent, TWO).inputs
    assert (list(inputs), float(inputs["A"][0, 0]), float(inputs["B"][0, 0])) == (["A", "B"], 1.0, 2.0)


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (
            message(TYPED_A, B, raws=[ONE]),
            "contents field must not be specified when using raw_input_contents for 'A' for model 'm'",
        ),
        (
            message(A, TYPED_B, raws=[ONE]),
            "contents field must not be specified when using raw_input_contents for 'B' for model 'm'",
        ),
        (message(A, B, raws=[ONE]), "unable to find data for input tensor 'B' for model 'm' in request."),
        (message(A, B), "unable to find data for input tensor 'A' for model 'm' in request."),
        (message(TYPED_A, B), "unable to find data for input tensor 'B' for model 'm' in request."),
    ],
    ids=["both, first", "both, second", "too few raw contents", "no data", "no data for the second"],
)
def test_each_input_has_its_data_in_one_place(sent: ModelInferRequest, text: str) -> None:
    assert refused(sent, TWO) == text


def test_the_requests_id_stands_before_a_violation_of_the_signature() -> None:
    assert refused(message(tensor("FP32", 4), raws=[bytes(16)], id="r1"), three("FP32")).startswith("[request id: r1] ")
    assert refused(message(), three("FP32")).startswith("[request id: <id_unknown>] expected 1 inputs but got 0")


def test_the_wanted_outputs_are_read() -> None:
    outputs = [ModelInferRequest.InferRequestedOutputTensor(name="Y")]
    sent = message(tensor("FP32", 3), raws=[bytes(12)])
    assert set(decode(sent, three("FP32")).outputs) == {"Y"}
    sent.outputs.extend(outputs)
    assert set(decode(sent, three("FP32")).outputs) == {"Y"}
    sent.outputs.add(name="Z")
    assert refused(sent, three("FP32")) == "unexpected inference output 'Z' for model 'm'"


def with_parameter(name: str, **value: Any) -> ModelInferRequest:
    sent = message(tensor("FP32", 3), raws=[bytes(12)])
    sent.parameters[name].CopyFrom(InferParameter(**value))
    return sent


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sequence_id", {"int64_param": 0}),
        ("sequence_id", {"string_param": "s"}),
        ("sequence_start", {"bool_param": False}),
        ("sequence_end", {"bool_param": True}),
        ("priority", {"int64_param": 0}),
        ("priority", {"uint64_param": 2**64 - 1}),
        ("timeout", {"int64_param": -5}),
        ("triton_enable_empty_final_response", {"bool_param": False}),
        ("mine", {"int64_param": 1}),
        ("mine", {"bool_param": True}),
        ("mine", {"string_param": ""}),
        ("mine", {"double_param": 0.5}),
        ("", {"string_param": ""}),
    ],
)
def test_a_parameter_of_a_right_kind_is_taken(name: str, value: dict[str, Any]) -> None:
    assert values(decode(with_parameter(name, **value), three("FP32"))) == [0, 0, 0]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (
            "sequence_id",
            {"bool_param": True},
            "invalid value type for 'sequence_id' parameter, expected int64_param or string_param.",
        ),
        (
            "sequence_start",
            {"int64_param": 1},
            "invalid value type for 'sequence_start' parameter, expected bool_param.",
        ),
        ("sequence_end", {"int64_param": 1}, "invalid value type for 'sequence_end' parameter, expected bool_param."),
        (
            "priority",
            {"string_param": "1"},
            "invalid value type for 'priority' parameter, expected int64_param or uint64_param.",
        ),
        ("priority", {"int64_param": -1}, "invalid value for 'priority', expected value >= 0."),
        ("timeout", {"uint64_param": 1}, "invalid value type for 'timeout' parameter, expected int64_param."),
        ("timeout", {}, "invalid value type for 'timeout' parameter, expected int64_param."),
        (
            "mine",
            {"uint64_param": 1},
            "invalid value type for 'mine' parameter, expected int64_param, bool_param, or string_param.",
        ),
        ("mine", {}, "invalid value type for 'mine' parameter, expected int64_param, bool_param, or string_param."),
        (
            "triton_final_response",
            {"bool_param": True},
            "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys starting "
            "with 'triton_' are allowed: triton_enable_empty_final_response",
        ),
    ],
)
def test_a_parameter_of_a_wrong_kind_is_refused(name: str, value: dict[str, Any], text: str) -> None:
    assert refused(with_parameter(name, **value), three("FP32")) == text


@pytest.mark.parametrize("where", ["inputs", "outputs"])
@pytest.mark.parametrize(
    ("parameter", "value", "kind", "text"),
    [
        ("shared_memory_region", {"string_param": "r"}, NotFoundError, "Unable to find shared memory region: 'r'"),
        ("classification", {"int64_param": 5}, UnsupportedError, "the classification extension is not supported"),
    ],
    ids=["shared memory", "classification"],
)
def test_a_tensor_that_asks_for_an_extension_is_refused(
    where: str, parameter: str, value: dict[str, Any], kind: type[ServiceError], text: str
) -> None:
    sent = message(tensor("FP32", 3), raws=[bytes(12)])
    sent.outputs.add(name="Y")
    getattr(sent, where)[0].parameters[parameter].CopyFrom(InferParameter(**value))
    assert refused(sent, three("FP32"), kind) == text


def test_other_parameters_of_a_tensor_are_nobodys_business() -> None:
    sent = message(tensor("FP32", 3), raws=[bytes(12)])
    sent.inputs[0].parameters["binary_data_size"].int64_param = 12
    sent.outputs.add(name="Y").parameters["binary_data"].bool_param = True
    assert values(decode(sent, three("FP32"))) == [0, 0, 0]
