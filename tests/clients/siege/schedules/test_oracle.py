import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import numpy as np
import pytest
from clients.fake_callable import FakeCallable
from clients.simulated_time import run_simulated
from numpy.typing import NDArray

from yais.clients.siege.open_loop import OpenLoop
from yais.clients.siege.schedules.pacer import Pacer, Until
from yais.clients.siege.schedules.pacers import GapDraws, RandomPacer, poisson_gaps
from yais.clients.stats.histogram import SECOND

loadgen = pytest.importorskip("bench.siege.loadgen", reason="LoadGen is not installed", exc_type=ImportError)

Answer = Callable[[Callable[[], None]], None]

SEED = 42
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def at_once(complete: Callable[[], None]) -> None:
    complete()


def mersenne_twister(seed: int) -> GapDraws:
    """Exponential gaps as libstdc++ draws them from a std::mt19937: two words make a number of [0, 1)."""
    words = np.random.MT19937()
    words.state = np.random.RandomState(seed).get_state(legacy=False)

    def draw(count: int) -> NDArray[np.float64]:
        low, high = words.random_raw(2 * count).reshape(-1, 2).T.astype(np.float64)
        return -np.log(1 - (low + high * 2.0**32) / 2.0**64)

    return draw


def as_loadgen(rate: float) -> Pacer:
    return RandomPacer(partial(mersenne_twister, SEED), rate)


def first_of(pacer: Pacer, count: int) -> NDArray[np.int64]:
    return np.array([pacer.due(arrival) for arrival in range(count)])


def test_the_same_gaps_are_the_same_arrivals_as_loadgen_s(tmp_path: Path) -> None:
    rate, count = 20_000.0, 10_000
    theirs = loadgen.serve(tmp_path, rate, count, at_once, SEED).scheduled
    # LoadGen's first query is due at the start, siege's after the first gap; LoadGen cuts gaps off to nanoseconds,
    # which siege rounds.
    ours = first_of(as_loadgen(rate), count - 1)
    assert np.abs(np.diff(ours) - np.diff(theirs[1:])).max() <= 1
    assert np.abs(ours - theirs[1:]).max() <= count


def test_poisson_arrivals_are_distributed_as_loadgen_s(tmp_path: Path) -> None:
    rate, count = 50_000.0, 40_000
    theirs = np.diff(loadgen.serve(tmp_path, rate, count, at_once, SEED).scheduled)
    ours = np.diff(first_of(poisson_gaps(rate, SEED), 10 * count))
    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.01)
    assert ours.std() == pytest.approx(theirs.std(), rel=0.02)
    # Kolmogorov and Smirnov's bound at a level of 0.001.
    assert distance(ours, theirs) < 1.95 * np.sqrt(1 / len(ours) + 1 / len(theirs))


def test_arrivals_of_another_rate_are_told_from_them() -> None:
    one, other = (np.diff(first_of(poisson_gaps(rate, SEED), 40_000)) for rate in (50_000.0, 52_000.0))
    assert distance(one, other) > 1.95 * np.sqrt(2 / 40_000)


def distance(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """The greatest difference between the two distribution functions."""
    values = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


@dataclass(frozen=True, slots=True)
class Served:
    """When each request was received and when it was answered, in nanoseconds of the monotonic clock."""

    received: list[int] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)


@contextmanager
def one_at_a_time(service: int, served: Served) -> Iterator[Answer]:
    """A server that is busy for `service` nanoseconds with each request, in the order of their arrival."""
    queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def receive(complete: Callable[[], None]) -> None:
        served.received.append(time.monotonic_ns())
        queue.put(complete)

    def work() -> None:
        free_at = 0
        while (complete := queue.get()) is not None:
            # Not from when it woke up: its own lateness must not add up.
            free_at = max(free_at, served.received[len(served.answered)]) + service
            time.sleep(max(free_at - time.monotonic_ns(), 0) / SECOND)
            served.answered.append(time.monotonic_ns())
            complete()

    thread = Thread(target=work)
    thread.start()
    try:
        yield receive
    finally:
        queue.put(None)
        thread.join()


def in_theory(dues: NDArray[np.int64], service: int) -> NDArray[np.int64]:
    """When each request is answered, which waits for those before it (Lindley's recursion)."""
    answers, free_at = [], 0
    for due in dues.tolist():
        free_at = max(free_at, due) + service
        answers.append(free_at)
    return np.array(answers)


def quantiles(latencies: NDArray[np.int64]) -> dict[str, float]:
    values = np.quantile(latencies, list(QUANTILES.values()), method="inverted_cdf") / 1e6
    return dict(zip(QUANTILES, values.tolist(), strict=True))


async def by_siege(schedule: Pacer, answers: NDArray[np.int64]) -> dict[str, float]:
    """What siege makes of requests that are answered at these times since the start of the schedule."""
    loop, times = asyncio.get_running_loop(), iter(answers.tolist())
    line = FakeCallable(lambda call: loop.call_at((sender.started_at + next(times)) / SECOND, call.end))
    pacer = Until(schedule, len(answers))
    sender = OpenLoop([line], repeat((0, b"")).__next__, pacer, timeout=60, max_outstanding=10_000)
    await sender.run()
    percentiles = sender.recorder.tally.latency.percentiles()
    return {name: percentiles[name] for name in QUANTILES}


def test_a_server_of_a_known_service_time_has_the_latencies_of_theory(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule, count, service = as_loadgen(1000.0), 20_000, 800_000
    dues = first_of(schedule, count)
    answers = in_theory(dues, service)
    ours = run_simulated(monkeypatch, lambda: by_siege(schedule, answers))
    assert ours == pytest.approx(quantiles(answers - dues), rel=0.002)


def test_the_same_answers_to_the_same_arrivals_have_the_same_latencies_in_siege_and_loadgen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LoadGen has a real server; siege, by a simulated clock, is answered when LoadGen was, however busy the machine.

    A thread that loses its core between its own look at the clock and LoadGen's has two more attempts.
    """
    rate, count, service = 250.0, 400, 3_200_000
    for attempt in range(3):
        served, folder = Served(), tmp_path / str(attempt)
        folder.mkdir()
        with one_at_a_time(service, served) as answer:
            # All but the first, which siege's schedule does not have.
            queries = loadgen.serve(folder, rate, count + 1, answer, SEED)
        # What is issued is received at once, at least once: so far are the two clocks apart.
        apart = (np.array(served.received) - queries.scheduled - queries.lag).min()
        answers = (np.array(served.answered) - apart)[1:]
        ours = run_simulated(monkeypatch, lambda answers=answers: by_siege(as_loadgen(rate), answers))
        theirs = quantiles(queries.latency[1:])
        if ours == pytest.approx(theirs, rel=0.01):
            break
    assert ours == pytest.approx(theirs, rel=0.01)
    dues = first_of(as_loadgen(rate), count)
    least = quantiles(in_theory(dues, service) - dues)
    assert all(theirs[name] > 0.99 * least[name] for name in QUANTILES)
