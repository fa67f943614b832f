"""Requests whose answers by a real Triton are in data/triton_answers.toml, under the same names."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from yais.proto import grpc_service_pb2 as pb

Header = tuple[str, str, Sequence[int]]
Parameters = Mapping[str, Any]

SERVICE = "/inference.GRPCInferenceService/"
INPUT: Header = ("INPUT0", "FP32", [1, 64])
A: Header = ("A", "INT32", [1, 4])
B: Header = ("B", "FP16", [1, 4])
REGION = {"shared_memory_region": "r", "shared_memory_byte_size": 256}
# What stands for a parameter that has none of the kinds of value.
NO_VALUE = object()


class Case(NamedTuple):
    """A method's path and the bytes to call it with."""

    path: str
    message: bytes


def floats(count: int) -> bytes:
    return struct.pack(f"<{count}f", *([1.0] * count))


def strings(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def infer(
    model: str,
    inputs: Sequence[Header],
    raw: Sequence[bytes] = (),
    outputs: Sequence[str] = (),
    contents: Mapping[int, Mapping[str, Sequence[Any]]] | None = None,
    parameters: Parameters | None = None,
    input_parameters: Parameters | None = None,
    output_parameters: Parameters | None = None,
    version: str = "",
) -> pb.ModelInferRequest:
    """`contents`: position of an input -> its typed contents; `…put_parameters` are those of the first tensor."""
    message = pb.ModelInferRequest(model_name=model, model_version=version, raw_input_contents=raw)
    for position, (name, datatype, shape) in enumerate(inputs):
        tensor = message.inputs.add(name=name, datatype=datatype, shape=shape)
        for field, values in (contents or {}).get(position, {}).items():
            tensor.contents.SetInParent()
            getattr(tensor.contents, field).extend(values)
    for name in outputs:
        message.outputs.add(name=name)
    _set(message, parameters)
    if input_parameters:
        _set(message.inputs[0], input_parameters)
    if output_parameters:
        _set(message.outputs[0], output_parameters)
    return message


def _set(message: Any, parameters: Parameters | None) -> None:
    for name, value in (parameters or {}).items():
        parameter = message.parameters[name]
        if value is not NO_VALUE:
            setattr(parameter, *value) if isinstance(value, tuple) else setattr(parameter, _KINDS[type(value)], value)


_KINDS = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}


def mlp(
    shape: Sequence[int] = (1, 64), raw: bytes | None = None, datatype: str = "FP32", name: str = "INPUT0", **more: Any
) -> pb.ModelInferRequest:
    return infer("mlp", [(name, datatype, shape)], [floats(64) if raw is None else raw], **more)


def identity(shape: Sequence[int], raw: bytes) -> pb.ModelInferRequest:
    return infer("identity", [("INPUT0", "FP32", shape)], [raw])


def words(shape: Sequence[int], raw: bytes) -> pb.ModelInferRequest:
    return infer("strings", [("INPUT0", "BYTES", shape)], [raw])


def two(inputs: Sequence[Header] = (A, B), raw: Sequence[bytes] | None = None, **more: Any) -> pb.ModelInferRequest:
    return infer("two", inputs, [b"\0" * 16, b"\0" * 8] if raw is None else raw, **more)


def typed(field: str, *values: Any, header: Header = INPUT, model: str = "mlp") -> pb.ModelInferRequest:
    return infer(model, [header], contents={0: {field: values}})


def asking(**parameter: Any) -> pb.ModelInferRequest:
    return mlp(parameters=parameter)


def classes(value: Any, **more: Any) -> pb.ModelInferRequest:
    return mlp(outputs=["OUTPUT0"], output_parameters={"classification": value}, **more)


def infer_cases() -> dict[str, pb.ModelInferRequest]:
    """What Triton says depends on the id in its prefix alone, so that each of these is sent without and with one."""
    return {**_names(), **_datatypes_and_shapes(), **_contents(), **_parameters(), **_two_faults()}


def _names() -> dict[str, pb.ModelInferRequest]:
    versions = ("9", "abc", "-1", "0", "01", "1abc", "0x1", " ", "9223372036854775807", "9223372036854775808")
    return {
        **{f"version '{version}'": mlp(version=version) for version in versions},
        "ok mlp": mlp(),
        "ok version '1'": mlp(version="1"),
        "unknown model": infer("nope", [INPUT], [floats(64)]),
        "unknown model, version 9": infer("nope", [INPUT], [floats(64)], version="9"),
        "empty request": pb.ModelInferRequest(),
        "duplicate input": infer("mlp", [INPUT] * 2, [floats(64)] * 2),
        "duplicate output": mlp(outputs=["OUTPUT0", "OUTPUT0"]),
        "unknown input instead": mlp(name="X"),
        "unknown input in addition": infer("mlp", [INPUT, ("X", "FP32", [1, 64])], [floats(64)] * 2),
        "empty input name": mlp(name=""),
        "unknown output": mlp(outputs=["X"]),
        "unknown output in addition": mlp(outputs=["OUTPUT0", "X"]),
        "no inputs": infer("mlp", []),
        "no inputs, two": infer("two", []),
        "missing input B": two([A], [b"\0" * 16]),
        "missing input A": two([B], [b"\0" * 8]),
        "two: A and unknown X": two([A, ("X", "FP16", [1, 4])]),
        "ok two, swapped inputs": two([B, A], [b"\0" * 8, b"\0" * 16]),
    }


