"""The one place where a `ServiceError` becomes a gRPC status."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

from grpc.aio import ServicerContext

from yais.server.errors import ServiceError

Servicer = TypeVar("Servicer")
Message = TypeVar("Message")
Reply = TypeVar("Reply")

Context = ServicerContext[Any, Any]
Method = Callable[[Servicer, Message, Context], Awaitable[Reply]]


def answers_errors(method: Method[Servicer, Message, Reply]) -> Method[Servicer, Message, Reply]:
    """A unary servicer method whose `ServiceError`s reach the caller as status and text."""

    @wraps(method)
    async def answering(self: Servicer, message: Message, context: Context) -> Reply:
        try:
            return await method(self, message, context)
        except ServiceError as error:
            return await context.abort(error.status, str(error))

    return answering
