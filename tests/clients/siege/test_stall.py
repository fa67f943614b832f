"""A server that stalls for one second at 1,000 requests a second, which queueing theory knows all about."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
from clients.fake_callable import FakeCall, FakeCallable
from clients.simulated_time import run_simulated

from yais.clients.reporters import document
from yais.clients.siege.closed_loop import ClosedLoop
from yais.clients.siege.in_flight import NextRequest
from yais.clients.siege.open_loop import OpenLoop
from yais.clients.siege.schedules.pacer import Arrivals, Constant, Pacer, Until
from yais.clients.siege.schedules.pacers import poisson_gaps
from yais.clients.stats.histogram import SECOND
from yais.clients.stats.recorder import Recorder
from yais.clients.stats.report import Report, summarise

SIEGE = Path(sys.executable).with_name("siege")
ANY: NextRequest = repeat((0, b"")).__next__
RATE = 1000.0
STALL = 1.0
SERVICE = 0.0002
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


def in_theory(quantile: float, seconds: float, stall: float = STALL, service: float = SERVICE) -> float:
    """The latency at a quantile of evenly spaced arrivals at a server that stalls once in so many seconds.

    It serves one after the other. The work before it is that of the stall, grows by what arrives and shrinks by what
    is done: an arrival x seconds after the beginning of the stall finds stall - x * (1 - load) seconds of it. So for
    stall / (1 - load) seconds the latencies go evenly from stall + service down to service, where all others are.
    """
    load = RATE * service
    return max(service, service + stall - (1 - quantile) * seconds * (1 - load))


class StallingServer:
    """Serves one request after the other, on the loop's clock; does nothing for `STALL` seconds from `at` on."""

    def __init__(self, at: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._stall_at = self._loop.time() + at
        self._free_at = 0.0

    def receive(self, call: FakeCall) -> None:
        now = self._loop.time()
        if now >= self._stall_at:
            self._free_at = max(self._free_at, self._stall_at + STALL)
        self._free_at = max(self._free_at, now) + SERVICE
        self._loop.call_at(self._free_at, call.end)


def arrivals_of(pacer: Pacer) -> Iterator[float]:
    """When they are due, in seconds."""
    arrivals = Arrivals(pacer)
    while block := arrivals.take(100 * SECOND):
        yield from (due / SECOND for due in block)


async def open_loop(pacer: Pacer) -> Report:
    recorder = Recorder()
    line = FakeCallable(StallingServer(at=2.0).receive)
    await OpenLoop([line], ANY, pacer, timeout=10, max_outstanding=2000, recorder=recorder).run()
    return summarise(recorder.tally)


async def closed_loop(seconds: int, concurrency: int) -> Report:
    recorder = Recorder()
    line = FakeCallable(StallingServer(at=2.0).receive)
    duration = seconds * SECOND
    loop = ClosedLoop([line], ANY, concurrency=concurrency, timeout=10, duration=duration, recorder=recorder)
    await loop.run()
    return summarise(recorder.tally)


@pytest.mark.parametrize("seconds", [6, 30])
def test_a_stall_shows_in_every_percentile_as_theory_says(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    schedule = Until(Constant(RATE), duration=seconds * SECOND)
    report = run_simulated(monkeypatch, lambda: open_loop(schedule))
    assert report.counts.completed == RATE * seconds
    expected = {name: in_theory(quantile, seconds) * 1e3 for name, quantile in QUANTILES.items()}
    assert expected["p99"] > 700
    assert {name: report.latency.ms[name] for name in QUANTILES} == pytest.approx(expected, rel=0.005)
    assert report.latency.ms["max"] == pytest.approx((STALL + SERVICE) * 1e3, rel=0.002)
    assert report.lag.ms["max"] == 0


def test_random_arrivals_meet_a_stall_as_their_own_recursion_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lindley's: each request waits for those before it, and for what is left of the stall."""
    seconds = 10
    schedule = Until(poisson_gaps(RATE, seed=7), duration=seconds * SECOND)
    latencies, free_at = [], 0.0
    for due in arrivals_of(schedule):
        free_at = max(free_at, due, 2.0 + STALL if due >= 2.0 else 0.0) + SERVICE
        latencies.append(free_at - due)
    report = run_simulated(monkeypatch, lambda: open_loop(schedule))
    values = np.quantile(latencies, list(QUANTILES.values()), method="inverted_cdf") * 1e3
    # The one beside it would do as well: ranks may be rounded in several ways.
    assert [report.latency.ms[name] for name in QUANTILES] == pytest.approx(values.tolist(), rel=0.005)


def test_a_closed_loop_shows_nothing_of_the_same_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, concurrency = 6, 4
    report = run_simulated(monkeypatch, lambda: closed_loop(seconds, concurrency))
    # Of all it sends, it has no more in flight during the stall than ever; the server is never without work.
    assert report.counts.completed == pytest.approx((seconds - STALL) / SERVICE, rel=0.01)
    usual = concurrency * SERVICE * 1e3
    assert [report.latency.ms[name] for name in ("p50", "p99", "p99.9")] == pytest.approx([usual] * 3, rel=0.002)
    assert report.latency.ms["max"] == pytest.approx(STALL * 1e3, rel=0.01)


@contextmanager
def stalling_server(stall_after: int) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A real one, of one thread, and its port; it prints how long it has stalled."""
    script = Path(__file__).parents[1] / "stalling_server.py"
    command = [sys.executable, str(script), str(stall_after), str(STALL)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.terminate()


def siege(folder: Path, *options: str) -> tuple[Report, float]:
    """What the command reports of a server that stalls at its thousandth request, and for how long that did."""
    with stalling_server(stall_after=1000) as (port, process):
        assert process.stdout is not None
        target = ["--host", "127.0.0.1", "--port", port, "--method", "/test.Stalling/Call", "--max-lag", "60000"]
        path = folder / "report.json"
        command = [str(SIEGE), *target, *options, "--report", str(path)]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert path.exists(), finished.stderr
        return document.read(path), float(process.stdout.readline())


def test_a_stalled_server_has_the_p99_of_theory_in_siege_s_report_and_none_of_it_in_a_closed_loop_s(
    tmp_path: Path,
) -> None:
    """A machine that is busy only ever adds to a latency: twice more it may try to be less so."""
    seconds = 4
    for _ in range(3):
        report, stall = siege(tmp_path, "--rate", f"{RATE:g}", "--duration", str(seconds), "--max-outstanding", "4000")
        assert report.counts.completed == RATE * seconds
        expected = in_theory(0.99, seconds, stall, service=0) * 1e3
        # Those that were in flight already wait for the rest of the stall as well.
        assert report.latency.ms["p99"] >= expected * 0.995
        if report.latency.ms["p99"] <= expected * 1.1:
            break
    assert report.latency.ms["p99"] <= expected * 1.1
    closed, stall = siege(tmp_path, "--concurrency", "4", "--count", f"{RATE * seconds:.0f}")
    assert closed.counts.completed == RATE * seconds
    assert closed.latency.ms["max"] >= stall * 990
    assert closed.latency.ms["p99"] <= expected / 5
