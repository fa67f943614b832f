"""A server of one transport and channels of another to it, for as long as a test runs."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from transport.api.messages import note, services
from transport.api.transports import Ends

Method = Callable[..., Any]
Options = Sequence[tuple[str, Any]]

ANY_PORT = "127.0.0.1:0"


async def echo(request: Any, context: Any) -> Any:
    return request


async def echo_as_stream(request: Any, context: Any) -> AsyncIterator[Any]:
    """An answer for each character of the request's text."""
    for character in request.text:
        yield note(character)


async def gather(requests: AsyncIterator[Any], context: Any) -> Any:
    return note("".join([request.text async for request in requests]))


async def echo_each(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    async for request in requests:
        yield request


ECHOES = {"UnaryUnary": echo, "UnaryStream": echo_as_stream, "StreamUnary": gather, "StreamStream": echo_each}


def servicer(**methods: Method) -> Any:
    """A servicer on generated code with `methods`, and echoes for those that are not given."""
    members = {name: staticmethod(method) for name, method in (ECHOES | methods).items()}
    return type("Servicer", (services.ProbeServicer,), members)()


@dataclass(frozen=True, slots=True)
class Served:
    """A server that has been started, and a channel to it."""

    server: grpc.aio.Server
    channel: grpc.aio.Channel
    target: str

    @property
    def stub(self) -> Any:
        return services.ProbeStub(self.channel)


class Bench:
    """Makes servers and channels of the transports under test, which end with `stack`."""

    def __init__(self, ends: Ends, stack: AsyncExitStack) -> None:
        self.ends = ends
        self.stack = stack

    async def serve(
        self, *, channel_options: Options = (), channel_compression: grpc.Compression | None = None, **server: Any
    ) -> Served:
        """A server, whose further arguments are those of `start`, and a channel to it."""
        started, target = await self.start(**server)
        return Served(started, self.connect(target, options=channel_options, compression=channel_compression), target)

    async def start(
        self, address: str = ANY_PORT, credentials: Any = None, methods: dict[str, Method] | None = None, **server: Any
    ) -> tuple[grpc.aio.Server, str]:
        """A server with `methods` that listens on `address`, and where a channel finds it."""
        made = self.make_server(**server)
        services.add_ProbeServicer_to_server(servicer(**methods or {}), made)
        port = made.add_secure_port(address, credentials) if credentials else made.add_insecure_port(address)
        await made.start()
        return made, address if address.startswith("unix") else f"{address.rpartition(':')[0]}:{port}"

    def make_server(self, *arguments: Any, **server: Any) -> grpc.aio.Server:
        """A server without methods or ports, yet to be started."""
        made = self.ends.server.server(*arguments, **server)
        self.stack.push_async_callback(made.stop, None)
        return made

    def connect(self, target: str, credentials: Any = None, **channel: Any) -> grpc.aio.Channel:
        transport = self.ends.channel
        if credentials:
            made = transport.secure_channel(target, credentials, **channel)
        else:
            made = transport.insecure_channel(target, **channel)
        self.stack.push_async_callback(made.close)
        return made
