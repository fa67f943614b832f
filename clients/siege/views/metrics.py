"""What siege tells Prometheus while it runs."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from yais.clients.siege.views.buckets import buckets
from yais.clients.siege.views.glance import Glance, summed
from yais.clients.stats.histogram import Histogram
from yais.clients.stats.outcomes import OUTCOMES


class Told(NamedTuple):
    """The runs that are `over`, the one that goes on, and the durations of all of them."""

    over: Glance
    run: Glance | None
    latency: Histogram
    lag: Histogram

    @property
    def total(self) -> Glance:
        return self.over if self.run is None else Glance.merged([self.over, self.run])


class Metrics(Collector):
    """Adds up glances over all runs, of which there are several in a search; `info` are the labels of `siege_info`.

    It is told on the event loop that sends, and asked in a thread: what it was told is replaced as a whole, and worked
    out when it is asked.
    """

    def __init__(self, info: Mapping[str, str]) -> None:
        self._info = dict(info)
        self._told = Told(Glance(), None, Histogram(), Histogram())

    def show(self, glance: Glance) -> None:
        over, _, latency, lag = self._told
        latency, lag = summed([latency, glance.latency]), summed([lag, glance.lag])
        if glance.last:
            self._told = Told(Glance.merged([over, glance]).at_rest, None, latency, lag)
        else:
            self._told = Told(over, glance, latency, lag)

    def collect(self) -> Iterator[Metric]:
        told = self._told
        glance = told.total
        yield InfoMetricFamily("siege", "What siege sends to", self._info)
        yield from _counters(glance)
        yield GaugeMetricFamily("siege_in_flight", "Requests that were sent and have not ended yet", glance.in_flight)
        if glance.asked is not None:
            yield GaugeMetricFamily("siege_rate_asked", "Requests a second that are asked for now", glance.asked)
            yield _histogram("siege_send_lag", "From the due time to the send: siege's own delay", told.lag)
        yield _histogram("siege_request_duration", "From the due time to the answer, of what completed", told.latency)


def _counters(glance: Glance) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "siege_requests", "Requests by what became of them; with those in flight, all that were due", labels=["outcome"]
    )
    for outcome in OUTCOMES:
        requests.add_metric([outcome], getattr(glance.counts, outcome))
    failures = CounterMetricFamily(
        "siege_failures", "Requests that were sent and did not complete, by gRPC status", labels=["status"]
    )
    for status, count in glance.failures.items():
        failures.add_metric([status], count)
    yield from (requests, failures)
    yield CounterMetricFamily(
        "siege_late_requests", "Completed requests that took longer than --late-after", glance.counts.late
    )
    yield CounterMetricFamily(
        "siege_warm_up_requests", "Requests of the warm-up, which count nowhere else", glance.warm_up
    )


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(f"{name}_seconds", text, *buckets(histogram))
