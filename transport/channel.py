"""Channel to a server, with the interface of `grpc.aio`'s."""

from typing import Self

import grpc

from yais.transport.address import Target
from yais.transport.backoff import Backoff
from yais.transport.calls import Deserializer, Serializer
from yais.transport.compression import ACCEPTED, codec_of
from yais.transport.credentials import ChannelCredentials
from yais.transport.metadata import Field
from yais.transport.multicallables import StreamStream, StreamUnary, UnaryStream, UnaryUnary
from yais.transport.options import Settings
from yais.transport.pick_first import PickFirstBalancer
from yais.transport.raw import RawUnary

_AGENT = "grpc-python-yais"


class Channel(grpc.aio.Channel):
    """Made by `yais.transport.insecure_channel` or `secure_channel`; connects with the first call."""

    def __init__(
        self,
        target: Target,
        settings: Settings,
        backoff: Backoff,
        credentials: ChannelCredentials | None,
        compression: grpc.Compression | None,
    ) -> None:
        self.balancer = PickFirstBalancer(target, settings, backoff, credentials)
        self.codec = codec_of(compression)
        agent = f"{settings.user_agent} {_AGENT}".strip()
        # RFC 9113, 8.3, wants pseudo-header fields first; `te` is for proxies (PROTOCOL-HTTP2.md, "Requests").
        self._common: list[Field] = [
            (b":method", b"POST"),
            (b":scheme", b"https" if credentials else b"http"),
            (b":authority", (settings.authority or settings.server_name or target.authority).encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", agent.encode()),
            (b"grpc-accept-encoding", ACCEPTED),
        ]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Makes no more calls; those under way have `grace` seconds to end, and are cancelled after that."""
        await self.balancer.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        if try_to_connect:
            self.balancer.connect()
        return self.balancer.state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self.balancer.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Connects, and waits until that has succeeded."""
        await self.balancer.ready(wait_for_ready=True)

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryUnary:
        return UnaryUnary(self.balancer, self.fields(method), self.codec, request_serializer, response_deserializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryStream:
        return UnaryStream(self.balancer, self.fields(method), self.codec, request_serializer, response_deserializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> StreamUnary:
        return StreamUnary(self.balancer, self.fields(method), self.codec, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> StreamStream:
        return StreamStream(self.balancer, self.fields(method), self.codec, request_serializer, response_deserializer)

    def raw_unary(self, method: str) -> RawUnary:
        """`method` for calls that are to cost as little as possible."""
        return RawUnary(self.balancer, self.fields(method))

    def fields(self, method: str) -> list[Field]:
        """The headers that all calls of `method` have."""
        return [(b":path", method.encode()), *self._common]
