"""Servers of the echo service that are compared, as many of them as can run here, and the load generators for them."""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import click
import grpc

from bench.measure import BenchError, Child, Cores, NotInstalledError, Subject, launched, pinned, running
from bench.transport.contract import FOLDER, METHOD, Transport, body, contract, interface, program, require

CallKind = Literal["Do", "Expand", "Collect", "Chat", "Call"]

# Windows of 4 MiB a stream and of 16 MiB a connection: less than h2load's own gigabyte, so that a server has to obey
# them, and about what a gRPC client arrives at.
_WINDOWS = ("-w", "22", "-W", "24")
# What makes a POST a call of gRPC.
_HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")
_PATIENCE_S = 300

Key = TypeVar("Key", bound=str)
EchoName = Literal["C++", "C++, keeping memory", "grpc.aio", "native", "native, raw", "native, bytes"]


class LoadShape(NamedTuple):
    """How many connections there are, and how many calls are under way on each."""

    connections: int
    in_flight: int


class ClientTiming(NamedTuple):
    """What a client says of its calls: how long all took, and percentiles of one's latency."""

    seconds: float
    p50_us: float
    p99_us: float


@dataclass(frozen=True, slots=True)
class H2load:
    """nghttp2's load generator, which neither parses nor looks at what it gets; it tells how much that was.

    `reply` is the length of a reply, None where it is that of `message`.
    """

    port: int
    message: bytes
    shape: LoadShape
    method: str = METHOD
    reply: int | None = None

    def __call__(self, calls: int) -> None:
        require("h2load")
        finished = subprocess.run(self._command(calls), capture_output=True, text=True, timeout=_PATIENCE_S)
        requests = re.search(r"^requests: .*, (\d+) succeeded, 0 failed, 0 errored", finished.stdout, re.MULTILINE)
        traffic = re.search(r"^traffic: .*\((\d+)\) data", finished.stdout, re.MULTILINE)
        if not requests or not traffic or int(requests[1]) != calls:
            raise BenchError(f"h2load's calls went wrong:\n{finished.stdout}{finished.stderr}")
        # gRPC's errors have HTTP status 200, which h2load counts as success: only the number of bytes reveals them.
        due = len(body(b"")) + (len(self.message) if self.reply is None else self.reply)
        if int(traffic[1]) != calls * due:
            raise BenchError(f"{calls} replies of {due} bytes were due, and {traffic[1]} bytes came")

    def check(self) -> None:
        """Makes one call and compares the reply, which h2load cannot."""
        if self.ask() != self.message:
            raise BenchError("a wrong answer")

    def ask(self) -> bytes:
        """The reply to one call."""
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            call: Any = channel.unary_unary(self.method)
            reply: bytes = call(self.message)
            return reply

    def _command(self, calls: int) -> list[str]:
        data = _file(body(self.message))
        # h2load refuses to open more connections than it is to make calls.
        shape = ("-c", str(min(self.shape.connections, calls)), "-m", str(self.shape.in_flight), "-n", str(calls))
        url = f"http://127.0.0.1:{self.port}{self.method}"
        return ["h2load", *shape, *_WINDOWS, *_HEADERS, "-d", str(data), url]


@dataclass(frozen=True, slots=True)
class ClientProcess:
    """A gRPC client that stays connected: it is told what to do, and answers when that is done."""

    child: Child
    subject: Subject

    def __call__(self, kind: CallKind, calls: int, messages: int = 0) -> ClientTiming:
        self.child.say(f"{kind} {calls} {messages}")
        return ClientTiming(*map(float, self.child.hear().split()))


@contextmanager
def client(command: list[str], server: Subject, shape: LoadShape, size: int, core: int) -> Iterator[ClientProcess]:
    """A client of `server` on `core`, which sends messages with `size` bytes."""
    with _client([*command, *map(str, (server.port, *shape, size))], server, core) as ready:
        yield ready


@contextmanager
def caller(server: Subject, method: str, message: bytes, shape: LoadShape, core: int) -> Iterator[ClientProcess]:
    """The C++ client, which of the kind "Call" sends `message` to any `method` and takes but equal answers for right.

    Whether the first of them is right is for its user to check.
    """
    arguments = map(str, (server.port, *shape, 0, method, _file(message)))
    with _client([*cpp_client(), *arguments], server, core) as ready:
        yield ready


@contextmanager
def _client(command: list[str], server: Subject, core: int) -> Iterator[ClientProcess]:
    with launched(f"client of {server.name}", command, core) as child:
        child.hear()
        yield ClientProcess(child, child.subject(server.port))


def cpp_client() -> list[str]:
    return [str(program("client"))]


def python_client(transport: Transport, raw: bool = False) -> list[str]:
    return [sys.executable, "-m", "bench.transport.client", "--transport", transport, *(["--raw"] if raw else [])]


def _file(content: bytes) -> Path:
    """A file with `content`, which programs that run at the same time may share."""
    path = FOLDER / f"body-{hashlib.sha256(content).hexdigest()[:16]}"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=FOLDER, delete=False) as file:
            file.write(content)
        os.replace(file.name, path)
    return path


@dataclass(frozen=True, slots=True)
class EchoServer:
    """A server's command, which raises `NotInstalledError` where it cannot run, and its part of the calls of a round.

    The part keeps the rounds of a slow server from taking all the time there is; cost is counted by the call.
    """

    command: Callable[[], list[str]]
    part: float = 1


def _cpp() -> list[str]:
    return [str(program("server"))]


def _cpp_keeping_memory() -> list[str]:
    """What `yais.transport.keep_freed` does, in the words of glibc's environment."""
    return ["env", "MALLOC_MMAP_THRESHOLD_=33554432", "MALLOC_TRIM_THRESHOLD_=134217728", *_cpp()]


def _grpcio() -> list[str]:
    contract()
    return _python("--transport", "grpcio")


def _native(*arguments: str) -> list[str]:
    require_native()
    return _python("--transport", "native", *arguments)


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench.transport.echo", *arguments]


ECHO_SERVERS: dict[EchoName, EchoServer] = {
    "C++": EchoServer(_cpp, part=0.4),
    "C++, keeping memory": EchoServer(_cpp_keeping_memory, part=0.4),
    "grpc.aio": EchoServer(_grpcio, part=0.05),
    "native": EchoServer(_native),
    "native, raw": EchoServer(lambda: _native("--raw", "parsed")),
    "native, bytes": EchoServer(lambda: _native("--raw", "bytes")),
}


def require_native() -> None:
    """Raises `NotInstalledError` when the native transport is not built."""
    contract()
    try:
        interface("native")
    except ImportError as error:
        raise NotInstalledError(f"yais.transport is not built: {error}") from None


@contextmanager
def serving(names: Sequence[EchoName], cores: Cores) -> Iterator[dict[EchoName, Subject]]:
    """All of the servers that can run here, on their core, while this process keeps to the load's."""
    with ExitStack() as stack:
        # Whatever has to be compiled is compiled here, before the first server starts.
        commands = available({name: ECHO_SERVERS[name].command for name in names})
        servers = {name: stack.enter_context(running(name, commands[name], cores.server)) for name in commands}
        # Load generators that are started from here on inherit it.
        stack.enter_context(pinned(cores.load))
        yield servers


def available(commands: dict[Key, Callable[[], list[str]]]) -> dict[Key, list[str]]:
    """Those commands that can be run; who cannot is told of with the reason."""
    found = {}
    for name, command in commands.items():
        try:
            found[name] = command()
        except NotInstalledError as missing:
            click.echo(f"  without {name}: {missing}", err=True)
    return found
