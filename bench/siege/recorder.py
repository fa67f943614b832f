"""What it costs siege to record a request, beside prometheus_client's histograms."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import process_time_ns

from prometheus_client import CollectorRegistry, Histogram

from bench.measure import Size, Spread, choose_cores, pinned
from bench.rounds import Bound
from bench.siege.records import Times, blocks, record
from yais.clients.stats.recorder import Recorder

SHORT = Size(rounds=3, requests=50_000)
FULL = Size(rounds=11, requests=1_000_000)

BOUND = Bound("at most", 1_000)

# Of every hundred requests, so many have failed.
CASES = {"all completed": 0, "1 % failed": 1, "all failed": 100}

Method = Callable[[list[Times]], object]


@dataclass(frozen=True, slots=True)
class Row:
    """Nanoseconds of CPU a request: the recorder with all its folding, and three observations of bound histograms."""

    case: str
    recorder_ns: Spread
    histogram_ns: Spread
    bound: Bound


def run(size: Size) -> list[Row]:
    with pinned(choose_cores().load):
        return [_row(case, failures, size) for case, failures in CASES.items()]


def _row(case: str, failures: int, size: Size) -> Row:
    rounds = [(_recording(size.requests, failures), _observing(size.requests)) for _ in range(size.rounds)]
    recorder, histogram = (Spread.of(column) for column in zip(*rounds, strict=True))
    return Row(case, recorder, histogram, BOUND)


def _recording(requests: int, failures: int) -> float:
    recorder = Recorder()
    recorder.start(0)
    spent = sum(_cost(partial(record, recorder, failures=failures), block) for block in blocks(requests))
    began = process_time_ns()
    recorder.tally  # noqa: B018 (It folds what is left.)
    return (spent + process_time_ns() - began) / requests


def _observing(requests: int) -> float:
    registry = CollectorRegistry()
    latency, service, lag = (
        Histogram(name, "Seconds", registry=registry).observe for name in ("latency", "service", "lag")
    )

    def observe(block: list[Times]) -> None:
        for due, sent, done in block:
            latency((done - due) / 1e9)
            service((done - sent) / 1e9)
            lag((sent - due) / 1e9)

    return sum(_cost(observe, block) for block in blocks(requests)) / requests


def _cost(method: Method, block: list[Times]) -> int:
    began = process_time_ns()
    method(block)
    return process_time_ns() - began
