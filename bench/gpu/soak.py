"""Whether memory grows: over many requests to a server, and over engines that are opened and closed."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.gpu.bare import each
from bench.gpu.cycles import Taken
from bench.gpu.machine import find_gpu
from bench.gpu.networks import Network, engine_file
from bench.gpu.opening import Way
from bench.gpu.readings import memory_mib
from bench.gpu.serving import Case, calling, classify, served
from bench.measure import NotInstalledError, Size, launched

# Requests are milliseconds of a server under load here, and there are as many cycles as rounds.
SHORT = Size(rounds=20, requests=2_000)
FULL = Size(rounds=200, requests=18_000)

NETWORK = Network("efficientnet-lite0", "fp16")
CONTEXTS, MAX_BATCH = 4, 32
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """`count` steps of `unit`; memory in MiB after each, and `slope` by a thousand steps, from the first tenth on."""

    case: str
    name: str
    unit: str
    count: int
    device: tuple[float, ...]
    host: tuple[float, ...]
    device_slope: float
    host_slope: float


def run(size: Size) -> list[Row]:
    find_gpu()
    kinds: dict[str, Callable[[Size], Row]] = {"requests": _requests, "opening and closing": _cycles}
    return each(kinds, lambda kind: [kinds[kind](size)], str)


def _requests(size: Size) -> Row:
    """A server that is always busy; raises `NotInstalledError` where nothing tells of the GPU's memory."""
    case, counts, taken = Case(NETWORK, CONTEXTS, MAX_BATCH), [0], []
    with served(case) as server, calling(server, classify(NETWORK, 1), 2 * CONTEXTS * MAX_BATCH) as callers:
        for _ in range(size.rounds):
            answered = callers(size.requests)
            device = memory_mib()
            if device is None:
                raise NotInstalledError("NVML: it does not tell the GPU's memory")
            counts.append(counts[-1] + answered.requests)
            taken.append(Taken(device, server.rss() / _MIB))
    return _row(case.title, "requests", counts[1:], taken)


def _cycles(size: Size) -> Row:
    way = Way(CONTEXTS)
    command = [sys.executable, "-m", "bench.gpu.cycles", str(engine_file(NETWORK)), *way.flags()]
    with launched("the cycles", command, None) as child:
        child.hear()
        taken = list(_turns(child.say, child.hear, size.rounds))
    title = f"{NETWORK.title}, {CONTEXTS} contexts, opened, run and closed"
    return _row(title, "cycles", list(range(1, size.rounds + 1)), taken)


def _turns(say: Callable[[str], None], hear: Callable[[], str], count: int) -> Iterator[Taken]:
    for _ in range(count):
        say("1")
        yield Taken(**json.loads(hear()))


def _row(case: str, unit: str, counts: Sequence[int], taken: Sequence[Taken]) -> Row:
    device, host = tuple(one.device for one in taken), tuple(one.host for one in taken)
    slopes = (_slope(counts, device), _slope(counts, host))
    return Row(case, find_gpu().runtime, unit, counts[-1], device, host, *slopes)


def _slope(counts: Sequence[int], memory: Sequence[float]) -> float:
    settled = max(1, len(counts) // 10)
    slope, _ = np.polyfit(counts[settled:], memory[settled:], 1)
    return float(slope) * 1_000
