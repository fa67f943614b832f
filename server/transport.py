"""The gRPC server that carries the services: grpcio's, under asyncio."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from yais.server.services.errors import UNREADABLE

_UNLIMITED = -1

Deserializer = Callable[[bytes], Any]


def grpc_server(max_message_size: int) -> grpc.aio.Server:
    """A server that takes requests of up to `max_message_size` bytes."""
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)
    # Without SO_REUSEPORT a port that another server has is an error, and does not silently share its clients.
    return grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", max_message_size),
            ("grpc.max_send_message_length", _UNLIMITED),
            ("grpc.so_reuseport", 0),
        ]
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Not so that a caller had gone when its answer was sent, which grpc.aio logs as an error with a traceback."""
    return not record.getMessage().startswith("ExecuteBatchError raised in core")


class Registration:
    """Takes a service from generated code in place of `server`, and hands it on in a cheaper and kinder way.

    Generated code registers each method twice. For one that is registered as such, grpc.aio keeps a task which waits
    for its next call, and puts the tasks of all methods into one `asyncio.wait` whenever any call comes: 24 of them.
    Its generic handlers know the same methods, and need a single task. Those made here give a request that cannot be
    parsed to the servicer as `UNREADABLE`, where grpc.aio would answer with UNKNOWN and the name of a Python class.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Does nothing: the same methods come through the other call."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        lenient = {
            name: handler._replace(request_deserializer=_lenient(handler.request_deserializer))
            for name, handler in handlers.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, lenient),))


def _lenient(deserializer: Deserializer) -> Deserializer:
    def deserialize(data: bytes) -> Any:
        try:
            return deserializer(data)
        except DecodeError:
            return UNREADABLE

    return deserialize
