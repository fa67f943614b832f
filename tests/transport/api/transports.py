"""The two transports, which are made and used alike, and the ends of a connection that they stand at."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import grpc
import grpc.aio

from yais import transport


@dataclass(frozen=True, slots=True)
class Transport:
    """One transport's factories, by `grpc.aio`'s names and signatures."""

    name: Literal["grpcio", "native"]
    server: Callable[..., grpc.aio.Server]
    insecure_channel: Callable[..., grpc.aio.Channel]
    secure_channel: Callable[..., grpc.aio.Channel]
    ssl_server_credentials: Callable[..., Any]
    ssl_channel_credentials: Callable[..., Any]


GRPCIO = Transport(
    "grpcio",
    grpc.aio.server,
    grpc.aio.insecure_channel,
    grpc.aio.secure_channel,
    grpc.ssl_server_credentials,
    grpc.ssl_channel_credentials,
)
NATIVE = Transport(
    "native",
    transport.server,
    transport.insecure_channel,
    transport.secure_channel,
    transport.ssl_server_credentials,
    transport.ssl_channel_credentials,
)


@dataclass(frozen=True, slots=True)
class Ends:
    channel: Transport
    server: Transport

    def __str__(self) -> str:
        return f"{self.channel.name}->{self.server.name}"


# grpc.aio by itself, which shows that what a test asks for is what grpc.aio does; and ours at either end, and at both.
PAIRS = [Ends(channel, server) for channel in (GRPCIO, NATIVE) for server in (GRPCIO, NATIVE)]
NATIVE_CHANNELS = [ends for ends in PAIRS if ends.channel is NATIVE]
NATIVE_SERVERS = [ends for ends in PAIRS if ends.server is NATIVE]
WITH_A_NATIVE_END = [ends for ends in PAIRS if NATIVE in (ends.channel, ends.server)]
ONLY_NATIVE = [Ends(NATIVE, NATIVE)]
