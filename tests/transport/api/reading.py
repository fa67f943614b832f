"""Reading what a call has to give."""

from typing import Any

import grpc
import grpc.aio


async def read_all(source: Any) -> list[Any]:
    """The messages that a call, or a servicer's context, still has."""
    found = []
    while (message := await source.read()) is not grpc.aio.EOF:
        found.append(message)
    return found


async def failure(call: Any) -> grpc.aio.AioRpcError:
    """The error that awaiting `call` raises."""
    try:
        result = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"The call did not fail, but gave {result!r}")


async def status(call: Any) -> tuple[grpc.StatusCode, str]:
    return await call.code(), await call.details()
