"""Servers whose latencies follow from theory, probed in a time of their own."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clients.made_runs import SECOND, chunk
from yais.clients.siege.find_max import SequentialTest
from yais.clients.stats.histogram import Histogram
from yais.clients.stats.outcomes import Counts
from yais.clients.stats.recorder import Tally
from yais.clients.stats.report import Report, RunInfo, summarise
from yais.clients.stats.slo import Measured

Floats = NDArray[np.float64]
Server = Callable[[Floats, np.random.Generator], Floats]
"""When each request is done that is due at these times; seconds."""


def queue(service: float, stall: float = 0.0, period: float = 1.0) -> Server:
    """Serves one request after the other, each for `service` seconds; begins each period with a stall."""

    def serve(due: Floats, random: np.random.Generator) -> Floats:
        # A stall is work of the highest priority that is there before the requests of its period.
        stalls = np.arange(0.0, due[-1] + period, period) if stall else np.zeros(0)
        arrivals = np.concatenate([stalls, due])
        order = np.argsort(arrivals, kind="stable")
        work = np.concatenate([np.full(stalls.size, stall), np.full(due.size, service)])[order]
        served = np.cumsum(work)
        done = np.empty(arrivals.size)
        done[order] = served + np.maximum.accumulate(arrivals[order] - served + work)
        return done[stalls.size :]

    return serve


def noisy(quick: float, slow: float, share: Callable[[float], float]) -> Server:
    """Answers at once, `quick` or, at random, `slow`; how large a share is slow depends on the rate."""

    def serve(due: Floats, random: np.random.Generator) -> Floats:
        is_slow = random.random(due.size) < share(due.size / due[-1])
        return due + np.where(is_slow, slow, quick)

    return serve


def poisson(rate: float, seconds: float, random: np.random.Generator) -> Floats:
    due = np.cumsum(random.exponential(1 / rate, round(rate * seconds * 1.3) + 50))
    return due[due < seconds]


def constant(rate: float, seconds: float, random: np.random.Generator) -> Floats:
    return np.arange(math.ceil(rate * seconds)) / rate


def probe(
    server: Server,
    rate: float,
    test: SequentialTest,
    longest: float,
    random: np.random.Generator,
    arrivals: Callable[[float, float, np.random.Generator], Floats] = poisson,
) -> Report:
    """A probe of at most `longest` seconds, watched as a real one is."""
    due = arrivals(rate, longest, random)
    done = server(due, random)
    order = np.argsort(done, kind="stable")
    due, done = due[order], done[order]
    sent, seen, ended = np.sort(due), Histogram(), 0
    while True:
        now = test.next_checkpoint
        until = int(np.searchsorted(done, now, "right"))
        seen.add(np.round((done - due)[ended:until] * SECOND).astype(np.int64))
        ended = until
        in_flight = int(np.searchsorted(sent, now, "right")) - ended
        counts = Counts(offered=ended, sent=ended, completed=ended)
        if now >= longest or test.check(Measured(counts, seen, now), in_flight):
            break
    was_sent = due <= now
    tally = Tally(start=0)
    tally.fold(chunk(due[was_sent], (done - due)[was_sent]))
    return summarise(tally, RunInfo(rate_asked=rate))


def rate_of_md1(service: float, bound: float, quantile: float) -> float:
    """Up to which rate `quantile` of the requests of a queue with Poisson arrivals is done within `bound`.

    The distribution of the time that they wait is Erlang's, of 1909; see L. Kleinrock, Queueing Systems I, 5.7.
    """

    def covered(rate: float) -> float:
        wait = bound - service
        terms = ((rate * (j * service - wait), j) for j in range(int(wait / service) + 1))
        return (1 - rate * service) * sum(x**j / math.factorial(j) * math.exp(-x) for x, j in terms)

    low, high = 0.0, 1 / service
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if covered(middle) >= quantile else (low, middle)
    return low
