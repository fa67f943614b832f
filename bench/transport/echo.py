"""Echo server in Python: the same servicer on the native transport and on grpc.aio, or the native raw path."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import click
import uvloop

from bench.transport.contract import METHOD, Transport, contract, interface


class EchoService:
    """What `server.cc` does, in coroutines."""

    def __init__(self, message: Any) -> None:
        self._message = message

    async def Do(self, request: Any, context: Any) -> Any:
        return self._message(id=request.id, raw=request.raw)

    async def Expand(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for left in reversed(range(request.id)):
            yield self._message(id=left, raw=request.raw)

    async def Collect(self, requests: AsyncIterator[Any], context: Any) -> Any:
        count, raw = 0, b""
        async for request in requests:
            count, raw = count + 1, request.raw
        return self._message(id=count, raw=raw)

    async def Chat(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield self._message(id=request.id, raw=request.raw)


def raw_echo(message: Any) -> Callable[[Any, memoryview], None]:
    """`Do` on the raw path: no task, but the same message is parsed, and the same made."""

    def answer(call: Any, received: memoryview) -> None:
        # protobuf reads bytes where they are, and copies what it finds behind a view.
        request = message.FromString(received.obj)
        call.respond(message(id=request.id, raw=request.raw).SerializeToString())

    return answer


def bytes_echo(call: Any, received: memoryview) -> None:
    """`Do` without a message: its bytes go back as they came."""
    call.respond(received)


@click.command()
@click.option("--transport", type=click.Choice(["native", "grpcio"]), required=True)
@click.option("--raw", type=click.Choice(["parsed", "bytes"]), help="Answers Do on the raw path, and nothing else.")
def main(transport: Transport, raw: str | None) -> None:
    """Serves on a port of the system's choice, and says which."""
    if raw and transport != "native":
        raise click.UsageError("--raw needs --transport native")
    uvloop.run(serve(transport, raw))


async def serve(transport: Transport, raw: str | None) -> None:
    if transport == "native":
        # As inference-grpc does.
        interface(transport).keep_freed()
    server = interface(transport).server()
    messages, service = contract()
    if raw:
        server.add_raw_method(METHOD, raw_echo(messages.Message) if raw == "parsed" else bytes_echo)
    else:
        service.add_EchoServicer_to_server(EchoService(messages.Message), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    # In the form of the banner of `inference-grpc`, from which the port is read.
    print(f"gRPC 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    main()
