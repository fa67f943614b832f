"""Blocking client; `aio` is its twin, method by method."""

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


class Client:
    """A blocking client of any server that speaks the KServe v2 protocol; threads may share it.

    `target` is `host:port`, `options` are gRPC channel arguments by name. Every call raises `InferenceError` unless
    the server answers OK; `timeout` is in seconds, None to wait for ever.
    """

    def __init__(self, target: str, *, options: Mapping[str, Any] | None = None) -> None:
        self._channel = grpc.insecure_channel(target, channel_options(options))
        # Neither of the two has state of a single call, which is why threads may share them.
        self._stub = GRPCInferenceServiceStub(self._channel)

    def infer(
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
        return self._send(rpc, timeout)

    def server_live(self, *, timeout: float | None = None) -> bool:
        return self._send(protocol.server_live(), timeout)

    def server_ready(self, *, timeout: float | None = None) -> bool:
        return self._send(protocol.server_ready(), timeout)

    def model_ready(self, model: str, version: str = "", *, timeout: float | None = None) -> bool:
        return self._send(protocol.model_ready(model, version), timeout)

    def server_metadata(self, *, timeout: float | None = None) -> ServerMetadata:
        return self._send(protocol.server_metadata(), timeout)

    def model_metadata(self, model: str, version: str = "", *, timeout: float | None = None) -> ModelMetadata:
        return self._send(protocol.model_metadata(model, version), timeout)

    def model_config(self, model: str, version: str = "", *, timeout: float | None = None) -> ModelConfig:
        """The model's configuration as Triton's message, `max_batch_size` among it."""
        return self._send(protocol.model_config(model, version), timeout)

    def model_statistics(
        self, model: str = "", version: str = "", *, timeout: float | None = None
    ) -> tuple[ModelStatistics, ...]:
        """One entry for each version that is served; of every model when `model` is empty."""
        return self._send(protocol.model_statistics(model, version), timeout)

    def close(self) -> None:
        # Calls that other threads have in flight end at once, as cancelled.
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, call: Rpc[Answer], timeout: float | None) -> Answer:
        try:
            response = getattr(self._stub, call.rpc)(call.request, timeout=timeout)
        except grpc.RpcError as error:
            # The cause stays: it has the trailing metadata too, which InferenceError leaves out.
            raise from_rpc(error) from error
        return call.read(response)
