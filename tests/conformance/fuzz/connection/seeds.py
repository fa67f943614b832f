"""Writes the inputs that fuzzing begins with: real conversations of grpcio and of h2load, each end's half as records.

Run as a program with the folder to write to; h2load, of nghttp2, is used where it is installed.
"""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from conformance.fuzz.connection.records import Kind, Setup
from conformance.fuzz.program import Program, Record
from yais.clients.siege.chaos.h2 import PREFACE, frames_in

_LARGE = 3000
# ClientEnd's action that starts a call, and how: with a message, which is the last, heard by an echo.
_START = Record(Kind.ACTION, 6, bytes((0, 64 + 3, 4 + 1 + 16)))
_TURN = Record(Kind.TURN, 0)


class Tap:
    """Passes a connection's bytes on, and keeps them."""

    def __init__(self, port: int) -> None:
        self.requests = bytearray()
        self.answers = bytearray()
        self._port = port
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._tasks += [
            asyncio.create_task(_pass_on(reader, far_writer, self.requests)),
            asyncio.create_task(_pass_on(far_reader, writer, self.answers)),
        ]


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            kept += data
            writer.write(data)
            await writer.drain()
    writer.close()


def halves(requests: bytes, answers: bytes) -> tuple[Program, Program]:
    """What a server and what a client saw, as programs for one in their place."""
    served = _records(requests.removeprefix(PREFACE))
    heard = _records(answers)
    calls = len({record.payload[2] for record in heard if record.payload[0] == 1})
    setup = Setup.GREETED | Setup.EAGER
    return Program(setup, 0, (*served, _TURN)), Program(setup | Setup.CLIENT, 0, (*[_START] * calls, _TURN, *heard))


def _records(data: bytes) -> list[Record]:
    heads = frames_in(data)
    return [Record(Kind.FRAME, 0, bytes((head.type, head.flags, head.stream)) + body) for head, body in heads]


class Methods(grpc.GenericRpcHandler):
    """The fuzzer's methods as grpcio serves them."""

    def service(self, details: Any) -> Any:
        match details.method:
            case "/f/now" | "/f/raw" | "/f/unary":
                return grpc.unary_unary_rpc_method_handler(_now)
            case "/f/fail":
                return grpc.unary_unary_rpc_method_handler(_fail)
            case "/f/echo" | "/f/both":
                return grpc.stream_stream_rpc_method_handler(_echo)
            case "/f/stream":
                return grpc.unary_stream_rpc_method_handler(_stream)
        return None


async def _now(message: bytes, context: Any) -> bytes:
    await context.send_initial_metadata((("initial", "1"), ("some-bin", b"\0\1")))
    context.set_trailing_metadata((("trailing", "2"),))
    return message


async def _fail(message: bytes, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.NOT_FOUND, "caf\u00e9")


async def _echo(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for message in messages:
        yield message


async def _stream(message: bytes, context: Any) -> AsyncIterator[bytes]:
    for count in range(5):
        yield message * count


async def unary(channel: grpc.aio.Channel) -> None:
    call = channel.unary_unary("/f/now")
    for size in (0, 5, _LARGE):
        await call(b"a" * size, metadata=(("key", "value"), ("key-bin", b"\0\xff")), timeout=10)
    await channel.unary_unary("/f/unary")(b"compressible " * 100, compression=grpc.Compression.Gzip)


async def failures(channel: grpc.aio.Channel) -> None:
    for path in ("/f/fail", "/f/none"):
        with suppress(grpc.aio.AioRpcError):
            await channel.unary_unary(path)(b"x")


async def streams(channel: grpc.aio.Channel) -> None:
    call = channel.stream_stream("/f/echo")()
    for size in (0, 1, 100, 1000):
        await call.write(b"m" * size)
        await call.read()
    await call.done_writing()
    await call.read()
    assert len([message async for message in channel.unary_stream("/f/stream")(b"abc")]) == 5


async def cancelled(channel: grpc.aio.Channel) -> None:
    call = channel.stream_stream("/f/both")()
    await call.write(b"x")
    await call.read()
    call.cancel()
    await asyncio.gather(*(channel.unary_unary("/f/raw")(b"%d" % n) for n in range(4)))


async def loaded(port: int) -> None:
    with tempfile.NamedTemporaryFile() as body:
        body.write(b"\0\0\0\0\5hello")
        body.flush()
        process = await asyncio.create_subprocess_exec(
            *("h2load", "-n", "12", "-c", "1", "-m", "4", "-d", body.name, "-H", "te: trailers"),
            *("-H", "content-type: application/grpc", f"http://127.0.0.1:{port}/f/now"),
            stdout=asyncio.subprocess.DEVNULL,
        )
        await process.wait()


async def record(conversation: Callable[[int], Awaitable[None]]) -> tuple[Program, Program]:
    server = grpc.aio.server(compression=grpc.Compression.Gzip)
    server.add_generic_rpc_handlers((Methods(),))
    tap = Tap(server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    await conversation(await tap.start())
    await server.stop(0)
    await tap.stop()
    return halves(bytes(tap.requests), bytes(tap.answers))


async def write_all(folder: Path) -> None:
    for part in (unary, failures, streams, cancelled):

        async def converse(port: int, part: Any = part) -> None:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await part(channel)

        _write(folder, part.__name__, await record(converse))
    if shutil.which("h2load"):
        _write(folder, "loaded", await record(loaded))


def _write(folder: Path, name: str, programs: tuple[Program, Program]) -> None:
    for end, program in zip(("server", "client"), programs, strict=True):
        (folder / f"{name}-{end}").write_bytes(program.encode())


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(write_all(target))
