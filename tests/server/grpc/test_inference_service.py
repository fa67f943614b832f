import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import grpc
import pytest

from server.fake_context import Aborted, FakeCall
from server.fake_engine import FakeEngine, Serve
from server.fake_requests import answered, request
from yais.proto import grpc_service_pb2 as pb
from yais.server.grpc.v2 import EXTENSIONS, InferenceService
from yais.server.models.admission import Admission
from yais.server.models.model import Model
from yais.server.models.registry import Registry

UNKNOWN_X = "Request for unknown model: 'x' is not found"


class Served:
    """The service of one model called m, called without a transport."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.admission = Admission()
        registry = Registry()
        registry.add(model)
        self._service = InferenceService(registry, self.admission)

    async def call(self, rpc: str, request: Any) -> Any:
        method: Callable[..., Awaitable[Any]] = getattr(self._service, rpc)
        async with asyncio.timeout(30):
            return await method(request, FakeCall())

    async def refusal(self, rpc: str, request: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(Aborted) as caught:
            await self.call(rpc, request)
        return caught.value.status, caught.value.text


@pytest.fixture
async def served(serve: Serve) -> Served:
    return Served(serve(FakeEngine()))


async def test_the_server_is_live_and_ready_until_it_drains(served: Served) -> None:
    assert (await served.call("ServerLive", pb.ServerLiveRequest())).live
    assert (await served.call("ServerReady", pb.ServerReadyRequest())).ready
    served.admission.close()
    assert (await served.call("ServerLive", pb.ServerLiveRequest())).live
    assert await served.refusal("ServerReady", pb.ServerReadyRequest()) == (
        grpc.StatusCode.UNAVAILABLE,
        "Server exiting",
    )


async def test_a_model_is_ready_until_the_server_drains(served: Served) -> None:
    assert (await served.call("ModelReady", pb.ModelReadyRequest(name="m", version="1"))).ready
    served.admission.close()
    assert not (await served.call("ModelReady", pb.ModelReadyRequest(name="m"))).ready


async def test_the_server_says_what_it_is_and_which_extensions_it_serves(served: Served) -> None:
    metadata = await served.call("ServerMetadata", pb.ServerMetadataRequest())
    assert (metadata.name, metadata.version) == ("yais", version("yais"))
    assert tuple(metadata.extensions) == EXTENSIONS == ("model_configuration", "statistics")


async def test_metadata_and_configuration_are_those_of_the_model(served: Served) -> None:
    metadata = await served.call("ModelMetadata", pb.ModelMetadataRequest(name="m"))
    configuration = await served.call("ModelConfig", pb.ModelConfigRequest(name="m", version="1"))
    assert metadata.name == configuration.config.name == "m"


@pytest.mark.parametrize("rpc", ["ModelReady", "ModelMetadata", "ModelConfig"])
@pytest.mark.parametrize(
    ("name", "version", "status", "text"),
    [
        ("x", "", grpc.StatusCode.NOT_FOUND, UNKNOWN_X),
        ("m", "9", grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'm' version 9 is not found"),
        (
            "m",
            "abc",
            grpc.StatusCode.INVALID_ARGUMENT,
            "failed to get model version from specified version string 'abc' (details: stol), "
            "version should be an integral value > 0",
        ),
    ],
    ids=["model", "version", "no version"],
)
async def test_asking_after_an_unknown_model_is_refused(
    served: Served, rpc: str, name: str, version: str, status: grpc.StatusCode, text: str
) -> None:
    request = getattr(pb, f"{rpc}Request")(name=name, version=version)
    assert await served.refusal(rpc, request) == (status, text)


@pytest.mark.parametrize(("name", "version"), [("", ""), ("m", ""), ("m", "1"), ("", "9")])
async def test_statistics_are_of_one_model_or_of_all(served: Served, name: str, version: str) -> None:
    await answered(served.model, request(1))
    response = await served.call("ModelStatistics", pb.ModelStatisticsRequest(name=name, version=version))
    assert [(each.name, each.inference_count) for each in response.model_stats] == [("m", 1)]


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        ("x", "", "requested model 'x' is not available"),
        ("m", "2", "requested model version is not available for model 'm'"),
        (
            "x",
            "-1",
            "invalid model version specified '-1' , version should be an integral value > 0",
        ),
    ],
)
async def test_statistics_of_an_unknown_model_are_an_invalid_argument(
    served: Served, name: str, version: str, text: str
) -> None:
    asked = pb.ModelStatisticsRequest(name=name, version=version)
    assert await served.refusal("ModelStatistics", asked) == (grpc.StatusCode.INVALID_ARGUMENT, text)


async def test_other_rpcs_are_unimplemented() -> None:
    own = {name for name in vars(InferenceService) if name[0].isupper()}
    served = {method.name for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    assert own < served
    assert served - own - {"ModelInfer"} == {
        "ModelStreamInfer",
        "RepositoryIndex",
        "RepositoryModelLoad",
        "RepositoryModelUnload",
        "SystemSharedMemoryStatus",
        "SystemSharedMemoryRegister",
        "SystemSharedMemoryUnregister",
        "CudaSharedMemoryStatus",
        "CudaSharedMemoryRegister",
        "CudaSharedMemoryUnregister",
        "TraceSetting",
        "LogSettings",
    }
