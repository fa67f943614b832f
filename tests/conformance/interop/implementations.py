"""The transports of Python that stand at either end, all made and used alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio


@dataclass(frozen=True, slots=True)
class Implementation:
    """One transport's factories, by `grpc.aio`'s names and signatures."""

    server: Callable[..., grpc.aio.Server]
    insecure_channel: Callable[..., grpc.aio.Channel]
    secure_channel: Callable[..., grpc.aio.Channel]
    ssl_server_credentials: Callable[..., Any]
    ssl_channel_credentials: Callable[..., Any]


def grpcio() -> Implementation:
    return Implementation(
        grpc.aio.server,
        grpc.aio.insecure_channel,
        grpc.aio.secure_channel,
        grpc.ssl_server_credentials,
        grpc.ssl_channel_credentials,
    )


def native() -> Implementation:
    from yais import transport

    return Implementation(
        transport.server,
        transport.insecure_channel,
        transport.secure_channel,
        transport.ssl_server_credentials,
        transport.ssl_channel_credentials,
    )


IMPLEMENTATIONS: dict[str, Callable[[], Implementation]] = {"native": native, "grpcio": grpcio}
