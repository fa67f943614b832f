"""All families of one server, brought up to date at each scrape."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from yais.server.metrics.families import triton_families, yais_families
from yais.server.metrics.gpu import PowerSampler
from yais.server.metrics.host import host_families
from yais.server.model import Model


class ServiceCollector(Collector):
    """Reads `models` and `power` when scraped. `in_flight` tells how many requests came in and are not answered yet."""

    def __init__(self, models: Iterable[Model], in_flight: Callable[[], int], power: PowerSampler) -> None:
        self._models = models
        self._in_flight = in_flight
        self._power = power

    def collect(self) -> Iterator[Metric]:
        recorders = [model.recorder.read() for model in self._models]
        waiting = {model.name: model.waiting for model in self._models}
        yield from yais_families(recorders)
        yield GaugeMetricFamily(
            "yais_executor_queue_depth", "Requests that came in and are not answered yet", self._in_flight()
        )
        yield from self._power.families()
        yield from triton_families(recorders, lambda recorder: waiting[recorder.model])
        yield from host_families()
