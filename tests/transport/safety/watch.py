"""A server under attack: how much memory it takes, and how long an innocent client waits meanwhile."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from protocol.serving import PATIENCE_S, Served, serve

HERE = Path(__file__).parent
MB = 2**20

# A turn of the server's loop is meant to take milliseconds. On two cores that four busy processes share, the scheduler
# adds tens of them; whoever keeps the loop to himself adds hundreds.
P99_S = 0.25
# Now and then the machine is away for longer. A server that is stuck would be so for as long as the attack lasts.
WORST_S = 1.0

# What a process of this kind takes for a few hundred calls, with the buffers that its allocator keeps.
LITTLE = 8 * MB


def memory(pid: int, name: str) -> int:
    """A size of the process, in bytes: `VmRSS` is what it takes now, `VmHWM` what it ever took."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def own_memory() -> int:
    """What this process takes now, in bytes."""
    return memory(os.getpid(), "VmRSS")


class Innocent:
    """Its process, and its verdict."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-m", "safety.innocent", str(port)]
        self.process = subprocess.Popen(command, cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def finish(self) -> list[float]:
        """The seconds of each call, in order of size."""
        with self.process:
            try:
                output, _ = self.process.communicate(timeout=2 * PATIENCE_S)
            finally:
                self.process.kill()
        assert self.process.returncode == 0, "the innocent client was not served"
        return sorted(json.loads(output))


@asynccontextmanager
async def watched(grows: int = LITTLE, **options: Any) -> AsyncIterator[Served]:
    """A server to attack. At the end it has never taken `grows` bytes more, and nobody else has waited for long."""
    with serve(**options) as server:
        server.check()
        before = memory(server.process.pid, "VmHWM")
        innocent = Innocent(server.port)
        try:
            yield server
        finally:
            waited = innocent.finish()
        grown = memory(server.process.pid, "VmHWM") - before
        assert grown <= grows, f"the server grew by {grown / MB:.0f} MB"
        worst, p99 = waited[-1], waited[int(0.99 * len(waited))]
        assert worst <= WORST_S, f"an innocent client waited for {worst:.3f} s"
        assert p99 <= P99_S, f"one in a hundred calls of an innocent client took {p99:.3f} s"
