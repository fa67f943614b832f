"""A model's figures as Triton's ModelStatistics, which perf_analyzer reads before and after each of its windows."""

from yais.proto import grpc_service_pb2 as pb
from yais.server.metrics.recorder import STAGES, BatchStats, Recorder
from yais.server.model import Model

# perf_analyzer refuses statistics in which the counts of these three differ.
_COMPUTE_STAGES = ("input", "infer", "output")


def model_statistics(model: Model) -> pb.ModelStatistics:
    """Durations in nanoseconds; each request of a batch is charged all of the batch's compute time."""
    recorder = model.recorder.read()
    return pb.ModelStatistics(
        name=model.name,
        version=model.version,
        last_inference=recorder.last_inference_ms,
        inference_count=recorder.inference_count,
        execution_count=recorder.execution_count,
        inference_stats=_inference_stats(recorder),
        batch_stats=[_batch_stats(size, stats) for size, stats in sorted(recorder.batches.items())],
    )


def _inference_stats(recorder: Recorder) -> pb.InferStatistics:
    durations = dict(zip(STAGES, recorder.duration_ns.tolist(), strict=True))
    compute = {f"compute_{stage}": _duration(recorder.successes, durations[stage]) for stage in _COMPUTE_STAGES}
    return pb.InferStatistics(
        success=_duration(recorder.successes, durations["request"]),
        fail=_duration(sum(recorder.failures.values()), recorder.failure_ns),
        queue=_duration(recorder.successes, durations["queue"]),
        **compute,
    )


def _batch_stats(size: int, stats: BatchStats) -> pb.InferBatchStatistics:
    return pb.InferBatchStatistics(
        batch_size=size,
        compute_input=_duration(stats.count, stats.input_ns),
        compute_infer=_duration(stats.count, stats.infer_ns),
        compute_output=_duration(stats.count, stats.output_ns),
    )


def _duration(count: int, nanoseconds: int) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=nanoseconds)
