"""Conversion between ModelInfer's messages and arrays.

A request is checked for the message's own rules first, and then for those of the model's signature.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from yais.engines import Array
from yais.proto.grpc_service_pb2 import InferParameter, ModelInferRequest, ModelInferResponse
from yais.proto.tensors import CONTENTS_FIELDS, DTYPES, strings_array, to_raw
from yais.server.errors import InvalidRequestError, NotFoundError, UnsupportedError
from yais.server.models.signature import RequestLayout, Signature

InferInputTensor = ModelInferRequest.InferInputTensor

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

    layout: RequestLayout
    inputs: dict[str, Array]
    outputs: Collection[str]


def decode(message: ModelInferRequest, signature: Signature) -> Inference:
    """Reads and checks `message`. Raises `ServiceError`s with Triton's texts."""
    if message.parameters:
        _check_parameters(message.parameters)
    tensors = message.inputs[:]
    raws = _data(tensors, message.raw_input_contents[:], signature.model)
    for output in message.outputs:
        if output.parameters:
            _check_tensor_parameters(output.parameters)
    outputs = signature.check_outputs([output.name for output in message.outputs])
    layout = signature.lay_out([(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in tensors], message.id)
    return Inference(layout, signature.arrays(layout, raws, message.id), outputs)


def _data(tensors: list[InferInputTensor], raws: list[bytes], model: str) -> list[bytes]:
    """The elements of each tensor: the raw contents if the request has any, otherwise the tensors' typed contents."""
    for position, tensor in enumerate(tensors):
        if tensor.parameters:
            _check_tensor_parameters(tensor.parameters)
        # Triton lets a request have one or the other for all of its tensors.
        has_contents = tensor.HasField("contents")
        if has_contents and raws:
            raise InvalidRequestError(
                "contents field must not be specified when using raw_input_contents "
                f"for '{tensor.name}' for model '{model}'"
            )
        if not has_contents and position >= len(raws):
            raise InvalidRequestError(
                f"unable to find data for input tensor '{tensor.name}' for model '{model}' in request."
            )
    return raws or [_typed(tensor, model) for tensor in tensors]


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


def _typed(tensor: InferInputTensor, model: str) -> bytes:
    expected = CONTENTS_FIELDS.get(tensor.datatype)
    for field, _ in tensor.contents.ListFields():
        if field.name != expected:
            datatype = tensor.datatype if tensor.datatype in DTYPES else "<invalid>"
            raise InvalidRequestError(
                f"unexpected explicit tensor data for input tensor '{tensor.name}' for model '{model}' "
                f"of type '{_FIELD_TYPES[field.name]}', expected datatype '{datatype}'"
            )
    # A datatype without a field, or none that exists, has no values here; the signature refuses it with its own text.
    values: Any = getattr(tensor.contents, expected) if expected else ()
    if tensor.datatype == "BYTES":
        return to_raw(strings_array(values, (len(values),)))
    try:
        return to_raw(np.array(values, DTYPES.get(tensor.datatype)))
    except OverflowError as error:
        raise InvalidRequestError(f"input '{tensor.name}' has a value outside {tensor.datatype}: {error}") from error


def encode(
    signature: Signature, version: str, request_id: str, wanted: Collection[str], outputs: Mapping[str, Array]
) -> ModelInferResponse:
    """The response with the `wanted` of `outputs`, arrays of `(rows, *shape)`, in the model's order."""
    response = ModelInferResponse(model_name=signature.model, model_version=version, id=request_id)
    for rule in signature.outputs:
        if rule.name in wanted:
            array = outputs[rule.name]
            # A model without batches has one row, of which clients know nothing.
            shape = array.shape if signature.max_batch_size else array.shape[1:]
            response.outputs.add(name=rule.name, datatype=rule.datatype, shape=shape)
            response.raw_output_contents.append(to_raw(array))
    return response
