"""A native server in a process of its own, and a client that must never notice what others do to it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

HERE = Path(__file__).parent
PATIENCE_S = 5.0
_ROUND_S = 0.02


class Served:
    """One server process, with a client of another make (grpcio's) on a connection of its own."""

    def __init__(self, options: dict[str, Any]) -> None:
        command = [sys.executable, "-X", "faulthandler", "-m", "conformance.protocol.server", json.dumps(options)]
        self.process = subprocess.Popen(command, cwd=HERE.parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port, *self.tls_ports = map(int, self.process.stdout.readline().split())
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")

    def ask(self, method: str, message: bytes = b"") -> bytes:
        """What the client is answered."""
        return self.channel.unary_unary(f"/test.Probe/{method}")(message, timeout=PATIENCE_S)

    def state(self) -> dict[str, Any]:
        """How the server is, with what it complained about since it was last asked."""
        return json.loads(self.ask("State"))

    def check(self) -> None:
        """It serves, and has nothing to complain about."""
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
        assert self.ask("Echo", b"still there") == b"still there"
        assert self.state()["complaints"] == []

    def stop(self) -> int:
        """The exit status of a process that was asked to end."""
        self.channel.close()
        with self.process:
            self.process.stdin.close()
            try:
                return self.process.wait(PATIENCE_S)
            finally:
                self.process.kill()


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what is to happen soon in another process."""
    for _ in range(int(PATIENCE_S / _ROUND_S)):
        if condition():
            return
        await asyncio.sleep(_ROUND_S)
    raise AssertionError("it did not happen in time")


class Servers:
    """Servers by their options, each started when it is first asked for, and again where it has crashed."""

    def __init__(self) -> None:
        self._served: dict[tuple[tuple[str, Any], ...], Served] = {}

    def get(self, options: dict[str, Any]) -> Served:
        key = tuple(options.items())
        served = self._served.get(key)
        if served is None or served.process.poll() is not None:
            served = self._served[key] = Served(options)
        return served

    def close(self) -> None:
        """All must end well."""
        served = list(self._served.values())
        self._served.clear()
        assert [each.stop() for each in served] == [0] * len(served)


servers = Servers()


@contextmanager
def serve(**options: Any) -> Iterator[Served]:
    """A server with `options`, in which `__` stands for the dots of their names; it must go on to serve others."""
    served = servers.get({name.replace("__", "."): value for name, value in options.items()})
    served.check()
    yield served
    served.check()