def _datatypes_and_shapes() -> dict[str, pb.ModelInferRequest]:
    return {
        **{f"wrong dtype {name}": mlp(datatype=name) for name in ("INT32", "FP16", "BYTES", "BF16")},
        **{f"invalid dtype '{name}'": mlp(datatype=name) for name in ("", "fp32", "TYPE_FP32", "STRING")},
        "two: wrong dtype of B": two([A, ("B", "FP32", [1, 4])], [b"\0" * 16] * 2),
        "wrong shape [1,63]": mlp([1, 63], floats(63)),
        "wrong shape [64,1]": mlp([64, 1]),
        "rank 1 [64]": mlp([64]),
        "rank 1 [65]": mlp([65], floats(65)),
        "rank 3 [1,1,64]": mlp([1, 1, 64]),
        "shape []": mlp([]),
        "identity shape []": identity([], floats(1)),
        "identity shape [1,5]": identity([1, 5], floats(5)),
        "identity shape [-1]": identity([-1], floats(5)),
        "identity huge shape": identity([2**62], floats(1)),
        "shape [1,-1]": mlp([1, -1]),
        "shape [-1,64]": mlp([-1, 64]),
        "shape [1,-64]": mlp([1, -64]),
        "batch 65": mlp([65, 64], floats(65 * 64)),
        "batch 0": mlp([0, 64], b""),
        "batch 0 with bytes": mlp([0, 64]),
        "batch 2^31": mlp([2**31, 64]),
        "batch 2^32+1": mlp([2**32 + 1, 64]),
        "two: batches 1 and 2": two([A, ("B", "FP16", [2, 4])], [b"\0" * 16] * 2),
        "two: B shape []": two([A, ("B", "FP16", [])]),
        "strings rank 1 [1]": words([1], strings(b"a")),
        "strings batch 9": words([9, 1], strings(*[b"a"] * 9)),
        "ok identity [0]": identity([0], b""),
        "ok strings [1,0]": words([1, 0], b""),
    }


def _contents() -> dict[str, pb.ModelInferRequest]:
    return {
        "raw one byte short": mlp(raw=floats(64)[:-1]),
        "raw long": mlp(raw=floats(65)),
        "raw empty": mlp(raw=b""),
        "identity raw short": identity([5], floats(4)),
        "identity [0] with bytes": identity([0], floats(1)),
        "two: raw of B short": two(raw=[b"\0" * 16, b"\0" * 6]),
        "two: raw fewer than inputs": two(raw=[b"\0" * 16]),
        "two: raw more than inputs": two(raw=[b"\0" * 16, b"\0" * 8, b"\0" * 8]),
        "no data": infer("mlp", [INPUT]),
        "strings cut length": words([1, 2], strings(b"a") + b"\1\0"),
        "strings cut data": words([1, 2], strings(b"a") + struct.pack("<I", 5) + b"ab"),
        "strings huge length": words([1, 1], struct.pack("<I", 2**32 - 1) + b"ab"),
        "strings too few": words([1, 3], strings(b"a", b"b")),
        "strings too many": words([1, 1], strings(b"a", b"b")),
        "strings [1,0] with an element": words([1, 0], strings(b"a")),
        "contents ok FP32": typed("fp32_contents", *[1.0] * 64),
        "contents ok BYTES": typed("bytes_contents", b"a", b"bc", header=("INPUT0", "BYTES", [1, 2]), model="strings"),
        "raw and contents": mlp(contents={0: {"fp32_contents": [1.0] * 64}}),
        "two: raw for A, contents for B": two(raw=[b"\0" * 16], contents={1: {"fp32_contents": [1.0] * 4}}),
        "contents wrong field (int)": typed("int_contents", *[1] * 64),
        "contents wrong field (bytes)": typed("bytes_contents", b"a"),
        "contents wrong field (bool)": typed("bool_contents", True),
        "contents FP16 sent as dtype for mlp": typed("fp32_contents", 1.0, header=("INPUT0", "FP16", [1, 64])),
        "contents too few": typed("fp32_contents", *[1.0] * 63),
        "contents with invalid dtype": typed("fp32_contents", *[1.0] * 64, header=("INPUT0", "FLOAT", [1, 64])),
        "contents present but empty": typed("fp32_contents"),
        "identity [0], contents empty": infer("identity", [("INPUT0", "FP32", [0])]),
    }


