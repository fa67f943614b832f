"""`inference.GRPCInferenceService`: the Open Inference Protocol v2 with Triton's messages, but for ModelInfer.

RPCs that are not defined here answer UNIMPLEMENTED; ModelInfer is in `infer.py`.
"""

from yais import __version__
from yais.proto import grpc_service_pb2 as pb
from yais.proto import model_config_pb2 as config_pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceServicer
from yais.server.errors import DrainingError, InvalidRequestError
from yais.server.grpc.status import CallContext, convert_errors
from yais.server.metrics.recorder import STAGES, InferenceRecorder
from yais.server.models.admission import Admission
from yais.server.models.model import Model
from yais.server.models.registry import Registry, parse_version
from yais.server.models.signature import TensorRule

# What clients look for before they use a part of the protocol; only what is really served.
EXTENSIONS = ("model_configuration", "statistics")
# perf_analyzer refuses statistics in which the counts of these three differ.
_COMPUTE_STAGES = ("input", "infer", "output")


class InferenceService(GRPCInferenceServiceServicer):
    """Answers for the models of `registry`, as long as `admission` is open."""

    def __init__(self, registry: Registry, admission: Admission) -> None:
        self._registry = registry
        self._admission = admission

    @convert_errors
    async def ServerLive(self, request: pb.ServerLiveRequest, context: CallContext) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    @convert_errors
    async def ServerReady(self, request: pb.ServerReadyRequest, context: CallContext) -> pb.ServerReadyResponse:
        if self._admission.is_closed:
            raise DrainingError("Server exiting")
        return pb.ServerReadyResponse(ready=True)

    @convert_errors
    async def ModelReady(self, request: pb.ModelReadyRequest, context: CallContext) -> pb.ModelReadyResponse:
        self._registry.find(request.name, request.version)
        return pb.ModelReadyResponse(ready=not self._admission.is_closed)

    @convert_errors
    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: CallContext
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="yais", version=__version__, extensions=EXTENSIONS)

    @convert_errors
    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: CallContext) -> pb.ModelMetadataResponse:
        return model_metadata(self._registry.find(request.name, request.version))

    @convert_errors
    async def ModelConfig(self, request: pb.ModelConfigRequest, context: CallContext) -> pb.ModelConfigResponse:
        return pb.ModelConfigResponse(config=model_config(self._registry.find(request.name, request.version)))

    @convert_errors
    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: CallContext
    ) -> pb.ModelStatisticsResponse:
        """Of one model, or of all without a name. An unknown one is INVALID_ARGUMENT here, as it is with Triton."""
        if not request.name:
            return pb.ModelStatisticsResponse(model_stats=[model_statistics(model) for model in self._registry])
        number = parse_version(request.version)
        model = self._registry.get(request.name)
        if model is None:
            raise InvalidRequestError(f"requested model '{request.name}' is not available")
        if number not in (None, int(model.version)):
            raise InvalidRequestError(f"requested model version is not available for model '{request.name}'")
        return pb.ModelStatisticsResponse(model_stats=[model_statistics(model)])


def model_metadata(model: Model) -> pb.ModelMetadataResponse:
    """Names, datatypes and shapes, with -1 in front for the batch dimension of a model that has one."""
    return pb.ModelMetadataResponse(
        name=model.name,
        versions=[model.version],
        platform=model.engine.platform,
        inputs=[_metadata(rule) for rule in model.signature.inputs],
        outputs=[_metadata(rule) for rule in model.signature.outputs],
    )


def model_config(model: Model) -> config_pb.ModelConfig:
    """The configuration with Triton's defaults filled in; `dims` leave the batch dimension out."""
    # perf_analyzer and Triton's own clients put the batch dimension in front of `dims` themselves.
    skip = 1 if model.engine.max_batch_size else 0
    on_gpu = model.engine.device.startswith("cuda")
    kind = config_pb.ModelInstanceGroup.KIND_GPU if on_gpu else config_pb.ModelInstanceGroup.KIND_CPU
    config = config_pb.ModelConfig(
        name=model.name,
        platform=model.engine.platform,
        # `onnxruntime_onnx` is the backend `onnxruntime`, and `tensorrt_plan` is `tensorrt`.
        backend=model.engine.platform.partition("_")[0],
        version_policy=config_pb.ModelVersionPolicy(latest=config_pb.ModelVersionPolicy.Latest(num_versions=1)),
        max_batch_size=model.engine.max_batch_size,
        input=[
            config_pb.ModelInput(name=rule.name, data_type=_data_type(rule), dims=rule.shape[skip:])
            for rule in model.signature.inputs
        ],
        output=[
            config_pb.ModelOutput(name=rule.name, data_type=_data_type(rule), dims=rule.shape[skip:])
            for rule in model.signature.outputs
        ],
        instance_group=[config_pb.ModelInstanceGroup(name=model.name, kind=kind, count=model.options.contexts)],
    )
    # Triton writes this section only for a model that it batches, and clients look whether it is there.
    if model.engine.max_batch_size > 1:
        queue = config_pb.ModelQueuePolicy(max_queue_size=model.options.max_queue_size)
        config.dynamic_batching.preferred_batch_size.append(model.engine.max_batch_size)
        config.dynamic_batching.max_queue_delay_microseconds = model.options.max_queue_delay // 1000
        config.dynamic_batching.default_queue_policy.CopyFrom(queue)
    return config


def _metadata(rule: TensorRule) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=rule.name, datatype=rule.datatype, shape=rule.shape)


def _data_type(rule: TensorRule) -> str:
    """The name of the enum value, which protobuf takes for the value."""
    return f"TYPE_{'STRING' if rule.datatype == 'BYTES' else rule.datatype}"


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
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=size,
                compute_input=_duration(stats.count, stats.input_ns),
                compute_infer=_duration(stats.count, stats.infer_ns),
                compute_output=_duration(stats.count, stats.output_ns),
            )
            for size, stats in sorted(recorder.batches.items())
        ],
    )


def _inference_stats(recorder: InferenceRecorder) -> pb.InferStatistics:
    durations = dict(zip(STAGES, recorder.duration_ns.tolist(), strict=True))
    compute = {f"compute_{stage}": _duration(recorder.successes, durations[stage]) for stage in _COMPUTE_STAGES}
    return pb.InferStatistics(
        success=_duration(recorder.successes, durations["request"]),
        fail=_duration(sum(recorder.failures.values()), recorder.failure_ns),
        queue=_duration(recorder.successes, durations["queue"]),
        **compute,
    )


def _duration(count: int, nanoseconds: int) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=nanoseconds)
