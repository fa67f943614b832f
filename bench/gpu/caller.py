"""A closed loop, in a process of its own: a request is sent again as soon as it is answered.

    python -m bench.gpu.caller PORT REQUEST_FILE IN_FLIGHT TRANSPORT

Reads lines of MILLISECONDS, goes on for so long, and answers each with a `Yield` in JSON.
"""

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import cast

import uvloop

from bench.closed_loop import Infer, connected
from bench.measure import uncollected
from bench.transport.contract import Transport


@dataclass(frozen=True, slots=True)
class Yield:
    """How many requests were answered in so many seconds, and the distinct replies, in hexadecimal digits."""

    requests: int
    seconds: float
    replies: list[str]


async def work(port: int, request: bytes, in_flight: int, transport: Transport) -> None:
    async with connected(port, 1, transport) as (infer,):
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            with uncollected():
                answered = await _for(float(line) / 1e3, infer, request, in_flight)
            print(json.dumps(asdict(answered)), flush=True)


async def _for(seconds: float, infer: Infer, request: bytes, in_flight: int) -> Yield:
    """Those still under way at the end are waited for, and their time counts."""
    began = perf_counter()
    replies: set[bytes] = set()

    async def turns() -> int:
        count = 0
        while perf_counter() - began < seconds:
            replies.add(await infer(request))
            count += 1
        return count

    counts = await asyncio.gather(*(turns() for _ in range(in_flight)))
    return Yield(sum(counts), perf_counter() - began, [reply.hex() for reply in replies])


if __name__ == "__main__":
    file, flight, kind = sys.argv[2:]
    uvloop.run(work(int(sys.argv[1]), Path(file).read_bytes(), int(flight), cast("Transport", kind)))
