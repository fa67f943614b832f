"""Throughput on the GPU: of engines by themselves, however they are run, and of the server beside them, in turn."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import NamedTuple

import click

from bench.gpu.bare_engine import BareEngine, EngineSetup, EngineTiming, bare_engine
from bench.gpu.machine import find_gpu
from bench.gpu.networks import NAMES, PRECISIONS, Network, Precision, engine_file
from bench.gpu.serving import Callers, Deployment, calling, classify, in_shared_memory, served
from bench.measure import Benchmark, NotInstalledError, Size, Spread, Subject
from bench.rounds import Bound, Burst, Contestant, ContestRow, ContestSample, compare, measure_each, metered

BATCHES = (1, 8, 32, 128)
ALL_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
# The short sweep changes one thing at a time; the full one has all combinations.
SETUPS = (EngineSetup(1), EngineSetup(4), EngineSetup(4, graphs=False), EngineSetup(4, page_locked=False))
ALL_SETUPS = tuple(EngineSetup(*each) for each in product((1, 2, 4, 8), (True, False), (True, False)))

CONTEXTS = 4
DEPLOYMENTS = tuple(Deployment(Network(name, "fp16"), CONTEXTS, 32) for name in NAMES)
_PRECISIONS: tuple[Precision, ...] = ("fp16", "int8")
ALL_DEPLOYMENTS = tuple(
    Deployment(Network(name, precision), contexts, batch)
    for name, precision, contexts, batch in product(NAMES, _PRECISIONS, (1, CONTEXTS, 8), (8, 32, 128))
)
# Pictures in a request.
ROWS = (1, 8)
YARDSTICK = "bare engine"
SHARED = Bound("at least", 0.95)


class SweepCase(NamedTuple):
    """A network, and how it is run."""

    network: Network
    setup: EngineSetup


@dataclass(frozen=True, slots=True)
class SweepRow:
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


def run_sweep(size: Size) -> list[SweepRow]:
    find_gpu()
    networks = [Network(name, precision) for name, precision in product(NAMES, PRECISIONS)]
    cases = [SweepCase(*each) for each in product(networks, ALL_SETUPS if size.is_full else SETUPS)]
    batches = ALL_BATCHES if size.is_full else BATCHES
    return measure_each(cases, lambda case: _measure_engine(case, batches, size), _title)


def _measure_engine(case: SweepCase, batches: tuple[int, ...], size: Size) -> Iterator[SweepRow]:
    with bare_engine(engine_file(case.network), case.setup) as loop:
        # The first is not counted: it brings up the clocks, and whatever is compiled when it is first run.
        _, *rounds = [[loop(batch, size.requests) for batch in batches] for _ in range(size.rounds + 1)]
    for batch, timings in zip(batches, zip(*rounds, strict=True), strict=True):
        yield _sweep_row(case, batch, timings)


def _sweep_row(case: SweepCase, batch: int, timings: tuple[EngineTiming, ...]) -> SweepRow:
    return SweepRow(
        case.network.title,
        find_gpu().runtime,
        case.setup.contexts,
        case.setup.graphs,
        case.setup.page_locked,
        batch,
        rate=Spread.of([timing.rate for timing in timings]),
        p50_ms=Spread.of([timing.p50_ms for timing in timings]),
        p99_ms=Spread.of([timing.p99_ms for timing in timings]),
        engine_ms=Spread.of([timing.engine_ms for timing in timings]),
        device_mib=timings[-1].device_mib,
        padding=timings[-1].padding,
    )


def _title(case: SweepCase) -> str:
    setup = case.setup
    parts = [f"{setup.contexts} contexts", "graphs" if setup.graphs else "no graphs"]
    return ", ".join([case.network.title, *parts, "page-locked" if setup.page_locked else "pageable"])


def run_served(size: Size) -> list[ContestRow]:
    find_gpu()
    return measure_each(
        ALL_DEPLOYMENTS if size.is_full else DEPLOYMENTS,
        lambda case: _measure_server(case, size),
        lambda case: case.title,
    )


def _measure_server(case: Deployment, size: Size) -> list[ContestRow]:
    with ExitStack() as stack:
        loop = stack.enter_context(bare_engine(engine_file(case.network), case.setup))
        server = stack.enter_context(served(case))
        contestants = [Contestant(YARDSTICK, _alone(loop, case.max_batch)), *_callers(case, server, stack)]
        for one in contestants:
            # Brings up the clocks, and whatever is compiled when it is first run.
            one.burst(size.requests)
        return compare(f"{case.title}; {find_gpu().runtime}", contestants, size, YARDSTICK)


def _callers(case: Deployment, server: Subject, stack: ExitStack) -> Iterator[Contestant]:
    """How pictures reach the server."""
    for rows in ROWS:
        question = classify(case.network, rows)
        # Twice what the contexts run at once, so that there always is a batch to be filled.
        in_flight = ceil(2 * case.contexts * case.max_batch / rows)
        callers = stack.enter_context(calling(server, question, in_flight))
        yield Contestant(f"gRPC, {rows} in a request", _through(server, callers, rows))
        try:
            question = stack.enter_context(in_shared_memory(server, question))
        except NotInstalledError as missing:
            click.echo(f"  without shared memory: {missing}", err=True)
        else:
            callers = stack.enter_context(calling(server, question, in_flight))
            yield Contestant(f"shared memory, {rows} in a request", _through(server, callers, rows), bound=SHARED)


def _alone(loop: BareEngine, batch: int) -> Burst:
    """Pictures a second, as the loop itself counts them."""
    subject = loop.child.subject(port=0)

    def burst(milliseconds: int) -> ContestSample:
        timing, spent = metered(subject, lambda: loop(batch, milliseconds))
        # The second is runs a second, in the place of the server's requests a second.
        return ContestSample(timing.rate, timing.rate / batch, spent.subject / spent.seconds, spent.others_share)

    return burst


def _through(server: Subject, callers: Callers, rows: int) -> Burst:
    """Pictures a second, from the first request sent to the last answer."""

    def burst(milliseconds: int) -> ContestSample:
        answered, spent = metered(server, lambda: callers(milliseconds), callers.subject)
        rate = answered.requests / answered.seconds
        return ContestSample(rate * rows, rate, spent.subject / spent.seconds, spent.others_share)

    return burst


BENCHMARKS = {
    # Requests are milliseconds of a batch size here.
    "gpu-sweep": Benchmark(run_sweep, short=Size(rounds=2, requests=250), full=Size(rounds=5, requests=1_000)),
    # Requests are milliseconds of a contestant's turn here.
    "gpu-served": Benchmark(run_served, short=Size(rounds=3, requests=1_000), full=Size(rounds=9, requests=5_000)),
}
