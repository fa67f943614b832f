"""The real command as a process of its own: started, read, signalled, and never left behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc

from e2e.scrape import Samples, parse
from yais.proto.grpc_service_pb2 import ServerLiveRequest
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub

# The whole suite runs on the one and on the other.
TRANSPORT = os.environ.get("YAIS_TEST_TRANSPORT", "native")
COMMAND = Path(sys.executable).with_name("inference-grpc")
START_S = 60.0
POLL_S = 0.02
HOST = "127.0.0.1"
_ADDRESSES = re.compile(r"gRPC +\S+:(\d+)\n +metrics +http://\S+:(\d+)/metrics\n(?s:.*)\n  siege .*\n")

T = TypeVar("T")


def eventually(look: Callable[[], T | None], what: str, timeout: float = 30.0) -> T:
    """What `look` gives as soon as it is true; fails naming `what` when it does not become so."""
    deadline = time.monotonic() + timeout
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(POLL_S)
    return seen


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings of the server but for its transport, and with `variables`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("YAIS_")}
    return {**inherited, "ORT_DISABLE_TELEMETRY": "1", "YAIS_TRANSPORT": TRANSPORT, **variables}


def run_command(*arguments: str | Path, timeout: float = 30.0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end, for settings with which it does not serve."""
    return subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, timeout=timeout, env=environment(**variables)
    )


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs. `banner` is what it said of itself on stdout when it started."""

    process: subprocess.Popen[bytes]
    errors: Path
    banner: str
    port: int
    metrics_port: int

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def log(self) -> str:
        """All that it wrote to stderr so far."""
        return self.errors.read_text()

    @contextmanager
    def stub(self, *options: tuple[str, int]) -> Iterator[GRPCInferenceServiceStub]:
        with self.channel(*options) as channel:
            yield GRPCInferenceServiceStub(channel)

    @contextmanager
    def channel(self, *options: tuple[str, int]) -> Iterator[grpc.Channel]:
        """A connection of its own, which is up."""
        unlimited = ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)
        own = ("grpc.use_local_subchannel_pool", 1)
        with grpc.insecure_channel(self.address, options=[*unlimited, own, *options]) as channel:
            GRPCInferenceServiceStub(channel).ServerLive(ServerLiveRequest(), wait_for_ready=True, timeout=START_S)
            yield channel

    def get(self, path: str) -> tuple[int, str]:
        """The status and the body of a page of the metrics port."""
        try:
            with urlopen(f"http://{HOST}:{self.metrics_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def samples(self) -> Samples:
        """What `/metrics` says now."""
        return parse(self.get("/metrics")[1])

    def in_flight(self) -> float:
        return self.samples()["yais_executor_queue_depth", frozenset()]

    def wait_in_flight(self, count: int) -> None:
        eventually(lambda: self.in_flight() == count, f"{count} request(s) in flight")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_code(self, timeout: float = 30.0) -> int:
        """Waits for the server's end."""
        return self.process.wait(timeout)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.exit_code()


@contextmanager
def run_server(*arguments: str | Path, **variables: str) -> Iterator[Serving]:
    """Serves on free ports with `arguments`, and `variables` in its environment, until the block ends."""
    with TemporaryDirectory() as folder:
        output, errors = Path(folder, "stdout"), Path(folder, "stderr")
        with output.open("wb") as stdout, errors.open("wb") as stderr:
            process = subprocess.Popen(
                [COMMAND, *_with_free_ports(arguments, variables)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=environment(**variables),
            )
        try:
            yield _started(process, output, errors)
        except BaseException:
            print(f"--- stderr of the server\n{errors.read_text()}---")
            raise
        finally:
            process.kill()
            process.wait()


def _with_free_ports(arguments: tuple[str | Path, ...], variables: dict[str, str]) -> list[str | Path]:
    """`arguments` and port 0 for each port that neither they nor the environment set."""
    ports = {"--port": "YAIS_PORT", "--metrics": "YAIS_METRICS"}
    missing = [flag for flag, name in ports.items() if flag not in arguments and name not in variables]
    return [*arguments, *(word for flag in missing for word in (flag, "0"))]


def _started(process: subprocess.Popen[bytes], output: Path, errors: Path) -> Serving:
    def banner() -> re.Match[str] | None:
        assert process.poll() is None, f"the server ended with {process.returncode} instead of serving"
        return _ADDRESSES.search(output.read_text())

    ports = eventually(banner, "the server's banner", START_S)
    return Serving(process, errors, output.read_text(), int(ports[1]), int(ports[2]))
