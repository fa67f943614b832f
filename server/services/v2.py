"""`inference.GRPCInferenceService`: the Open Inference Protocol v2 with Triton's messages.

RPCs that are not defined here answer UNIMPLEMENTED; ModelInfer is in `infer.py`.
"""

from yais import __version__
from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceServicer
from yais.server.admission import Admission
from yais.server.errors import DrainingError, InvalidRequestError
from yais.server.model import Model
from yais.server.registry import Registry, parse_version
from yais.server.services.describe import model_config, model_metadata
from yais.server.services.errors import Context, answers_errors
from yais.server.services.statistics import model_statistics

# What clients look for before they use a part of the protocol; only what is really served.
EXTENSIONS = ("model_configuration", "statistics")


class InferenceService(GRPCInferenceServiceServicer):
    """Answers for the models of `registry`, as long as `admission` is open."""

    def __init__(self, registry: Registry, admission: Admission) -> None:
        self._registry = registry
        self._admission = admission

    @answers_errors
    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    @answers_errors
    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        if self._admission.is_closed:
            raise DrainingError("Server exiting")
        return pb.ServerReadyResponse(ready=True)

    @answers_errors
    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        self._registry.find(request.name, request.version)
        return pb.ModelReadyResponse(ready=not self._admission.is_closed)

    @answers_errors
    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="yais", version=__version__, extensions=EXTENSIONS)

    @answers_errors
    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        return model_metadata(self._registry.find(request.name, request.version))

    @answers_errors
    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        return pb.ModelConfigResponse(config=model_config(self._registry.find(request.name, request.version)))

    @answers_errors
    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: Context) -> pb.ModelStatisticsResponse:
        """Of one model, or of all without a name. An unknown one is INVALID_ARGUMENT here, as it is with Triton."""
        models = self._registry if not request.name else [self._statistics_model(request.name, request.version)]
        return pb.ModelStatisticsResponse(model_stats=[model_statistics(model) for model in models])

    def _statistics_model(self, name: str, version: str) -> Model:
        number = parse_version(version)
        model = self._registry.get(name)
        if model is None:
            raise InvalidRequestError(f"requested model '{name}' is not available")
        if number not in (None, int(model.version)):
            raise InvalidRequestError(f"requested model version is not available for model '{name}'")
        return model