def _parameters() -> dict[str, pb.ModelInferRequest]:
    return {
        "param triton_foo": asking(triton_foo=1),
        "param triton_enable_empty_final_response true": asking(triton_enable_empty_final_response=True),
        "param triton_enable_empty_final_response int": asking(triton_enable_empty_final_response=1),
        "param custom double": asking(foo=1.5),
        "param custom uint64": asking(foo=("uint64_param", 5)),
        "param custom without a choice": asking(foo=NO_VALUE),
        "param priority string": asking(priority="x"),
        "param priority uint64": asking(priority=("uint64_param", 5)),
        "param priority -1": asking(priority=-1),
        "param timeout string": asking(timeout="x"),
        "param timeout -1": asking(timeout=-1),
        "param sequence_id bool": asking(sequence_id=True),
        "param sequence_start int": asking(sequence_start=5),
        "input param unknown": mlp(input_parameters={"foo": "x"}),
        "output param binary_data": mlp(outputs=["OUTPUT0"], output_parameters={"binary_data": True}),
        "classification 3": classes(3),
        "classification 0": classes(0),
        "classification '3'": classes("3"),
        "shm input, region not registered": infer("mlp", [INPUT], input_parameters=REGION),
        "shm input, no byte size": infer("mlp", [INPUT], input_parameters={"shared_memory_region": "r"}),
        "shm input, byte size only": infer("mlp", [INPUT], input_parameters={"shared_memory_byte_size": 256}),
        "shm output, region not registered": mlp(outputs=["OUTPUT0"], output_parameters=REGION),
    }


def _two_faults() -> dict[str, pb.ModelInferRequest]:
    """Which of two rules is looked at first."""
    return {
        "both: bad version, unknown model": infer("nope", [INPUT], [floats(64)], version="abc"),
        "both: triton_foo, unknown input": mlp(name="X", parameters={"triton_foo": 1}),
        "both: unknown input, no data": infer("mlp", [("X", "FP32", [1, 64])]),
        "both: unknown input, unknown output": mlp(name="X", outputs=["X"]),
        "both: unknown output, wrong dtype": mlp(datatype="INT32", outputs=["X"]),
        "both: wrong dtype, wrong shape": mlp([1, 63], datatype="INT32"),
        "both: wrong dtype, batch 65": mlp([65, 64], datatype="INT32"),
        "both: wrong shape, wrong size": mlp([1, 63]),
        "both: batch 65, wrong shape": mlp([65, 63]),
        "both: no data, bad classification": infer(
            "mlp", [INPUT], outputs=["OUTPUT0"], output_parameters={"classification": 0}
        ),
        "both: cut string, unknown output": infer("strings", [("INPUT0", "BYTES", [1, 1])], [b"\1"], ["X"]),
        "both: wrong shape A, wrong dtype B": two(
            [("A", "INT32", [1, 3]), ("B", "FP32", [1, 4])], [b"\0" * 12, b"\0" * 16]
        ),
        "both: -1 dim, wrong dtype": mlp([1, -1], datatype="INT32"),
    }


def other_cases() -> dict[str, Case]:
    """What is no inference request, or none that can be read."""
    garbage = b"\xff\xff\xff\xff garbage"
    return {
        "garbage bytes": Case(f"{SERVICE}ModelInfer", garbage),
        "garbage: cut message": Case(f"{SERVICE}ModelInfer", mlp().SerializeToString()[:-5]),
        "garbage: bad utf-8 in model_name": Case(f"{SERVICE}ModelInfer", b"\x0a\x02\xff\xfe"),
        "garbage bytes ModelReady": Case(f"{SERVICE}ModelReady", garbage),
        "unknown field 200": Case(f"{SERVICE}ModelInfer", mlp().SerializeToString() + b"\xc0\x0c\x01"),
        "unknown method": Case(f"{SERVICE}NoSuchMethod", b""),
        "unknown service": Case("/no.Service/Method", b""),
        "ServerLive": Case(f"{SERVICE}ServerLive", b""),
        "ServerReady": Case(f"{SERVICE}ServerReady", b""),
        **{
            f"{rpc} '{model}' version '{version}'": Case(
                f"{SERVICE}{rpc}", pb.ModelReadyRequest(name=model, version=version).SerializeToString()
            )
            for rpc in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics")
            for model, version in (("mlp", "1"), ("mlp", "9"), ("mlp", "abc"), ("nope", ""), ("nope", "abc"), ("", ""))
        },
    }
