"""Load generators: they make so many calls, as fast as they are answered, and check the answers."""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import grpc

from bench.measure import BenchError, Child, Subject, launched
from bench.transport.contract import FOLDER, METHOD, Transport, body
from bench.transport.programs import program, require

Kind = Literal["Do", "Expand", "Collect", "Chat", "Call"]

# Windows of 4 MiB a stream and of 16 MiB a connection: less than h2load's own gigabyte, so that a server has to obey
# them, and about what a gRPC client arrives at.
_WINDOWS = ("-w", "22", "-W", "24")
_HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")
_PATIENCE_S = 300


class Shape(NamedTuple):
    """How many connections there are, and how many calls are under way on each."""

    connections: int
    in_flight: int


class Timing(NamedTuple):
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
    shape: Shape
    method: str = METHOD
    reply: int | None = None

    def __call__(self, calls: int) -> None:
        require("h2load")
        finished = subprocess.run(self._command(calls), capture_output=True, text=True, timeout=_PATIENCE_S)
        requests = re.search(r"^requests: .*, (\d+) succeeded, 0 failed, 0 errored", finished.stdout, re.MULTILINE)
        traffic = re.search(r"^traffic: .*\((\d+)\) data", finished.stdout, re.MULTILINE)
        if not requests or not traffic or int(requests[1]) != calls:
            raise BenchError(f"h2load's calls went wrong:\n{finished.stdout}{finished.stderr}")
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
        shape = ("-c", str(min(self.shape.connections, calls)), "-m", str(self.shape.in_flight), "-n", str(calls))
        url = f"http://127.0.0.1:{self.port}{self.method}"
        return ["h2load", *shape, *_WINDOWS, *_HEADERS, "-d", str(data), url]


@dataclass(frozen=True, slots=True)
class Client:
    """A gRPC client that stays connected: it is told what to do, and answers when that is done."""

    child: Child
    subject: Subject

    def __call__(self, kind: Kind, calls: int, messages: int = 0) -> Timing:
        self.child.say(f"{kind} {calls} {messages}")
        return Timing(*map(float, self.child.hear().split()))


@contextmanager
def client(command: list[str], server: Subject, shape: Shape, size: int, core: int) -> Iterator[Client]:
    """A client of `server` on `core`, which sends messages with `size` bytes."""
    with _client([*command, *map(str, (server.port, *shape, size))], server, core) as ready:
        yield ready


@contextmanager
def caller(server: Subject, method: str, message: bytes, shape: Shape, core: int) -> Iterator[Client]:
    """The C++ client, which of the kind "Call" sends `message` to any `method` and takes but equal answers for right.

    Whether the first of them is right is for its user to check.
    """
    arguments = map(str, (server.port, *shape, 0, method, _file(message)))
    with _client([*cpp_client(), *arguments], server, core) as ready:
        yield ready


@contextmanager
def _client(command: list[str], server: Subject, core: int) -> Iterator[Client]:
    with launched(f"client of {server.name}", command, core) as child:
        child.hear()
        yield Client(child, child.subject(server.port))


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
