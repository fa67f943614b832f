"""A server that answers as it is told."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from yais.clients.protocol import TensorMetadata
from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)
from yais.proto.model_config_pb2 import ModelConfig

Answer = Callable[[pb.ModelInferRequest, grpc.ServicerContext], pb.ModelInferResponse]


def echo(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    for tensor in request.inputs:
        name = tensor.name.replace("INPUT", "OUTPUT")
        response.outputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
    response.raw_output_contents.extend(request.raw_input_contents)
    return response


@dataclass(frozen=True)
class FakeModel:
    inputs: tuple[TensorMetadata, ...] = (TensorMetadata("INPUT0", "FP32", (-1,)),)
    outputs: tuple[TensorMetadata, ...] = (TensorMetadata("OUTPUT0", "FP32", (-1,)),)
    max_batch_size: int = 0


@dataclass
class FakeServer(GRPCInferenceServiceServicer):
    """Answers as told: `answer` makes the replies of ModelInfer, `models` is what there is to call."""

    port: int = 0
    answer: Answer = echo
    models: dict[str, FakeModel] = field(default_factory=lambda: {"identity": FakeModel()})
    has_config: bool = True
    requests: list[pb.ModelInferRequest] = field(default_factory=list)

    def ServerLive(self, request: Any, context: grpc.ServicerContext) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, request: Any, context: grpc.ServicerContext) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=bool(self.models))

    def ModelReady(self, request: Any, context: grpc.ServicerContext) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=request.name in self.models)

    def ServerMetadata(self, request: Any, context: grpc.ServicerContext) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="fake", version="3", extensions=["statistics", "parameters"])

    def ModelMetadata(self, request: Any, context: grpc.ServicerContext) -> pb.ModelMetadataResponse:
        model = self._find(request.name, context)
        inputs, outputs = (
            [pb.ModelMetadataResponse.TensorMetadata(name=t.name, datatype=t.datatype, shape=t.shape) for t in tensors]
            for tensors in (model.inputs, model.outputs)
        )
        return pb.ModelMetadataResponse(
            name=request.name, versions=["1"], platform="fake", inputs=inputs, outputs=outputs
        )

    def ModelConfig(self, request: Any, context: grpc.ServicerContext) -> pb.ModelConfigResponse:
        if not self.has_config:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no configurations here")
        model = self._find(request.name, context)
        return pb.ModelConfigResponse(config=ModelConfig(name=request.name, max_batch_size=model.max_batch_size))

    def ModelStatistics(self, request: Any, context: grpc.ServicerContext) -> pb.ModelStatisticsResponse:
        names = [request.name] if request.name else self.models
        versions = [pb.ModelStatistics(name=name, version=version) for name in names for version in ("1", "2")]
        return pb.ModelStatisticsResponse(model_stats=versions)

    def ModelInfer(self, request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        self._find(request.model_name, context)
        self.requests.append(request)
        return self.answer(request, context)

    def _find(self, name: str, context: grpc.ServicerContext) -> FakeModel:
        if name not in self.models:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' is not found")
        return self.models[name]

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def serving() -> Iterator[FakeServer]:
    servicer = FakeServer()
    with ThreadPoolExecutor(max_workers=100) as threads:
        options = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
        server = grpc.server(threads, options=options)
        add_GRPCInferenceServiceServicer_to_server(servicer, server)
        # Not "localhost", of whose addresses gRPC binds as many as it can: another server may have the port on one.
        servicer.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield servicer
        server.stop(grace=None).wait()


@dataclass
class Gate:
    """Keeps callers waiting until it is opened; `arrived` is set when the first one has come."""

    opened: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)

    def pass_through(self, request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        self.arrived.set()
        self.opened.wait(60)
        return echo(request, context)
