"""Resident memory of siege while it sends 10,000 requests a second."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.measure import BenchError, Child, Size, Subject, choose_cores, launched, pinned
from bench.siege.command import checked, command
from bench.siege.records import RATE
from bench.transport.peers import require_native, serving
from yais.clients.reporters import document

SHORT = Size(rounds=12, requests=2_500)
FULL = Size(rounds=60, requests=600_000)

# Seconds of traffic. Before, memory grows as that of all programs does at first.
SHORTEST = 600

_MIB = 2**20
_PATIENCE_S = 30


@dataclass(frozen=True, slots=True)
class Row:
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


def run(size: Size) -> list[Row]:
    require_native()
    cores = choose_cores()
    with serving(["native, bytes"], cores) as servers, pinned(cores.load), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        # A second more, so that it still runs when its memory is read for the last time.
        count, most = ("--count", str(size.rounds * size.requests + RATE)), ("--max-outstanding", "20000")
        arguments = ("--rate", str(RATE), *count, *most, "--report", str(path))
        siege = command(servers["native, bytes"].port, Path(folder), *arguments)
        with launched("siege", siege, cores.load, heard=False) as child:
            samples = list(_samples(child, size))
            child.process.wait(_PATIENCE_S)
        report = checked(document.read(path))
        if report.counts.dropped:
            raise BenchError(f"{report.counts.dropped:,} requests were dropped")
        return [row("siege", samples, size)]


def row(name: str, samples: list[float], size: Size) -> Row:
    settled = max(1, len(samples) // 10)
    hours = np.arange(len(samples)) * size.requests / RATE / 3600
    slope, _ = np.polyfit(hours[settled:], samples[settled:], 1)
    return Row(
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
    while not siege.process.net_connections("tcp"):
        child.require_running()
        time.sleep(0.02)
    began = time.monotonic()
    for turn in range(size.rounds + 1):
        time.sleep(max(0.0, began + turn * size.requests / RATE - time.monotonic()))
        if turn < size.rounds:
            child.require_running()
        yield resident(siege)
