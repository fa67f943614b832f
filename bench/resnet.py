"""ResNet-50 through the server, beside ONNX Runtime alone on the same core."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import uvloop

from bench.bare import run_once
from bench.load import Array, check, closed_loop, connected, message
from bench.measure import ROOT, Size, Spread, Subject, choose_cores, engine, pinned, running, usage, yais

SHORT = Size(rounds=3, requests=12)
FULL = Size(rounds=9, requests=80)

IN_FLIGHT = (1, 2)
SHAPE = (1, 3, 224, 224)

_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Row:
    """Images a second alone and served, the milliseconds of one served, and by how many percent serving is slower.

    `others` is the share of one core that went to processes which have no part in this, while images were served.
    """

    case: str
    bare_rate: Spread
    served_rate: Spread
    served_ms: Spread
    slower: Spread
    others: Spread


class Round(NamedTuple):
    """Images a second, alone and served, and the others' share of a core."""

    alone: float
    served: float
    others: float


def run(size: Size) -> list[Row]:
    cores, path = choose_cores(), engine("resnet50")
    value = np.random.default_rng(0).random(SHAPE, np.float32)
    with running("yais", yais(path), cores.server) as server, pinned(cores.load):
        expected = run_once(path, value)
        request = message(path.stem, "input", value)
        alone = partial(_alone, path, cores.server, size.requests)
        rounds = uvloop.run(_measure(server, alone, request, expected, size))
    return [_row(in_flight, rounds) for in_flight, rounds in zip(IN_FLIGHT, zip(*rounds, strict=True), strict=True)]


async def _measure(
    server: Subject, alone: Callable[[], float], request: bytes, expected: Array, size: Size
) -> list[list[Round]]:
    """For each of `IN_FLIGHT`, in each round."""
    async with connected(server.port, 1) as (infer,):

        async def served(in_flight: int) -> tuple[float, float]:
            check(await closed_loop([infer], in_flight, request, _WARM_UP), expected)
            before = usage(server)
            replies = await closed_loop([infer], in_flight, request, size.requests)
            spent = usage(server) - before
            check(replies, expected)
            return size.requests / spent.seconds, spent.others_share

        return [[Round(alone(), *await served(in_flight)) for in_flight in IN_FLIGHT] for _ in range(size.rounds)]


def _alone(path: Path, core: int, count: int) -> float:
    """In a process of its own, and on the server's core, while the server has nothing to do."""
    with pinned(core):
        command = [sys.executable, "-m", "bench.bare", str(path), str(count)]
        finished = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return float(json.loads(finished.stdout))


def _row(in_flight: int, rounds: Sequence[Round]) -> Row:
    return Row(
        f"{in_flight} in flight",
        bare_rate=Spread.of([each.alone for each in rounds]),
        served_rate=Spread.of([each.served for each in rounds]),
        served_ms=Spread.of([in_flight * 1e3 / each.served for each in rounds]),
        slower=Spread.of([(each.alone / each.served - 1) * 100 for each in rounds]),
        others=Spread.of([each.others for each in rounds]),
    )
