"""gRPC over HTTP/2 for asyncio, on nghttp2: servers and channels with the interface of `grpc.aio`.

What generated code expects of `grpc.aio.server()` and `grpc.aio.insecure_channel()` is all here; docs/transport.md has
what is not. Beside it stands a raw path for calls that are to cost as little as possible: `Server.add_raw_method` and
`Channel.raw_unary`.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import grpc

from yais.transport.address import parse_target
from yais.transport.backoff import Backoff
from yais.transport.channel import Channel
from yais.transport.client_call import ClientCall
from yais.transport.credentials import (
    ChannelCredentials,
    ServerCredentials,
    ssl_channel_credentials,
    ssl_server_credentials,
)
from yais.transport.handlers import Runner
from yais.transport.memory import keep_freed
from yais.transport.options import Settings
from yais.transport.server import GrpcServer
from yais.transport.server_call import ServerCall

__all__ = [
    "Channel",
    "ChannelCredentials",
    "ClientCall",
    "GrpcServer",
    "ServerCall",
    "ServerCredentials",
    "insecure_channel",
    "keep_freed",
    "secure_channel",
    "server",
    "ssl_channel_credentials",
    "ssl_server_credentials",
]

Options = Sequence[tuple[str, Any]]


def server(
    migration_thread_pool: Executor | None = None,
    handlers: Sequence[grpc.GenericRpcHandler] | None = None,
    interceptors: Sequence[grpc.aio.ServerInterceptor] | None = None,
    options: Options | None = None,
    maximum_concurrent_rpcs: int | None = None,
    compression: grpc.Compression | None = None,
) -> GrpcServer:
    """A server that is yet to be started, as `grpc.aio.server` makes it.

    Methods are coroutines or asynchronous generators: there is no thread pool for others. Raises ValueError for options
    that cannot be.
    """
    if migration_thread_pool is not None:
        raise ValueError(
            "migration_thread_pool is not supported: methods must be coroutines or asynchronous generators"
        )
    for interceptor in interceptors or ():
        if not isinstance(interceptor, grpc.aio.ServerInterceptor):
            raise ValueError(f"interceptors must be grpc.aio.ServerInterceptor, not {interceptor!r}")
    runner = Runner(maximum_concurrent_rpcs, compression)
    made = GrpcServer(Settings.of_options(options), runner, tuple(interceptors or ()))
    made.add_generic_rpc_handlers(handlers or ())
    return made


def insecure_channel(
    target: str,
    options: Options | None = None,
    compression: grpc.Compression | None = None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
) -> Channel:
    """A channel without TLS, as `grpc.aio.insecure_channel` makes it; it connects with the first call.

    Raises ValueError for targets and options that cannot be.
    """
    return _channel(target, None, options, compression, interceptors)


def secure_channel(
    target: str,
    credentials: ChannelCredentials,
    options: Options | None = None,
    compression: grpc.Compression | None = None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
) -> Channel:
    """The same behind TLS, with `credentials` of `ssl_channel_credentials`."""
    if not isinstance(credentials, ChannelCredentials):
        raise TypeError("credentials must be of yais.transport.ssl_channel_credentials")
    return _channel(target, credentials, options, compression, interceptors)


def _channel(
    target: str,
    credentials: ChannelCredentials | None,
    options: Options | None,
    compression: grpc.Compression | None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None,
) -> Channel:
    if interceptors:
        raise ValueError("interceptors are not supported on a channel")
    backoff = Backoff.of_options(options or ())
    return Channel(parse_target(target), Settings.of_options(options), backoff, credentials, compression)
