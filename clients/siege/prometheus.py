"""Prometheus metrics of a siege, and the endpoint that serves them."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from threading import Thread
from typing import NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, make_server

import click
import numpy as np
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from yais.clients.channel import HostPort
from yais.clients.siege.progress import Snapshot, sum_histograms
from yais.clients.stats.histogram import Histogram, Nanoseconds
from yais.clients.stats.outcomes import OUTCOMES

# Seconds.
BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Seconds in which it notices that it shall end.
_NOTICES = 0.1


class MetricsState(NamedTuple):
    """The runs that are `over`, the one that goes on, and the durations of all of them."""

    over: Snapshot
    run: Snapshot | None
    latency: Histogram
    lag: Histogram

    @property
    def total(self) -> Snapshot:
        return self.over if self.run is None else Snapshot.merged([self.over, self.run])


class SiegeCollector(Collector):
    """Adds up snapshots over all runs, of which there are several in a search; `info` are the labels of `siege_info`.

    Snapshots come on the event loop that sends, scrapes in a thread: the state is replaced as a whole, and worked
    out when it is scraped.
    """

    def __init__(self, info: Mapping[str, str]) -> None:
        self._info = dict(info)
        self._state = MetricsState(Snapshot(), None, Histogram(), Histogram())

    def show(self, snapshot: Snapshot) -> None:
        over, _, latency, lag = self._state
        latency, lag = sum_histograms([latency, snapshot.latency]), sum_histograms([lag, snapshot.lag])
        if snapshot.last:
            self._state = MetricsState(Snapshot.merged([over, snapshot]).final, None, latency, lag)
        else:
            self._state = MetricsState(over, snapshot, latency, lag)

    def collect(self) -> Iterator[Metric]:
        # Read once: `show` may replace it meanwhile, on another thread.
        state = self._state
        snapshot = state.total
        yield InfoMetricFamily("siege", "What siege sends to", self._info)
        yield from _counters(snapshot)
        yield GaugeMetricFamily("siege_in_flight", "Requests that were sent and have not ended yet", snapshot.in_flight)
        # A closed loop has no rate and no due times, and so neither of these.
        if snapshot.asked is not None:
            yield GaugeMetricFamily("siege_rate_asked", "Requests a second that are asked for now", snapshot.asked)
            yield _histogram_family("siege_send_lag", "From the due time to the send: siege's own delay", state.lag)
        yield _histogram_family(
            "siege_request_duration", "From the due time to the answer, of what completed", state.latency
        )


def buckets(histogram: Histogram) -> tuple[list[tuple[str, int]], float]:
    """How many durations were up to each bound, which is given as text, and the seconds of all of them together.

    A duration counts as the greatest of its slot, as in a percentile; what shares a slot with a bound is within.
    """
    durations, times = histogram.steps()
    counts = np.bincount(np.searchsorted(_bucket_edges(), durations), times, len(BOUNDS) + 1).astype(np.int64)
    names = [*map(str, BOUNDS), "+Inf"]
    return list(zip(names, accumulate(counts.tolist()), strict=True)), float((durations * times).sum() / 1e9)


@contextmanager
def serve_metrics(collector: Collector, address: HostPort) -> Iterator[HostPort]:
    """Answers scrapes of the collector, in a thread; gives the address with the port that it got.

    Raises click's usage error where the address cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    kind = _Server6 if ":" in address.host else _Server
    try:
        server = make_server(address.host, address.port, make_wsgi_app(registry), kind, _Silent)
    except OSError as error:
        raise click.BadParameter(f"{address}: {error.strerror}", param_hint="'--metrics'") from error
    with server:
        thread = Thread(target=server.serve_forever, args=(_NOTICES,), name="metrics", daemon=True)
        thread.start()
        try:
            yield HostPort(address.host, server.server_port)
        finally:
            server.shutdown()
            thread.join()


def _counters(snapshot: Snapshot) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "siege_requests", "Requests by what became of them; with those in flight, all that were due", labels=["outcome"]
    )
    for outcome in OUTCOMES:
        requests.add_metric([outcome], getattr(snapshot.counts, outcome))
    failures = CounterMetricFamily(
        "siege_failures", "Requests that were sent and did not complete, by gRPC status", labels=["status"]
    )
    for status, count in snapshot.failures.items():
        failures.add_metric([status], count)
    yield from (requests, failures)
    yield CounterMetricFamily(
        "siege_late_requests", "Completed requests that took longer than --late-after", snapshot.counts.late
    )
    yield CounterMetricFamily(
        "siege_warm_up_requests", "Requests of the warm-up, which count nowhere else", snapshot.warm_up
    )


def _histogram_family(name: str, text: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(f"{name}_seconds", text, *buckets(histogram))


@cache
def _bucket_edges() -> Nanoseconds:
    """The bounds as a histogram knows them."""
    histogram = Histogram()
    histogram.add(np.rint(np.array(BOUNDS) * 1e9).astype(np.int64))
    return histogram.steps()[0]


class _Server(ThreadingWSGIServer):
    # Some versions of Python would share the port with another process that has it already.
    allow_reuse_port = False


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Silent(WSGIRequestHandler):
    def log_message(self, text: str, *values: object) -> None: ...
