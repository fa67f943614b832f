"""The two ends of grpcio, to be set against ours."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from transport.unit.raw_peer import Answer, raw_server

Behaviour = Callable[[bytes, "grpc.aio.ServicerContext[Any, Any]"], Any]


class Everything(grpc.GenericRpcHandler):
    def __init__(self, behaviour: Behaviour) -> None:
        self._handler = grpc.unary_unary_rpc_method_handler(behaviour)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        return self._handler


@asynccontextmanager
async def grpcio_server(
    behaviour: Behaviour,
    address: str = "127.0.0.1:0",
    credentials: grpc.ServerCredentials | None = None,
    compression: grpc.Compression | None = None,
) -> AsyncIterator[int]:
    """The port of a server whose every method is `behaviour`."""
    server = grpc.aio.server(compression=compression)
    server.add_generic_rpc_handlers((Everything(behaviour),))
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    yield port
    await server.stop(None)


@asynccontextmanager
async def grpcio_call(answer: Answer) -> AsyncIterator["grpc.aio.UnaryUnaryCall[Any, Any]"]:
    """A call of grpcio's client that gets `answer`."""
    async with raw_server(lambda _: answer) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.unary_unary("/a/b")(b"", timeout=30)


async def nothing(request: bytes, context: Any) -> bytes:
    return b""
