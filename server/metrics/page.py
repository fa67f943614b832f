"""All families of one scrape."""

from collections.abc import Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from yais.server.metrics.families import triton_families, yais_families
from yais.server.metrics.figures import Figures
from yais.server.metrics.gpu import GpuSampler
from yais.server.metrics.host import host_families


def families(figures: Figures, gpus: GpuSampler) -> Iterator[Metric]:
    """Of the models, the machine and the processes, in this order."""
    yield from yais_families(figures.recorders)
    yield GaugeMetricFamily(
        "yais_executor_queue_depth", "Requests that came in and are not answered yet", figures.in_flight
    )
    yield from gpus.families()
    yield from triton_families(figures.recorders, lambda recorder: figures.waiting[recorder.model])
    yield from host_families()
    yield from figures.process
