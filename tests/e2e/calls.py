"""Requests as messages, and what became of them."""

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import grpc
import numpy as np
from numpy.typing import NDArray

from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub

Array = NDArray[Any]
Call: TypeAlias = "grpc.Future[pb.ModelInferResponse]"

ANSWERED_WITHIN_S = 30.0

# About how many steps the model `slow` takes in a millisecond.
STEPS_PER_MS = 1100

_DATATYPES = {"float32": "FP32", "float16": "FP16", "int64": "INT64", "int32": "INT32"}


class Outcome(NamedTuple):
    """The status of a call, and its text when it failed."""

    code: str
    text: str = ""


def request(model: str, inputs: dict[str, Array], **fields: Any) -> pb.ModelInferRequest:
    """`inputs` as raw contents; `fields` are other fields of the message."""
    message = pb.ModelInferRequest(model_name=model, **fields)
    for name, array in inputs.items():
        message.inputs.add(name=name, datatype=_DATATYPES[array.dtype.name], shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
    return message


def mlp_request(rows: int | Array = 1, **fields: Any) -> pb.ModelInferRequest:
    """For the model `mlp`: that many rows of ones, or the rows themselves."""
    array = np.ones((rows, 64), np.float32) if isinstance(rows, int) else rows
    return request("mlp", {"INPUT0": array}, **fields)


def slow_request(milliseconds: float, model: str = "slow") -> pb.ModelInferRequest:
    """A run of about so long, for the model `slow` or another one like it."""
    return request(model, {"STEPS": np.array([[milliseconds * STEPS_PER_MS]], np.int64)})


def picky_request(*indices: int) -> pb.ModelInferRequest:
    return request("picky", {"INDEX": np.array(indices, np.int64).reshape(-1, 1)})


def output(response: pb.ModelInferResponse, dtype: Any = np.float32) -> Array:
    """The only output of a response."""
    (tensor,), (raw,) = response.outputs, response.raw_output_contents
    array: Array = np.frombuffer(raw, dtype).reshape(tensor.shape)
    return array


def outcome(call: Call) -> Outcome:
    """Waits for the end of a call."""
    try:
        call.result(timeout=ANSWERED_WITHIN_S)
    except grpc.RpcError as error:
        return Outcome(error.code().name, error.details() or "")
    except grpc.FutureCancelledError:
        return Outcome("CANCELLED")
    return Outcome("OK")


def outcomes(calls: Iterable[Call]) -> list[Outcome]:
    return [outcome(call) for call in calls]


def ask(stub: GRPCInferenceServiceStub, message: pb.ModelInferRequest) -> Outcome:
    """Sends one request and waits for its end."""
    return outcome(stub.ModelInfer.future(message, timeout=ANSWERED_WITHIN_S))
