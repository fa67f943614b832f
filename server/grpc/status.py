"""gRPC statuses of `ServiceError`s; nothing else makes one of the other."""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar

from grpc import StatusCode
from grpc.aio import InternalError, ServicerContext

from yais.server.errors import ServiceError, UnreadableError

Servicer = TypeVar("Servicer")
Message = TypeVar("Message")
Reply = TypeVar("Reply")

CallContext = ServicerContext[Any, Any]
Method = Callable[[Servicer, Message, CallContext], Awaitable[Reply]]

# A text travels in a header, where it may grow threefold; a longer header would cost the caller the status, too.
_MAX_TEXT_BYTES = 2048
_MAX_BYTES_A_CHARACTER = 4

# Stands for a request that could not be parsed.
UNREADABLE = object()


def convert_errors(method: Method[Servicer, Message, Reply]) -> Method[Servicer, Message, Reply]:
    """A unary servicer method whose `ServiceError`s reach the caller as status and text; so does `UNREADABLE`."""

    @wraps(method)
    async def convert(self: Servicer, message: Message, context: CallContext) -> Reply:
        try:
            if message is UNREADABLE:
                raise UnreadableError
            return await method(self, message, context)
        except ServiceError as error:
            return await abort_with(context, error)

    return convert


def status_details(error: ServiceError) -> str:
    """The error's text, cut to what a status can carry."""
    # Most texts are short, and need not be encoded to see that.
    text = str(error)
    if len(text) * _MAX_BYTES_A_CHARACTER <= _MAX_TEXT_BYTES:
        return text
    # What is cut in the middle of a character is left out.
    return text.encode()[:_MAX_TEXT_BYTES].decode(errors="ignore")


async def abort_with(context: CallContext, error: ServiceError) -> NoReturn:
    """Ends the call with the error's status, or quietly when it has ended meanwhile."""
    await abort(context, error.status, status_details(error))


async def abort(context: CallContext, status: StatusCode, text: str) -> NoReturn:
    """The same for a status and a text that are known already."""
    try:
        await context.abort(status, text)
    except InternalError as error:
        raise CancelledError from error
