"""Knee of the original's experiment: a constant rate below, at and above it, and what the metrics say of that."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from urllib.request import urlopen

from bench.gpu.bare_engine import bare_engine
from bench.gpu.machine import Means, Watch, find_gpu
from bench.gpu.networks import NAMES, Network, engine_file
from bench.gpu.serving import CALLERS, Deployment, calling, classify, served
from bench.measure import BenchError, Benchmark, Size, Spread, Subject, free_port
from bench.rounds import Bound, measure_each
from bench.service.generator import OpenLoopTally
from bench.service.overload import MAX_LAG_MS, GeneratorProcess, generator, spread
from bench.transport.peers import require_native

DEPLOYMENTS = tuple(Deployment(Network(name, "fp16"), 4, 32) for name in NAMES)
FACTORS = (0.1, 0.25, 0.5, 0.8, 0.9, 1.0, 1.1, 1.3)
# What was asked for: the share of the sustainable rate at which p99 is to be less than so many service times.
JUDGED, BOUND = 0.8, Bound("at most", 2.0)
_TRIAL_MS = 1_000
_TRIALS = 3


class KneeStep(NamedTuple):
    """One rate in one round."""

    tally: OpenLoopTally
    load_ratio: float | None
    means: Means


class Ratios(NamedTuple):
    """The server's histogram of load ratios, as far as it adds up."""

    total: float
    requests: float


@dataclass(frozen=True, slots=True)
class KneeLoad:
    """Generators at a constant rate towards one server, which tells its load ratio on the port `metrics`."""

    generators: Sequence[GeneratorProcess]
    metrics: int
    watch: Watch

    def __call__(self, rate: float, seconds: float) -> KneeStep:
        # The histogram only ever grows: what a step added is a difference.
        before = _ratios(self.metrics)
        # Drops the samples of the time before.
        self.watch.means()
        # These threads only wait; each generator sends in a process of its own.
        with ThreadPoolExecutor(len(self.generators)) as pool:
            steps = list(pool.map(lambda send: send(rate / len(self.generators), seconds), self.generators))
        means, after = self.watch.means(), _ratios(self.metrics)
        requests = after.requests - before.requests
        ratio = (after.total - before.total) / requests if requests else None
        return KneeStep(_together([step.tally for step in steps]), ratio, means)


@contextmanager
def loaded(case: Deployment, server: Subject, metrics: int) -> Iterator[KneeLoad]:
    """Generators of requests with one picture."""
    question, watch = classify(case.network, 1), Watch()
    with ExitStack() as stack:
        generators = [stack.enter_context(generator(server, question, None)) for _ in range(CALLERS)]
        stack.enter_context(watch.watching())
        yield KneeLoad(generators, metrics, watch)


def _ratios(port: int) -> Ratios:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        page = answer.read().decode()
    return Ratios(_sum(page, "sum"), _sum(page, "count"))


def _sum(page: str, which: str) -> float:
    found = re.search(rf"^yais_inference_load_ratio_{which}\S* (\S+)$", page, re.MULTILINE)
    if not found:
        raise BenchError("the server's metrics have no yais_inference_load_ratio")
    return float(found[1])


def _together(tallies: Sequence[OpenLoopTally]) -> OpenLoopTally:
    """Of generators that sent at the same time; latencies are those of the one that had the worst."""
    return OpenLoopTally(
        offered=sum(one.offered for one in tallies),
        dropped=sum(one.dropped for one in tallies),
        accepted=sum(one.accepted for one in tallies),
        refused=sum(one.refused for one in tallies),
        failed=dict(sum((Counter(one.failed) for one in tallies), Counter[str]())),
        goodput=sum(one.goodput for one in tallies),
        # Percentiles of several generators cannot be merged; the worst bounds them all.
        p50=_most([one.p50 for one in tallies]),
        p99=_most([one.p99 for one in tallies]),
        refused_p99=_most([one.refused_p99 for one in tallies]),
        lag=max(one.lag for one in tallies),
        replies=[],
    )


