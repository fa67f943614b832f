"""A whole server in this process, on loopback ports."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import aiohttp
import grpc
import numpy as np
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from server.fake_engine import Gate
from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from yais.server.config import Config
from yais.server.exit_codes import ExitCode
from yais.server.server import Server
from yais.server.serving import ServerProcess

HOST = "127.0.0.1"

# Takes the names of models and changes of the configuration; returns a server that has started.
Launch = Callable[..., Any]


class Running:
    """A server that serves until a signal comes; `ended` is what it returns."""

    def __init__(self, settings: Config) -> None:
        self.server = Server(settings)
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._process = ServerProcess(self.server)
        self.ended = asyncio.create_task(self._process.serve(lambda _: self._started.set_result(None)))

    async def start(self) -> "Running":
        async with asyncio.timeout(30):
            await asyncio.wait([self._started, self.ended], return_when=asyncio.FIRST_COMPLETED)
        if self.ended.done():
            self.ended.result()
        self._channel = grpc.aio.insecure_channel(f"{HOST}:{self.server.port}")
        self.infer = GRPCInferenceServiceStub(self._channel).ModelInfer
        return self

    async def health(self, service: str = "") -> int:
        response = await HealthStub(self._channel).Check(HealthCheckRequest(service=service), timeout=30)
        return response.status

    async def http(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session,
            session.get(f"http://{HOST}:{self.server.metrics_port}{path}") as response,
        ):
            return response.status, await response.text()

    async def stop(self) -> ExitCode:
        """Sends the first signal, unless that was done; a second would end this process."""
        if not self._process.is_signalled:
            signal.raise_signal(signal.SIGTERM)
        return await self.end()

    async def end(self) -> ExitCode:
        """Waits for an end that has its cause elsewhere."""
        async with asyncio.timeout(30):
            return await self.ended

    async def close(self) -> None:
        await self._channel.close()


def request(*numbers: int, model: str = "m") -> pb.ModelInferRequest:
    sent = pb.ModelInferRequest(model_name=model, raw_input_contents=[np.array(numbers, "<i8").tobytes()])
    sent.inputs.add(name="X", datatype="INT64", shape=[len(numbers), 1])
    return sent


async def in_flight(running: Running, gate: Gate) -> "asyncio.Future[pb.ModelInferResponse]":
    """A request that has come to the gate."""
    call = asyncio.ensure_future(running.infer(request(1), timeout=30))
    await asyncio.to_thread(gate.wait_for_runs, 1)
    return call
