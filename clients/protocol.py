"""Protocol of inference: its messages from and to arrays and plain values, and every RPC as a value; no I/O."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from yais.proto import grpc_service_pb2 as pb
from yais.proto.model_config_pb2 import ModelConfig
from yais.proto.tensors import CONTENTS_FIELDS, DATATYPES, DTYPES, from_raw, to_raw

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"

Array = NDArray[Any]
Arrays = dict[str, Array]
Parameter = bool | int | float | str

_STRING_KINDS = "SUT"  # numpy's bytes, str and variable-width strings
_INT64_MAX = 2**63 - 1

Answer = TypeVar("Answer")


class InferenceError(Exception):
    """A call that was not answered with OK.

    `code` is the gRPC status, `details` the text that came with it; the message is both: `NOT_FOUND: Request for ...`.
    """

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


def from_rpc(error: grpc.RpcError) -> InferenceError:
    """What a stub raised, from either of grpcio's two interfaces."""
    if isinstance(error, grpc.aio.AioRpcError | grpc.Call):
        # grpc-message is optional (gRPC's PROTOCOL-HTTP2.md): a server may send a bare status.
        return InferenceError(error.code(), error.details() or "no details given")
    return InferenceError(grpc.StatusCode.UNKNOWN, str(error))


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """What a server says of itself."""

    name: str
    version: str
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """One input or output of a model; -1 in `shape` for what varies, the batch dimension in front included."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.datatype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a server says of one of its models."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


def infer_request(
    model: str,
    inputs: Mapping[str, Array],
    version: str = "",
    outputs: Sequence[str] | None = None,
    request_id: str = "",
    parameters: Mapping[str, Parameter] | None = None,
) -> pb.ModelInferRequest:
    """A request with raw contents. Raises ValueError, naming the input, for what the protocol cannot carry."""
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=request_id)
    for name, value in inputs.items():
        datatype, array = _to_datatype(name, value)
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(to_raw(array))
    for name in outputs or ():
        request.outputs.add(name=name)
    for name, parameter in (parameters or {}).items():
        request.parameters[name].CopyFrom(_to_parameter(name, parameter))
    return request


def infer_outputs(response: pb.ModelInferResponse) -> Arrays:
    """The response's arrays by name; numeric ones are read-only views of the received bytes, BYTES are `object` arrays.

    Raises InferenceError (INTERNAL) for a response that contradicts itself.
    """
    # The protocol does not mix the two forms: raw contents are there for every output, or for none.
    raw = response.raw_output_contents
    if raw and len(raw) != len(response.outputs):
        raise _unreadable(f"{len(response.outputs)} outputs came with {len(raw)} raw contents")
    arrays: Arrays = {}
    for index, output in enumerate(response.outputs):
        try:
            arrays[output.name] = _read_output(output, raw[index] if raw else None)
        except ValueError as error:
            raise _unreadable(f"output {output.name!r}, {output.datatype} {list(output.shape)}: {error}") from error
    return arrays


@dataclass(frozen=True, slots=True)
class Rpc(Generic[Answer]):
    """One unary call, not yet sent: the name of the RPC, its request, and the function that reads its response."""

    rpc: str
    request: Message
    read: Callable[[Any], Answer]


def infer(
    model: str,
    inputs: Mapping[str, Array],
    version: str,
    outputs: Sequence[str] | None,
    request_id: str,
    parameters: Mapping[str, Parameter] | None,
) -> Rpc[Arrays]:
    request = infer_request(
        model, inputs, version=version, outputs=outputs, request_id=request_id, parameters=parameters
    )
    return Rpc("ModelInfer", request, infer_outputs)


def server_live() -> Rpc[bool]:
    return Rpc("ServerLive", pb.ServerLiveRequest(), lambda response: bool(response.live))


def server_ready() -> Rpc[bool]:
    return Rpc("ServerReady", pb.ServerReadyRequest(), lambda response: bool(response.ready))


def model_ready(model: str, version: str) -> Rpc[bool]:
    request = pb.ModelReadyRequest(name=model, version=version)
    return Rpc("ModelReady", request, lambda response: bool(response.ready))


def server_metadata() -> Rpc[ServerMetadata]:
    def read(response: pb.ServerMetadataResponse) -> ServerMetadata:
        return ServerMetadata(response.name, response.version, tuple(response.extensions))

    return Rpc("ServerMetadata", pb.ServerMetadataRequest(), read)


def model_metadata(model: str, version: str) -> Rpc[ModelMetadata]:
    def read(response: pb.ModelMetadataResponse) -> ModelMetadata:
        inputs, outputs = (
            tuple(TensorMetadata(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in tensors)
            for tensors in (response.inputs, response.outputs)
        )
        return ModelMetadata(response.name, tuple(response.versions), response.platform, inputs, outputs)

    return Rpc("ModelMetadata", pb.ModelMetadataRequest(name=model, version=version), read)


def model_config(model: str, version: str) -> Rpc[ModelConfig]:
    return Rpc("ModelConfig", pb.ModelConfigRequest(name=model, version=version), lambda response: response.config)


def model_statistics(model: str, version: str) -> Rpc[tuple[pb.ModelStatistics, ...]]:
    request = pb.ModelStatisticsRequest(name=model, version=version)
    return Rpc("ModelStatistics", request, lambda response: tuple(response.model_stats))


def _to_datatype(name: str, value: Array) -> tuple[str, Array]:
    array = np.asarray(value)
    if array.dtype.kind in _STRING_KINDS:
        array = array.astype(np.object_)
    if array.dtype == np.object_ and not all(isinstance(element, bytes | str) for element in array.flat):
        raise ValueError(f"input {name!r}: an array of dtype object may hold bytes and str only")
    # DATATYPES knows native dtypes only; `to_raw` writes arrays of either byte order as little-endian.
    datatype = DATATYPES.get(array.dtype.newbyteorder("="))
    if datatype is None:
        raise ValueError(f"input {name!r}: the protocol has no datatype for dtype {array.dtype}")
    return datatype, array


def _to_parameter(name: str, value: Parameter) -> pb.InferParameter:
    match value:
        # In Python a bool is an int as well, so that its case has to come first.
        case bool():
            return pb.InferParameter(bool_param=value)
        # int64_param wherever it fits: uint64_param was added to the protocol later.
        case int() if value > _INT64_MAX:
            return pb.InferParameter(uint64_param=value)
        case int():
            return pb.InferParameter(int64_param=value)
        case float():
            return pb.InferParameter(double_param=value)
        case str():
            return pb.InferParameter(string_param=value)
    raise ValueError(f"parameter {name!r}: {type(value).__name__} is none of bool, int, float, str")


def _read_output(output: pb.ModelInferResponse.InferOutputTensor, raw: bytes | None) -> Array:
    # Typed contents have no field for FP16 and BF16, which come as raw contents only.
    if output.datatype not in (CONTENTS_FIELDS if raw is None else DTYPES):
        raise ValueError(f"no {'typed' if raw is None else 'raw'} contents of this datatype are known")
    if raw is not None:
        return from_raw(raw, output.datatype, tuple(output.shape))
    elements = getattr(output.contents, CONTENTS_FIELDS[output.datatype])
    return np.array(list(elements), DTYPES[output.datatype]).reshape(tuple(output.shape))


def _unreadable(reason: str) -> InferenceError:
    return InferenceError(grpc.StatusCode.INTERNAL, f"the response cannot be read: {reason}")
