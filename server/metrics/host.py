"""The machine's own gauges, under Triton's names."""

from collections.abc import Iterator

import psutil
from prometheus_client.metrics_core import GaugeMetricFamily, Metric


def host_families() -> Iterator[Metric]:
    """CPU and memory of the whole machine; CPU utilization is that since the last call."""
    memory = psutil.virtual_memory()
    # There is no pool of page-locked memory without a GPU; Triton reports it as empty then, too.
    for name, text, value in (
        ("nv_pinned_memory_pool_total_bytes", "Pinned memory pool total memory size, in bytes", 0),
        ("nv_pinned_memory_pool_used_bytes", "Pinned memory pool used memory size, in bytes", 0),
        ("nv_cpu_utilization", "CPU utilization rate [0.0 - 1.0]", psutil.cpu_percent() / 100),
        ("nv_cpu_memory_total_bytes", "CPU total memory (RAM), in bytes", memory.total),
        ("nv_cpu_memory_used_bytes", "CPU used memory (RAM), in bytes", memory.total - memory.available),
    ):
        yield GaugeMetricFamily(name, text, value)
