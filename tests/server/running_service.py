"""The services of one model behind a transport, on a loopback port."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import numpy as np
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub, add_GRPCInferenceServiceServicer_to_server
from yais.server.grpc.health import HealthService
from yais.server.grpc.infer import InferMethod
from yais.server.grpc.server import RawCall, Registration, TransportName, create_server
from yais.server.grpc.v2 import InferenceService
from yais.server.models.admission import Admission
from yais.server.models.model import Model
from yais.server.models.registry import Registry
from yais.server.refusals import RefusalLog

INFERENCE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
RAW_PATH = f"/{INFERENCE.full_name}/ModelInfer"


class Door(Admission):
    """Tells when somebody has left."""

    def __init__(self) -> None:
        super().__init__()
        self.left = asyncio.Event()

    def leave(self) -> None:
        super().leave()
        self.left.set()


class Service:
    """The services of one model, `channel` to them, and the callback of ModelInfer, which a test may replace."""

    channel: grpc.aio.Channel

    def __init__(self, model: Model, transport: TransportName) -> None:
        self.model = model
        self.registry = Registry()
        self.registry.add(model)
        self.door = Door()
        self.refusals = RefusalLog(asyncio.get_running_loop())
        infer = InferMethod(self.registry, self.door, self.refusals)
        if transport == "native":
            infer.cache_templates()
        self.infer: Callable[[RawCall, memoryview], None] = infer

    @asynccontextmanager
    async def run(self, transport: TransportName, max_message_size: int) -> AsyncIterator["Service"]:
        server = create_server(transport, max_message_size)
        raw = {RAW_PATH: lambda call, message: self.infer(call, message)}
        registration = Registration(server, raw, self.refusals)
        add_GRPCInferenceServiceServicer_to_server(InferenceService(self.registry, self.door), registration)
        add_HealthServicer_to_server(HealthService(["m"]), registration)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as self.channel:
            yield self
        await server.stop(None)

    def model_infer(self, number: int, timeout: float = 30) -> grpc.aio.UnaryUnaryCall:
        request = pb.ModelInferRequest(model_name="m", raw_input_contents=[np.array([number], "<i8").tobytes()])
        request.inputs.add(name="X", datatype="INT64", shape=[1, 1])
        return GRPCInferenceServiceStub(self.channel).ModelInfer(request, timeout=timeout)

    @property
    def failures(self) -> dict[str, int]:
        return {reason: count for reason, count in self.model.recorder.failures.items() if count}


async def refusal(call: grpc.aio.UnaryUnaryCall) -> tuple[grpc.StatusCode, str]:
    async with asyncio.timeout(30):
        return await call.code(), await call.details()


def numbers(response: pb.ModelInferResponse) -> list[int]:
    return np.frombuffer(response.raw_output_contents[0], "<i8").tolist()
