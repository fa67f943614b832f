"""Growth of siege's resident memory: while it sends 10,000 requests a second, and with its records alone.

    python -m bench.siege.growth COUNT

Records COUNT requests for each line that it reads, as fast as that goes, and answers when that is done.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from bench.measure import BenchError, Benchmark, Child, Size, Subject, choose_cores, launched, pinned
from bench.siege.sending import checked, command
from bench.transport.peers import require_native, serving
from yais.clients.reporters import document
from yais.clients.stats.outcomes import STATUS_NUMBERS
from yais.clients.stats.recorder import Recorder

RATE = 10_000

Times = tuple[int, int, int]
"""When a request was due, was sent and was done, in nanoseconds."""

# Nanoseconds between two arrivals.
_GAP = 1_000_000_000 // RATE
# Drawn at a time, so that an hour of requests is never in memory.
_BLOCK = 50_000
_UNAVAILABLE = STATUS_NUMBERS[grpc.StatusCode.UNAVAILABLE]

# Seconds of traffic. Before, memory grows as that of all programs does at first.
SHORTEST = 600

_MIB = 2**20
_PATIENCE_S = 30


def blocks(requests: int, begin: int = 0) -> Iterator[list[Times]]:
    """So many requests, from number `begin` on, a block at a time.

    They are sent some 50 us late, and are done some 2 ms after that.
    """
    # Seeded by the place in the hour: its rounds differ, and every run has the same.
    random, end = np.random.default_rng(begin), begin + requests
    for first in range(begin, end, _BLOCK):
        due = np.arange(first, min(first + _BLOCK, end)) * _GAP
        sent = due + random.exponential(50_000, due.size).astype(np.int64)
        done = sent + random.lognormal(np.log(2e6), 0.7, due.size).astype(np.int64)
        yield list(zip(due.tolist(), sent.tolist(), done.tolist(), strict=True))


def record(recorder: Recorder, block: list[Times], failures: int = 0) -> None:
    """Of every hundred, so many have failed."""
    if not failures:
        for due, sent, done in block:
            recorder.add(due, sent, done, kind=0)
    else:
        fail = recorder.add_failure
        for number, (due, sent, done) in enumerate(block):
            if number % 100 < failures:
                fail(due, sent, done, _UNAVAILABLE, "Exceeds maximum queue size", 0)
            else:
                recorder.add(due, sent, done, kind=0)


@dataclass(frozen=True, slots=True)
class GrowthRow:
    """`samples` are resident MiB after each round; `slope` is how many an hour of them adds after the first tenth.

    None where there was less traffic than tells anything.
    """

    case: str
    name: str
    requests: int
    first: float
    settled: float
    last: float
    slope: float | None
    samples: tuple[float, ...]


def run_memory(size: Size) -> list[GrowthRow]:
    require_native()
    cores = choose_cores()
    with serving(["native, bytes"], cores) as servers, pinned(cores.load), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        # A second more, so that it still runs when its memory is read for the last time.
        count, most = ("--count", str(size.rounds * size.requests + RATE)), ("--max-outstanding", "20000")
        # With so many outstanding, a stall drops nothing; a run that did drop would have kept less.
        arguments = ("--rate", str(RATE), *count, *most, "--report", str(path))
        siege = command(servers["native, bytes"].port, Path(folder), *arguments)
        with launched("siege", siege, cores.load, heard=False) as child:
            samples = list(_samples(child, size))
            child.process.wait(_PATIENCE_S)
        report = checked(document.read(path))
        if report.counts.dropped:
            raise BenchError(f"{report.counts.dropped:,} requests were dropped")
        return [growth_row("siege", samples, size)]


def growth_row(name: str, samples: list[float], size: Size) -> GrowthRow:
    settled = max(1, len(samples) // 10)
    hours = np.arange(len(samples)) * size.requests / RATE / 3600
    slope, _ = np.polyfit(hours[settled:], samples[settled:], 1)
    return GrowthRow(
        f"{RATE:,} requests a second",
        name,
        requests=size.rounds * size.requests,
        first=samples[0],
        settled=samples[settled],
        last=samples[-1],
        slope=float(slope) if hours[-1] * 3600 >= SHORTEST else None,
        samples=tuple(samples),
    )


def resident(subject: Subject) -> float:
    return subject.rss() / _MIB


def _samples(child: Child, size: Size) -> Iterator[float]:
    """Resident MiB when siege begins to send, and after each round's time."""
    siege = child.subject(port=0)
    # What it takes until it connects is its start, not growth.
    while not siege.process.net_connections("tcp"):
        child.require_running()
        time.sleep(0.02)
    began = time.monotonic()
    for turn in range(size.rounds + 1):
        # Each time is counted from the beginning, so that delays do not add up.
        time.sleep(max(0.0, began + turn * size.requests / RATE - time.monotonic()))
        if turn < size.rounds:
            child.require_running()
        yield resident(siege)


def run_hour(size: Size) -> list[GrowthRow]:
    """In a process of its own, where nothing that was freed before takes in what grows."""
    command = [sys.executable, "-m", "bench.siege.growth", str(size.requests)]
    with launched("recorder", command, choose_cores().load) as child:
        child.hear()
        subject = child.subject(port=0)
        samples = [resident(subject)]
        for _ in range(size.rounds):
            child.say("on")
            child.hear()
            samples.append(resident(subject))
        return [growth_row("recorder alone", samples, size)]


def main(requests: int) -> None:
    """Records so many for each line that it reads, from where it was, and answers when that is done."""
    recorder, first = Recorder(), 0
    recorder.start(0)
    print("ready", flush=True)
    for _ in sys.stdin:
        for block in blocks(requests, first):
            record(recorder, block)
        first += requests
        print(first, flush=True)


BENCHMARKS = {
    "siege-memory": Benchmark(
        run_memory, short=Size(rounds=12, requests=2_500), full=Size(rounds=60, requests=600_000)
    ),
    "siege-hour": Benchmark(run_hour, short=Size(rounds=12, requests=50_000), full=Size(rounds=60, requests=600_000)),
}


if __name__ == "__main__":
    main(int(sys.argv[1]))
