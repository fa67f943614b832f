"""Every call of the library as a value: what to send and how to read the answer; the clients differ only in sending."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from yais.clients import messages
from yais.clients.messages import Array, Arrays, ModelMetadata, Parameter, ServerMetadata
from yais.proto import grpc_service_pb2 as pb
from yais.proto.model_config_pb2 import ModelConfig

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
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
) -> Call[Arrays]:
    request = messages.infer_request(model, inputs, version, outputs, request_id, parameters)
    return Call("ModelInfer", request, messages.infer_outputs)


def server_live() -> Call[bool]:
    return Call("ServerLive", pb.ServerLiveRequest(), lambda response: bool(response.live))


def server_ready() -> Call[bool]:
    return Call("ServerReady", pb.ServerReadyRequest(), lambda response: bool(response.ready))


def model_ready(model: str, version: str) -> Call[bool]:
    request = pb.ModelReadyRequest(name=model, version=version)
    return Call("ModelReady", request, lambda response: bool(response.ready))


def server_metadata() -> Call[ServerMetadata]:
    return Call("ServerMetadata", pb.ServerMetadataRequest(), messages.server_metadata)


def model_metadata(model: str, version: str) -> Call[ModelMetadata]:
    return Call("ModelMetadata", pb.ModelMetadataRequest(name=model, version=version), messages.model_metadata)


def model_config(model: str, version: str) -> Call[ModelConfig]:
    return Call("ModelConfig", pb.ModelConfigRequest(name=model, version=version), lambda response: response.config)


def model_statistics(model: str, version: str) -> Call[tuple[pb.ModelStatistics, ...]]:
    request = pb.ModelStatisticsRequest(name=model, version=version)
    return Call("ModelStatistics", request, lambda response: tuple(response.model_stats))
