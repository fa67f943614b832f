"""Methods of a channel, in the four kinds that gRPC has, and their calls."""

from collections.abc import AsyncIterable, Iterable
from typing import Any

import grpc

from yais.transport.calls import CallOptions, Deserializer, Serializer
from yais.transport.compression import IDENTITY, Codec, codec_of
from yais.transport.metadata import Field, Metadatum, encode_metadata
from yais.transport.pick_first import PickFirstBalancer
from yais.transport.receiving import StreamResponse, UnaryResponse
from yais.transport.sending import StreamRequest, UnaryRequest

Metadata = Iterable[Metadatum]
Messages = AsyncIterable[Any] | Iterable[Any]


class UnaryUnaryCall(UnaryRequest, UnaryResponse, grpc.aio.UnaryUnaryCall[Any, Any]):
    """One message each way."""

    _is_single = True


class UnaryStreamCall(UnaryRequest, StreamResponse, grpc.aio.UnaryStreamCall[Any, Any]):
    """One message, and a stream in answer."""


class StreamUnaryCall(StreamRequest, UnaryResponse, grpc.aio.StreamUnaryCall[Any, Any]):
    """A stream, and one message in answer."""

    _is_single = True


class StreamStreamCall(StreamRequest, StreamResponse, grpc.aio.StreamStreamCall[Any, Any]):
    """A stream each way."""


class MultiCallable:
    """The base of all four kinds: a method with its serializers, and the headers of its calls."""

    def __init__(
        self,
        balancer: PickFirstBalancer,
        fields: list[Field],
        codec: Codec,
        serialize: Serializer | None,
        deserialize: Deserializer | None,
    ) -> None:
        self.balancer = balancer
        self._fields = fields
        self._codec = codec
        self._serialize = serialize
        self._deserialize = deserialize

    def options(
        self,
        timeout: float | None,
        metadata: Metadata | None,
        credentials: grpc.CallCredentials | None,
        wait_for_ready: bool | None,
        compression: grpc.Compression | None,
    ) -> CallOptions:
        if credentials is not None:
            raise ValueError("credentials of a single call are not supported; send them as metadata")
        codec = self._codec if compression is None else codec_of(compression)
        fields = self._fields
        if codec is not IDENTITY:
            fields = [*fields, (b"grpc-encoding", codec.name)]
        if metadata:
            fields = [*fields, *encode_metadata(metadata)]
        return CallOptions(fields, timeout, bool(wait_for_ready), codec, self._serialize, self._deserialize)


class UnaryUnary(MultiCallable, grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    """Sends one message, and is answered by one."""

    def __call__(
        self,
        message: Any,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> UnaryUnaryCall:
        options = self.options(timeout, metadata, credentials, wait_for_ready, compression)
        return UnaryUnaryCall(self.balancer, options, message)


class UnaryStream(MultiCallable, grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    """Sends one message, and is answered by a stream."""

    def __call__(
        self,
        message: Any,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> UnaryStreamCall:
        options = self.options(timeout, metadata, credentials, wait_for_ready, compression)
        return UnaryStreamCall(self.balancer, options, message)


class StreamUnary(MultiCallable, grpc.aio.StreamUnaryMultiCallable[Any, Any]):
    """Sends a stream, and is answered by one message."""

    def __call__(
        self,
        request_iterator: Messages | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> StreamUnaryCall:
        options = self.options(timeout, metadata, credentials, wait_for_ready, compression)
        return StreamUnaryCall(self.balancer, options, request_iterator)


class StreamStream(MultiCallable, grpc.aio.StreamStreamMultiCallable[Any, Any]):
    """Sends a stream, and is answered by one."""

    def __call__(
        self,
        request_iterator: Messages | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> StreamStreamCall:
        options = self.options(timeout, metadata, credentials, wait_for_ready, compression)
        return StreamStreamCall(self.balancer, options, request_iterator)
