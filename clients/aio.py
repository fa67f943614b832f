"""Asyncio client; `client` is its twin, method by method."""

# ruff: noqa: ASYNC109 - the timeout travels to the server as the call's deadline, which asyncio.timeout would not.
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from yais.clients import protocol
from yais.clients.channel import channel_options
from yais.clients.protocol import Array, Arrays, ModelMetadata, Parameter, Rpc, ServerMetadata, from_rpc
from yais.proto.grpc_service_pb2 import ModelStatistics
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from yais.proto.model_config_pb2 import ModelConfig

Answer = TypeVar("Answer")


class AsyncClient:
    """An asyncio client of any server that speaks the KServe v2 protocol; it belongs to the loop that made it.

    `target` is `host:port`, `options` are gRPC channel arguments by name. Every call raises `InferenceError` unless
    the server answers OK; `timeout` is in seconds, None to wait for ever. Cancelling the awaiting
    task cancels the call.
    """

    def __init__(self, target: str, *, options: Mapping[str, Any] | None = None) -> None:
        # The channel connects with its first call: a client of a server that is down can be made, and its calls fail.
        self._channel = grpc.aio.insecure_channel(target, channel_options(options))
        self._stub = GRPCInferenceServiceStub(self._channel)

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        *,
        version: str = "",
        outputs: Sequence[str] | None = None,
        request_id: str = "",
        parameters: Mapping[str, Parameter] | None = None,
        timeout: float | None = None,
    ) -> Arrays:
        """The model's outputs by name: all of them, or those named in `outputs`; numeric arrays are read-only.

        Raises ValueError for an input that the protocol cannot carry.
        """
        rpc = protocol.infer(
            model, inputs, version=version, outputs=outputs, request_id=request_id, parameters=parameters
        )
        return await self._send(rpc, timeout)

    async def server_live(self, *, timeout: float | None = None) -> bool:
        return await self._send(protocol.server_live(), timeout)

    async def server_ready(self, *, timeout: float | None = None) -> bool:
        return await self._send(protocol.server_ready(), timeout)

    async def model_ready(self, model: str, version: str = "", *, timeout: float | None = None) -> bool:
        return await self._send(protocol.model_ready(model, version), timeout)

    async def server_metadata(self, *, timeout: float | None = None) -> ServerMetadata:
        return await self._send(protocol.server_metadata(), timeout)

    async def model_metadata(self, model: str, version: str = "", *, timeout: float | None = None) -> ModelMetadata:
        return await self._send(protocol.model_metadata(model, version), timeout)

    async def model_config(self, model: str, version: str = "", *, timeout: float | None = None) -> ModelConfig:
        """The model's configuration as Triton's message, `max_batch_size` among it."""
        return await self._send(protocol.model_config(model, version), timeout)

    async def model_statistics(
        self, model: str = "", version: str = "", *, timeout: float | None = None
    ) -> tuple[ModelStatistics, ...]:
        """One entry for each version that is served; of every model when `model` is empty."""
        return await self._send(protocol.model_statistics(model, version), timeout)

    async def close(self) -> None:
        # Without a grace period: calls that are in flight end at once, as cancelled.
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, call: Rpc[Answer], timeout: float | None) -> Answer:
        try:
            response = await getattr(self._stub, call.rpc)(call.request, timeout=timeout)
        # CancelledError is no RpcError and passes; grpc.aio has cancelled the call by then.
        except grpc.RpcError as error:
            raise from_rpc(error) from error
        return call.read(response)
