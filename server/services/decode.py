"""From a ModelInferRequest to checked arrays: first the message's own rules, then those of the model's signature."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from yais.engines import Array
from yais.proto.grpc_service_pb2 import InferParameter, InferTensorContents, ModelInferRequest
from yais.proto.tensors import CONTENTS_FIELDS, DTYPES, strings_array, to_raw
from yais.server.errors import InvalidRequestError, NotFoundError, UnsupportedError
from yais.server.signature import Signature, WireTensor

# Parameters with a meaning in the protocol -> the kinds of value they may have. Others may have any of `_CUSTOM_KINDS`.
_PARAMETER_KINDS: dict[str, tuple[str, ...]] = {
    "sequence_id": ("int64_param", "string_param"),
    "sequence_start": ("bool_param",),
    "sequence_end": ("bool_param",),
    "priority": ("int64_param", "uint64_param"),
    "timeout": ("int64_param",),
    "triton_enable_empty_final_response": ("bool_param",),
}
_CUSTOM_KINDS = ("int64_param", "bool_param", "string_param", "double_param")
_RESERVED_PREFIX = "triton_"

# A field of InferTensorContents -> how Triton names it when it is the wrong one.
_FIELD_TYPES = {
    "bool_contents": "BOOL",
    "int_contents": "INT32",
    "int64_contents": "INT64",
    "uint_contents": "UINT32",
    "uint64_contents": "UINT64",
    "fp32_contents": "FP32",
    "fp64_contents": "FP64",
    "bytes_contents": "BYTES",
}


class Inference(NamedTuple):
    """What a request asks for: `inputs` as arrays of `(rows, *shape)`, and the names of the wanted outputs."""

    inputs: dict[str, Array]
    rows: int
    outputs: Collection[str]


def decode(message: ModelInferRequest, signature: Signature) -> Inference:
    """Reads and checks `message`. Raises `ServiceError`s with Triton's texts."""
    if message.parameters:
        _check_parameters(message.parameters)
    tensors = _tensors(message, signature.model)
    for output in message.outputs:
        if output.parameters:
            _check_tensor_parameters(output.parameters)
    outputs = signature.check_outputs([output.name for output in message.outputs])
    inputs, rows = signature.check_inputs(tensors, message.id)
    return Inference(inputs, rows, outputs)


def _check_parameters(parameters: Mapping[str, InferParameter]) -> None:
    for name, parameter in parameters.items():
        kinds = _PARAMETER_KINDS.get(name, _CUSTOM_KINDS)
        if name.startswith(_RESERVED_PREFIX) and kinds is _CUSTOM_KINDS:
            allowed = [name for name in _PARAMETER_KINDS if name.startswith(_RESERVED_PREFIX)]
            raise InvalidRequestError(
                f"parameter keys starting with '{_RESERVED_PREFIX}' are reserved for Triton usage. Only the following "
                f"keys starting with '{_RESERVED_PREFIX}' are allowed: {', '.join(allowed)}"
            )
        if parameter.WhichOneof("parameter_choice") not in kinds:
            expected = " or ".join(kinds) if len(kinds) < 3 else "int64_param, bool_param, or string_param"
            raise InvalidRequestError(f"invalid value type for '{name}' parameter, expected {expected}.")
        if name == "priority" and parameter.int64_param < 0:
            raise InvalidRequestError("invalid value for 'priority', expected value >= 0.")


def _check_tensor_parameters(parameters: Mapping[str, InferParameter]) -> None:
    if "shared_memory_region" in parameters:
        region = parameters["shared_memory_region"].string_param
        raise NotFoundError(f"Unable to find shared memory region: '{region}'")
    if "classification" in parameters:
        raise UnsupportedError("the classification extension is not supported")


def _tensors(message: ModelInferRequest, model: str) -> dict[str, WireTensor]:
    raws = message.raw_input_contents
    tensors: dict[str, WireTensor] = {}
    for index, tensor in enumerate(message.inputs):
        name = tensor.name
        if name in tensors:
            prefix = f"[request id: {message.id or '<id_unknown>'}]"
            raise InvalidRequestError(f"{prefix} input '{name}' already exists in request")
        if tensor.parameters:
            _check_tensor_parameters(tensor.parameters)
        raw = _raw(tensor, raws[index] if index < len(raws) else None, bool(raws), model)
        tensors[name] = WireTensor(name, tensor.datatype, tuple(tensor.shape), raw)
    return tensors


def _raw(tensor: ModelInferRequest.InferInputTensor, raw: bytes | None, is_raw: bool, model: str) -> bytes:
    """The elements of `tensor`: from the raw contents where the request has any, otherwise from its typed contents."""
    has_contents = tensor.HasField("contents")
    if is_raw and has_contents:
        raise InvalidRequestError(
            "contents field must not be specified when using raw_input_contents "
            f"for '{tensor.name}' for model '{model}'"
        )
    if has_contents:
        return _typed(tensor, tensor.contents, model)
    if raw is None:
        raise InvalidRequestError(
            f"unable to find data for input tensor '{tensor.name}' for model '{model}' in request."
        )
    return raw


def _typed(tensor: ModelInferRequest.InferInputTensor, contents: InferTensorContents, model: str) -> bytes:
    expected = CONTENTS_FIELDS.get(tensor.datatype)
    for field, _ in contents.ListFields():
        if field.name != expected:
            datatype = tensor.datatype if tensor.datatype in DTYPES else "<invalid>"
            raise InvalidRequestError(
                f"unexpected explicit tensor data for input tensor '{tensor.name}' for model '{model}' "
                f"of type '{_FIELD_TYPES[field.name]}', expected datatype '{datatype}'"
            )
    return _packed(tensor, getattr(contents, expected) if expected else ())


def _packed(tensor: ModelInferRequest.InferInputTensor, values: Any) -> bytes:
    if tensor.datatype == "BYTES":
        return to_raw(strings_array(values, (len(values),)))
    try:
        return to_raw(np.array(values, DTYPES.get(tensor.datatype)))
    except OverflowError as error:
        raise InvalidRequestError(f"input '{tensor.name}' has a value outside {tensor.datatype}: {error}") from error
