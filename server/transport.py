"""The gRPC server that carries the services: grpcio's, under asyncio."""

import grpc

_UNLIMITED = -1


def grpc_server(max_message_size: int) -> grpc.aio.Server:
    """A server that takes requests of up to `max_message_size` bytes."""
    # Without SO_REUSEPORT a port that another server has is an error, and does not silently share its clients.
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", max_message_size),
            ("grpc.max_send_message_length", _UNLIMITED),
            ("grpc.so_reuseport", 0),
        ]
    )
    # Generated code registers each method twice. For one that is registered this way, grpc.aio keeps a task which waits
    # for its next call, and puts the tasks of all methods into one `asyncio.wait` whenever any call comes: 24 of them.
    # Its generic handlers know the same methods, and need a single task.
    server.add_registered_method_handlers = _ignore  # type: ignore[method-assign]
    return server


def _ignore(service_name: str, method_handlers: object) -> None:
    pass
