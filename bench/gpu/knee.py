"""The original's experiment: a constant rate below, at and above the knee, and what the metrics say of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.gpu.bare import bare, each
from bench.gpu.loading import Step, loaded
from bench.gpu.machine import find_gpu
from bench.gpu.networks import NAMES, Network, engine_file
from bench.gpu.serving import Case, calling, classify, served
from bench.measure import Size, Spread, Subject, free_port
from bench.rounds import Bound
from bench.service.overload import MAX_LAG_MS, spread
from bench.transport.peers import require_native

# Requests are milliseconds of a step here.
SHORT = Size(rounds=1, requests=4_000)
FULL = Size(rounds=3, requests=15_000)

CASES = tuple(Case(Network(name, "fp16"), 4, 32) for name in NAMES)
FACTORS = (0.1, 0.25, 0.5, 0.8, 0.9, 1.0, 1.1, 1.3)
# What was asked for: the share of the sustainable rate at which p99 is to be less than so many service times.
JUDGED, BOUND = 0.8, Bound("at most", 2.0)
_TRIAL_MS = 1_000
_TRIALS = 3


@dataclass(frozen=True, slots=True)
class Row:
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


def run(size: Size) -> list[Row]:
    require_native()
    find_gpu()
    return each(CASES, lambda case: _measure(case, size), lambda case: case.title)


def _measure(case: Case, size: Size) -> Iterator[Row]:
    seconds, metrics = size.requests / 1e3, free_port()
    with bare(engine_file(case.network), case.way) as loop:
        service_ms = loop(case.max_batch, size.requests).p50_ms
    with served(case, metrics) as server, loaded(case, server, metrics) as load:
        sustainable = _sustainable(case, server)
        load(FACTORS[0] * sustainable, seconds)  # Not counted.
        rounds = [[load(factor * sustainable, seconds) for factor in FACTORS] for _ in range(size.rounds)]
    for factor, steps in zip(FACTORS, zip(*rounds, strict=True), strict=True):
        yield _row(case, factor, factor * sustainable, service_ms, steps)


def _sustainable(case: Case, server: Subject) -> float:
    """How many pictures a second are answered at best, with as many under way as keep all contexts busy."""
    with calling(server, classify(case.network, 1), 2 * case.contexts * case.max_batch) as callers:
        trials = [callers(_TRIAL_MS) for _ in range(_TRIALS)]
    return max(trial.requests / trial.seconds for trial in trials)


def _row(case: Case, factor: float, rate: float, service_ms: float, steps: Sequence[Step]) -> Row:
    tallies, means = [step.tally for step in steps], [step.means for step in steps]
    p99 = spread([one.p99 for one in tallies])
    return Row(
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