def _most(figures: Sequence[float | None]) -> float | None:
    return max((figure for figure in figures if figure is not None), default=None)


@dataclass(frozen=True, slots=True)
class KneeRow:
    """A step at `factor` of the sustainable rate, with one picture in a request.

    `service_ms` is what a full batch takes on the bare engine with all its contexts at work, at the median, and
    `of_service` p99 through that. Latencies are milliseconds from the due times, `lag_ms` is how late the generators
    sent, at p99; where that is too late, the step does not count. Readings are None where NVML does not tell them.
    """

    case: str
    name: str
    factor: float
    rate: float
    service_ms: float
    goodput: Spread
    refused: int
    failed: int
    p50_ms: Spread | None
    p99_ms: Spread | None
    of_service: float | None
    bound: Bound | None
    load_ratio: Spread | None
    power: Spread | None
    utilization: Spread | None
    sm_mhz: Spread | None
    memory_mib: Spread | None
    lag_ms: Spread
    counts: bool


def run_knee(size: Size) -> list[KneeRow]:
    require_native()
    find_gpu()
    return measure_each(DEPLOYMENTS, lambda case: _measure(case, size), lambda case: case.title)


def _measure(case: Deployment, size: Size) -> Iterator[KneeRow]:
    seconds, metrics = size.requests / 1e3, free_port()
    # Ended before the server starts, so that each has the GPU to itself.
    with bare_engine(engine_file(case.network), case.setup) as loop:
        service_ms = loop(case.max_batch, size.requests).p50_ms
    with served(case, metrics) as server, loaded(case, server, metrics) as load:
        sustainable = _sustainable(case, server)
        load(FACTORS[0] * sustainable, seconds)  # Not counted.
        rounds = [[load(factor * sustainable, seconds) for factor in FACTORS] for _ in range(size.rounds)]
    for factor, steps in zip(FACTORS, zip(*rounds, strict=True), strict=True):
        yield _row(case, factor, factor * sustainable, service_ms, steps)


def _sustainable(case: Deployment, server: Subject) -> float:
    """How many pictures a second are answered at best, with as many under setup as keep all contexts busy."""
    with calling(server, classify(case.network, 1), 2 * case.contexts * case.max_batch) as callers:
        # The first also brings up the clocks; the best of them counts.
        trials = [callers(_TRIAL_MS) for _ in range(_TRIALS)]
    return max(trial.requests / trial.seconds for trial in trials)


def _row(case: Deployment, factor: float, rate: float, service_ms: float, steps: Sequence[KneeStep]) -> KneeRow:
    tallies, means = [step.tally for step in steps], [step.means for step in steps]
    p99 = spread([one.p99 for one in tallies])
    return KneeRow(
        case.title,
        find_gpu().runtime,
        factor,
        rate,
        service_ms,
        goodput=Spread.of([one.goodput for one in tallies]),
        refused=sum(one.refused for one in tallies),
        failed=sum(sum(one.failed.values()) for one in tallies),
        p50_ms=spread([one.p50 for one in tallies]),
        p99_ms=p99,
        of_service=p99.median / service_ms if p99 else None,
        bound=BOUND if factor == JUDGED else None,
        load_ratio=spread([step.load_ratio for step in steps]),
        power=spread([one.power for one in means]),
        utilization=spread([one.utilization for one in means]),
        sm_mhz=spread([one.sm_mhz for one in means]),
        memory_mib=spread([one.memory_mib for one in means]),
        lag_ms=Spread.of([one.lag for one in tallies]),
        counts=all(one.lag <= MAX_LAG_MS for one in tallies),
    )


BENCHMARKS = {
    # Requests are milliseconds of a step here.
    "gpu-knee": Benchmark(run_knee, short=Size(rounds=1, requests=4_000), full=Size(rounds=3, requests=15_000)),
}
