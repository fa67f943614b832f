"""A constant rate from several generators, with the server's load ratio and the GPU's readings meanwhile."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from urllib.request import urlopen

from bench.gpu.readings import Means, Watch
from bench.gpu.serving import CALLERS, Case, classify
from bench.measure import BenchError, Subject
from bench.service.generator import Tally
from bench.service.overload import Generator, generator


class Step(NamedTuple):
    """One rate in one round."""

    tally: Tally
    load_ratio: float | None
    means: Means


class Ratios(NamedTuple):
    """The server's histogram of load ratios, as far as it adds up."""

    total: float
    requests: float


@dataclass(frozen=True, slots=True)
class Load:
    """Generators at a constant rate towards one server, which tells its load ratio on the port `metrics`."""

    generators: Sequence[Generator]
    metrics: int
    watch: Watch

    def __call__(self, rate: float, seconds: float) -> Step:
        before = _ratios(self.metrics)
        self.watch.means()
        with ThreadPoolExecutor(len(self.generators)) as pool:
            steps = list(pool.map(lambda send: send(rate / len(self.generators), seconds), self.generators))
        means, after = self.watch.means(), _ratios(self.metrics)
        requests = after.requests - before.requests
        ratio = (after.total - before.total) / requests if requests else None
        return Step(_together([step.tally for step in steps]), ratio, means)


@contextmanager
def loaded(case: Case, server: Subject, metrics: int) -> Iterator[Load]:
    """Generators of requests with one picture."""
    question, watch = classify(case.network, 1), Watch()
    with ExitStack() as stack:
        generators = [stack.enter_context(generator(server, question, None)) for _ in range(CALLERS)]
        stack.enter_context(watch.watching())
        yield Load(generators, metrics, watch)


def _ratios(port: int) -> Ratios:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        page = answer.read().decode()
    return Ratios(_sum(page, "sum"), _sum(page, "count"))


def _sum(page: str, which: str) -> float:
    found = re.search(rf"^yais_inference_load_ratio_{which}\S* (\S+)$", page, re.MULTILINE)
    if not found:
        raise BenchError("the server's metrics have no yais_inference_load_ratio")
    return float(found[1])


def _together(tallies: Sequence[Tally]) -> Tally:
    """Of generators that sent at the same time; latencies are those of the one that had the worst."""
    return Tally(
        offered=sum(one.offered for one in tallies),
        dropped=sum(one.dropped for one in tallies),
        accepted=sum(one.accepted for one in tallies),
        refused=sum(one.refused for one in tallies),
        failed=dict(sum((Counter(one.failed) for one in tallies), Counter[str]())),
        goodput=sum(one.goodput for one in tallies),
        p50=_most([one.p50 for one in tallies]),
        p99=_most([one.p99 for one in tallies]),
        refused_p99=_most([one.refused_p99 for one in tallies]),
        lag=max(one.lag for one in tallies),
        replies=[],
    )


def _most(figures: Sequence[float | None]) -> float | None:
    return max((figure for figure in figures if figure is not None), default=None)
