"""Metric families with their help texts: YAIS's own, and Triton's under Triton's names."""

import platform
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import psutil
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from yais import __version__
from yais.server.metrics.gpu import GpuSampler
from yais.server.metrics.process_stats import ProcessStats
from yais.server.metrics.recorder import STAGES, BucketCounts, InferenceRecorder
from yais.version import commit

YAIS_QUANTILES = (0.5, 0.9, 0.99)
TRITON_QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)

Recorders = Sequence[InferenceRecorder]
Labels = dict[str, str]

# Stage -> its name in Triton's counters and summaries, and their help texts.
_TRITON_STAGES = {
    "request": ("request", "Cumulative", "Summary of", "inference request duration", "includes"),
    "queue": ("queue", "Cumulative", "Summary of", "inference queuing duration", "includes"),
    "input": ("compute_input", "Cumulative", "Cumulative", "compute input duration", "does not include"),
    "infer": ("compute_infer", "Cumulative", "Cumulative", "compute inference duration", "does not include"),
    "output": ("compute_output", "Cumulative", "Cumulative", "inference compute output duration", "does not include"),
}
_TRITON_COUNTS: tuple[tuple[str, str, Callable[[InferenceRecorder], int]], ...] = (
    (
        "nv_inference_count",
        "Number of inferences performed (does not include cached requests)",
        lambda recorder: recorder.inference_count,
    ),
    (
        "nv_inference_exec_count",
        "Number of model executions performed (does not include cached requests)",
        lambda recorder: recorder.execution_count,
    ),
)


def yais_families(recorders: Recorders) -> Iterator[Metric]:
    """The original's families, and every stage as a histogram, which, other than a summary, adds up over servers."""
    yield _yais_summary("compute", "infer", "The engine's own time for a request's batch, in milliseconds", recorders)
    yield _yais_summary("request", "request", "From handler entry to the encoded answer, in milliseconds", recorders)
    ratio = Metric("yais_inference_load_ratio", "Request over compute duration; just above 1 is ideal", "histogram")
    stages = Metric("yais_inference_stage_duration_ms", "Durations of requests by stage, in milliseconds", "histogram")
    for recorder in recorders:
        _add_histogram(ratio, {"model": recorder.model}, recorder.load_ratio)
        for stage, histogram in zip(STAGES, recorder.histograms, strict=True):
            _add_histogram(stages, {"model": recorder.model, "stage": stage}, histogram)
    yield ratio
    yield stages
    padded = Metric("yais_inference_padded_rows", "Rows run to fill up batches to a size prepared for", "counter")
    for recorder in recorders:
        padded.add_sample("yais_inference_padded_rows_total", {"model": recorder.model}, recorder.padded_rows)
    yield padded


def triton_families(recorders: Recorders, waiting: Callable[[InferenceRecorder], int]) -> Iterator[Metric]:
    """Triton's `nv_inference_*`; `waiting` counts the requests of a model that wait for a context."""
    yield _per_model(
        "nv_inference_request_success",
        "Number of successful inference requests, all batch sizes",
        "counter",
        recorders,
        lambda recorder: recorder.successes,
    )
    failures = Metric("nv_inference_request_failure", "Number of failed inference requests, all batch sizes", "counter")
    for recorder in recorders:
        for reason, count in recorder.failures.items():
            failures.add_sample(failures.name, _model(recorder) | {"reason": reason}, count)
    yield failures
    for name, text, read in _TRITON_COUNTS:
        yield _per_model(name, text, "counter", recorders, read)
    # In the order of STAGES, which is that of the columns.
    for index, (name, total, _, text, cached) in enumerate(_TRITON_STAGES.values()):
        yield _per_model(
            f"nv_inference_{name}_duration_us",
            f"{total} {text} in microseconds ({cached} cached requests)",
            "counter",
            recorders,
            lambda recorder, index=index: int(recorder.duration_us[index]),  # type: ignore[misc]
        )
    yield _per_model(
        "nv_inference_pending_request_count",
        "Instantaneous number of pending requests awaiting execution per-model.",
        "gauge",
        recorders,
        waiting,
    )
    yield from (_triton_summary(index, stage, recorders) for index, stage in enumerate(STAGES))


def _per_model(
    name: str, text: str, kind: str, recorders: Recorders, read: Callable[[InferenceRecorder], float]
) -> Metric:
    family = Metric(name, text, kind)
    for recorder in recorders:
        family.add_sample(name, _model(recorder), read(recorder))
    return family


def _triton_summary(index: int, stage: str, recorders: Recorders) -> Metric:
    name, _, kind, text, cached = _TRITON_STAGES[stage]
    name = f"nv_inference_{name}_summary_us"
    family = Metric(name, f"{kind} {text} in microseconds ({cached} cached requests)", "summary")
    for recorder in recorders:
        values = [nanoseconds / 1e3 for nanoseconds in recorder.quantiles(stage, TRITON_QUANTILES)]
        total = int(recorder.duration_us[index])
        _add_summary(
            family, _model(recorder), recorder.successes, total, dict(zip(TRITON_QUANTILES, values, strict=True))
        )
    return family


def _yais_summary(kind: str, stage: str, text: str, recorders: Recorders) -> Metric:
    family = Metric(f"yais_inference_{kind}_duration_ms", text, "summary")
    for recorder in recorders:
        values = [nanoseconds / 1e6 for nanoseconds in recorder.quantiles(stage, YAIS_QUANTILES)]
        total = int(recorder.duration_ns[STAGES.index(stage)]) / 1e6
        quantiles = dict(zip(YAIS_QUANTILES, values, strict=True))
        _add_summary(family, {"model": recorder.model}, recorder.successes, total, quantiles)
    return family


def _add_summary(family: Metric, labels: Labels, count: int, total: float, quantiles: dict[float, float]) -> None:
    family.add_sample(f"{family.name}_count", labels, count)
    family.add_sample(f"{family.name}_sum", labels, total)
    for rank, value in quantiles.items():
        family.add_sample(family.name, labels | {"quantile": str(rank)}, value)


def _add_histogram(family: Metric, labels: Labels, histogram: BucketCounts) -> None:
    # Prometheus's buckets are cumulative: each has all that is below its bound.
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    for bound, count in zip(bounds, accumulate(histogram.counts.tolist()), strict=True):
        family.add_sample(f"{family.name}_bucket", labels | {"le": bound}, count)
    family.add_sample(f"{family.name}_count", labels, int(histogram.counts.sum()))
    family.add_sample(f"{family.name}_sum", labels, histogram.total)


def _model(recorder: InferenceRecorder) -> Labels:
    return {"model": recorder.model, "version": recorder.version}


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


def build_info() -> Metric:
    """What serves, as labels of a gauge that is always 1."""
    labels = {"version": __version__, "commit": commit() or "unknown", "python": platform.python_version()}
    family = Metric("yais_build_info", "Version of YAIS, its commit and its Python, as labels; always 1", "gauge")
    family.add_sample("yais_build_info", labels, 1)
    return family


def all_families(stats: ProcessStats, gpus: GpuSampler) -> Iterator[Metric]:
    """Of the build, the models, the machine and the processes, in this order."""
    yield build_info()
    yield from yais_families(stats.recorders)
    yield GaugeMetricFamily(
        "yais_executor_queue_depth", "Requests that came in and are not answered yet", stats.in_flight
    )
    yield from gpus.families()
    yield from triton_families(stats.recorders, lambda recorder: stats.waiting[recorder.model])
    yield from host_families()
    yield from stats.process
