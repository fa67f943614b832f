"""Server interceptors, with grpc.aio's interface: each may replace the handler of a call before it runs."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import grpc

from yais.transport.metadata import decode_metadata
from yais.transport.server_call import ServerCall

# What a generated servicer registers for a method; grpcio has no public name for its type.
Handler = Any
Lookup = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]


class CallDetails(grpc.HandlerCallDetails):
    """Details of a call, for interceptors; the metadata are `grpc.aio.Metadata`, as with grpc.aio."""

    def __init__(self, call: ServerCall) -> None:
        self.method = call.path.decode("latin-1")
        self.invocation_metadata = decode_metadata(call.metadata)  # type: ignore[assignment]


def chain(interceptors: Sequence[grpc.aio.ServerInterceptor], lookup: Lookup) -> Lookup:
    """`lookup` behind all `interceptors`, the first of which is called first."""
    for interceptor in reversed(interceptors):
        lookup = partial(interceptor.intercept_service, lookup)
    return lookup
