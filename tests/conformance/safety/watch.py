"""A server under attack: how much memory it takes, and how long an innocent client waits meanwhile."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from conformance.protocol.serving import Served

HERE = Path(__file__).parent
MB = 2**20

# A turn of the server's loop is meant to take milliseconds; whoever keeps the loop to himself adds hundreds. These are
# for a server that always finds a core free, and grow with the time that it spends waiting for one.
P99_S = 0.25
# A server that is stuck would be so for as long as the attack lasts.
WORST_S = 1.0

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


class Witness:
    """A process that asks all the time how a server is, and tells in the end how long it had to wait."""

    def __init__(self, module: str, *arguments: object) -> None:
        command = [sys.executable, "-X", "faulthandler", "-m", f"conformance.safety.{module}", *map(str, arguments)]
        self.process = subprocess.Popen(command, cwd=HERE.parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"
        self.before = memory(self.process.pid, "VmHWM")

    @property
    def grown(self) -> int:
        """How many bytes it has taken at most since it began."""
        return memory(self.process.pid, "VmHWM") - self.before

    def finish(self, clock: Clock) -> None:
        """Nobody has waited for long, considering how fast `clock` says that the attacked process could be."""
        slowdown = clock.slowdown
        with self.process:
            try:
                output, _ = self.process.communicate(timeout=_ENDING_S)
            finally:
                self.process.kill()
        assert self.process.returncode == 0, "the innocent client was not served"
        waited = sorted(json.loads(output))
        worst, p99 = waited[-1], waited[int(0.99 * len(waited))]
        text = f"an innocent client waited for {worst:.3f} s, and for {p99:.3f} s in one of a hundred calls"
        assert worst <= WORST_S * slowdown, f"{text}; the machine explains a factor of {slowdown:.1f}"
        assert p99 <= P99_S * slowdown, f"{text}; the machine explains a factor of {slowdown:.1f}"


class Pool:
    """Servers by their options, for attacks that must leave them as they were."""

    def __init__(self) -> None:
        self.served: dict[tuple[tuple[str, Any], ...], tuple[Served, int]] = {}

    def take(self, options: dict[str, Any]) -> tuple[Served, int]:
        """One with what it takes by now, at most; it is not in the pool meanwhile."""
        found = self.served.pop(tuple(options.items()), None)
        if found is None:
            server = Served({name.replace("__", "."): value for name, value in options.items()})
            server.check()
            found = server, memory(server.process.pid, "VmHWM")
        return found

    def give_back(self, options: dict[str, Any], server: Served, before: int) -> None:
        self.served[tuple(options.items())] = server, before

    def close(self) -> None:
        for server, _ in self.served.values():
            assert server.stop() == 0
        self.served.clear()


pool = Pool()


@asynccontextmanager
async def watched(grows: int = LITTLE, **options: Any) -> AsyncIterator[Served]:
    """A server to attack. At the end it has never taken `grows` bytes more, and nobody else has waited for long.

    Where little is allowed, the next attack finds the same server, with what this one has left of that.
    """
    server, before = pool.take(options)
    try:
        witness, clock = Witness("innocent", server.port), Clock(server.process.pid)
        try:
            yield server
        finally:
            witness.finish(clock)
        server.check()
        grown = memory(server.process.pid, "VmHWM") - before
        assert grown <= grows, f"the server grew by {grown / MB:.1f} MB"
    except BaseException:
        server.stop()
        raise
    if grows == LITTLE:
        pool.give_back(options, server, before)
    else:
        assert server.stop() == 0
