"""Engines by themselves: by the size of batch and the contexts, with graphs or without, page-locked or not."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from bench.gpu.bare import Bare, bare, each
from bench.gpu.bare_engine import Timing
from bench.gpu.machine import find_gpu
from bench.gpu.networks import NAMES, PRECISIONS, Network, engine_file
from bench.gpu.opening import Way
from bench.measure import Size, Spread

# Requests are milliseconds of a batch size here.
SHORT = Size(rounds=2, requests=250)
FULL = Size(rounds=5, requests=1_000)

BATCHES = (1, 8, 32, 128)
ALL_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
WAYS = (Way(1), Way(4), Way(4, graphs=False), Way(4, page_locked=False))
ALL_WAYS = tuple(Way(*each) for each in product((1, 2, 4, 8), (True, False), (True, False)))


class Case(NamedTuple):
    """A network, and how it is run."""

    network: Network
    way: Way


@dataclass(frozen=True, slots=True)
class Row:
    """Batches of one size; `name` is what ran them. Times are milliseconds of a run, `engine_ms` by the GPU's clock."""

    case: str
    name: str
    contexts: int
    graphs: bool
    page_locked: bool
    batch: int
    rate: Spread
    p50_ms: Spread
    p99_ms: Spread
    engine_ms: Spread
    device_mib: float
    padding: float


def run(size: Size) -> list[Row]:
    find_gpu()
    networks = [Network(name, precision) for name, precision in product(NAMES, PRECISIONS)]
    cases = [Case(*each) for each in product(networks, ALL_WAYS if size.is_full else WAYS)]
    batches = ALL_BATCHES if size.is_full else BATCHES
    return each(cases, lambda case: _measure(case, batches, size), _title)


def _measure(case: Case, batches: tuple[int, ...], size: Size) -> Iterator[Row]:
    with bare(engine_file(case.network), case.way) as loop:
        # The first is not counted: it brings up the clocks, and whatever is compiled when it is first run.
        _, *rounds = [_round(loop, batches, size.requests) for _ in range(size.rounds + 1)]
    for batch, timings in zip(batches, zip(*rounds, strict=True), strict=True):
        yield _row(case, batch, timings)


def _round(loop: Bare, batches: tuple[int, ...], milliseconds: float) -> list[Timing]:
    return [loop(batch, milliseconds) for batch in batches]


def _row(case: Case, batch: int, timings: tuple[Timing, ...]) -> Row:
    return Row(
        case.network.title,
        find_gpu().runtime,
        case.way.contexts,
        case.way.graphs,
        case.way.page_locked,
        batch,
        rate=Spread.of([timing.rate for timing in timings]),
        p50_ms=Spread.of([timing.p50_ms for timing in timings]),
        p99_ms=Spread.of([timing.p99_ms for timing in timings]),
        engine_ms=Spread.of([timing.engine_ms for timing in timings]),
        device_mib=timings[-1].device_mib,
        padding=timings[-1].padding,
    )


def _title(case: Case) -> str:
    way = case.way
    ways = [f"{way.contexts} contexts", "graphs" if way.graphs else "no graphs"]
    return ", ".join([case.network.title, *ways, "page-locked" if way.page_locked else "pageable"])
