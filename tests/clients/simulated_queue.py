"""A queue with any number of servers, second by second."""

import heapq
from typing import Literal

import numpy as np

Gaps = Literal["constant", "random"]


def simulated(
    seed: int, rate: float, load: float, seconds: int, gaps: Gaps = "random", servers: int = 1
) -> tuple[list[int], list[int]]:
    """How many are in the queue at the end of each second, and how many came in it; service times are exponential."""
    random = np.random.default_rng(seed)
    count = int(rate * seconds)
    arrivals = np.arange(count) / rate if gaps == "constant" else np.cumsum(random.exponential(1 / rate, count))
    services = random.exponential(servers * load / rate, count)
    free, departures = [0.0] * servers, np.empty(count)
    for number in range(count):
        begin = max(arrivals[number], heapq.heappop(free))
        departures[number] = begin + services[number]
        heapq.heappush(free, departures[number])
    ends = np.arange(1, seconds + 1)
    arrived = np.searchsorted(arrivals, ends)
    in_flight = arrived - np.searchsorted(np.sort(departures), ends)
    return in_flight.tolist(), np.diff(arrived, prepend=0).tolist()
