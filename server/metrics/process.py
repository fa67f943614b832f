"""What a process tells of itself: time, memory and files, and Python's garbage collector."""

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import Metric


class ProcessReader:
    """Reads `process_*`, `python_info` and `python_gc_*` of the process that it is in."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def read(self) -> list[Metric]:
        return list(self._registry.collect())
