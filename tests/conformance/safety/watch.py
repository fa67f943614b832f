"""A server under attack: how much memory it takes, and how long a canary waits meanwhile."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from conformance.protocol.serving import Served
from yais.clients.siege.chaos.canary import CanaryConfig, CanaryReport
from yais.proto.grpc_service_pb2 import ModelInferRequest

HERE = Path(__file__).parent
MB = 2**20

# A turn of the server's loop is meant to take milliseconds; whoever keeps the loop to himself adds hundreds. These are
# for a server that always finds a core free, and grow with the time that it spends waiting for one.
P99_MS = 250.0
# A server that is stuck would be so for as long as the attack lasts.
WORST_MS = 1000.0

# The canary's calls in each second, how long it waits for one, and for how long it watches at least.
RATE = 200.0
PATIENCE_S = 30.0
_LEAST_S = 0.1

_LEAST_RUN_NS = 50_000_000
# For a process that has been asked to end, on a machine with much else to do.
_ENDING_S = 60.0

# An idle connection: its session, its HPACK tables and the loop's transport.
EACH = 20_000
# What a process of this kind takes for a few hundred calls, with the buffers that its allocator keeps.
LITTLE = 8 * MB


def memory(pid: int, name: str) -> int:
    """A size of the process, in bytes: `VmRSS` is what it takes now, `VmHWM` what it ever took."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


class Clock:
    """How much longer a process takes for its work than it would on a machine of its own, from now on."""

    def __init__(self, pid: int) -> None:
        self.path = Path(f"/proc/{pid}/schedstat")
        self.run, self.waited = self.read()

    def read(self) -> tuple[int, int]:
        """Nanoseconds on a core, and waiting for one."""
        if not self.path.exists():
            return 0, 0
        run, waited, _ = map(int, self.path.read_text().split())
        return run, waited

    @property
    def slowdown(self) -> float:
        run, waited = self.read()
        return 1 + (waited - self.waited) / max(run - self.run, _LEAST_RUN_NS)


def own_memory() -> int:
    """What this process takes now, in bytes."""
    return memory(os.getpid(), "VmRSS")


class CanaryBeside:
    """A canary in a process of its own, by the words that chaos's understands; it is ready once this is made.

    `module` is what runs it, chaos's canary or `caller`.
    """

    def __init__(self, module: str, *arguments: object, config: CanaryConfig | None = None) -> None:
        command = [sys.executable, "-X", "faulthandler", "-m", module, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, cwd=HERE.parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        if config is not None:
            self._say(json.dumps(asdict(config)))
        assert self._hear() == "ready\n"
        self.before = memory(self.process.pid, "VmHWM")
        self.begun = 0.0

    @property
    def grown(self) -> int:
        """How many bytes it has taken at most since it was ready."""
        return memory(self.process.pid, "VmHWM") - self.before

    def begin(self) -> None:
        self.begun = monotonic()
        self._say("begin")

    async def end(self) -> CanaryReport:
        await asyncio.sleep(max(0.0, self.begun + _LEAST_S - monotonic()))
        self._say("end")
        return CanaryReport.of(json.loads(await asyncio.to_thread(self._hear)))

    def stop(self) -> int:
        """The exit status."""
        with self.process:
            try:
                self.process.stdin.close()
                return self.process.wait(_ENDING_S)
            finally:
                self.process.kill()

    def _say(self, word: str) -> None:
        self.process.stdin.write(f"{word}\n")

    def _hear(self) -> str:
        line: str = self.process.stdout.readline()
        assert line, f"the canary ended with {self.process.wait(_ENDING_S)}"
        return line


def assert_unharmed(report: CanaryReport, slowdown: float) -> None:
    """The canary was answered each time, and has not waited for long, considering how fast the server could be.

    What it was late itself counts neither way.
    """
    text = f"the machine explains a factor of {slowdown:.1f}, and the canary {report.lag_p99:.0f} ms: {report}"
    assert report.answered == report.sent > 0, text
    assert report.wrong == 0, text
    assert report.worst <= WORST_MS * slowdown + report.lag_p99, text
    assert report.p99 <= P99_MS * slowdown + report.lag_p99, text


@dataclass
class Attacked:
    """A server with the canary beside it, and what it had taken at most before it was attacked, in bytes."""

    server: Served
    canary: CanaryBeside
    before: int

    def stop(self) -> tuple[int, int]:
        """The exit statuses of both."""
        return self.canary.stop(), self.server.stop()


class Pool:
    """Servers by their options, for attacks that must leave them as they were."""

    def __init__(self) -> None:
        self.idle: dict[tuple[tuple[str, Any], ...], Attacked] = {}

    def take(self, options: dict[str, Any]) -> Attacked:
        """It is not in the pool meanwhile."""
        found = self.idle.pop(tuple(options.items()), None)
        if found is None:
            server = Served({name.replace("__", "."): value for name, value in options.items()})
            request = ModelInferRequest(model_name="canary").SerializeToString()
            config = CanaryConfig.of(
                request, target=f"127.0.0.1:{server.port}", rate=RATE, timeout=PATIENCE_S, transport="native"
            )
            canary = CanaryBeside("yais.clients.siege.chaos.canary", config=config)
            server.check()
            found = Attacked(server, canary, memory(server.process.pid, "VmHWM"))
        return found

    def give_back(self, options: dict[str, Any], attacked: Attacked) -> None:
        self.idle[tuple(options.items())] = attacked

    def close(self) -> None:
        for attacked in self.idle.values():
            assert attacked.stop() == (0, 0)
        self.idle.clear()


pool = Pool()


@asynccontextmanager
async def watched(grows: int = LITTLE, **options: Any) -> AsyncIterator[Served]:
    """A server to attack. At the end it has never taken `grows` bytes more, and the canary has not waited for long.

    Where little is allowed, the next attack finds the same server, with what this one has left of that.
    """
    attacked = pool.take(options)
    server, canary = attacked.server, attacked.canary
    try:
        clock = Clock(server.process.pid)
        canary.begin()
        try:
            yield server
        finally:
            slowdown = clock.slowdown
            assert_unharmed(await canary.end(), slowdown)
        server.check()
        grown = memory(server.process.pid, "VmHWM") - attacked.before
        assert grown <= grows, f"the server grew by {grown / MB:.1f} MB"
    except BaseException:
        attacked.stop()
        raise
    if grows == LITTLE:
        pool.give_back(options, attacked)
    else:
        assert attacked.stop() == (0, 0)
