import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from fake_engine import FakeEngine, Serve
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub, add_HealthServicer_to_server

from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub, add_GRPCInferenceServiceServicer_to_server
from yais.server.admission import Admission
from yais.server.registry import Registry
from yais.server.services.health import HealthService
from yais.server.services.v2 import InferenceService
from yais.server.transport import Registration, TransportName, grpc_server

INFERENCE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
SERVED = sorted(name for name in vars(InferenceService) if name[0].isupper())
UNSERVED = sorted(each.name for each in INFERENCE.methods if each.name not in SERVED and not each.client_streaming)
# A field of 5 bytes, of which one is there.
GARBAGE = b"\x0a\x05x"


@asynccontextmanager
async def served(serve: Serve, transport: TransportName, max_message_size: int) -> AsyncIterator[grpc.aio.Channel]:
    registry = Registry()
    registry.add(serve(FakeEngine()))
    server = grpc_server(transport, max_message_size)
    registration = Registration(server)
    add_GRPCInferenceServiceServicer_to_server(InferenceService(registry, Admission()), registration)
    add_HealthServicer_to_server(HealthService(["m"]), registration)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


@pytest.fixture(params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest) -> TransportName:
    return request.param


@pytest.fixture
async def channel(serve: Serve, transport: TransportName) -> AsyncIterator[grpc.aio.Channel]:
    async with served(serve, transport, 1024) as channel:
        yield channel


async def refusal(call: grpc.aio.UnaryUnaryCall) -> tuple[grpc.StatusCode, str]:
    async with asyncio.timeout(30):
        return await call.code(), await call.details()


@pytest.mark.parametrize("rpc", SERVED)
async def test_what_is_no_message_is_internal_with_tritons_text(channel: grpc.aio.Channel, rpc: str) -> None:
    call = channel.unary_unary(f"/{INFERENCE.full_name}/{rpc}")(GARBAGE)
    assert await refusal(call) == (grpc.StatusCode.INTERNAL, "Unable to parse request")


@pytest.mark.parametrize("sent", [b"", GARBAGE], ids=["empty", "garbage"])
@pytest.mark.parametrize("rpc", UNSERVED)
async def test_an_rpc_that_is_not_served_is_unimplemented_whatever_it_gets(
    channel: grpc.aio.Channel, rpc: str, sent: bytes
) -> None:
    call = channel.unary_unary(f"/{INFERENCE.full_name}/{rpc}")(sent)
    assert (await refusal(call))[0] == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("path", ["/inference.GRPCInferenceService/Nothing", "/nothing.Nothing/ModelInfer"])
async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel, path: str) -> None:
    assert (await refusal(channel.unary_unary(path)(b"")))[0] == grpc.StatusCode.UNIMPLEMENTED


async def test_a_health_check_that_is_no_message_is_internal_too(channel: grpc.aio.Channel) -> None:
    call = channel.unary_unary("/grpc.health.v1.Health/Check")(GARBAGE)
    assert await refusal(call) == (grpc.StatusCode.INTERNAL, "Unable to parse request")


async def test_a_health_watch_that_is_no_message_is_internal_too(channel: grpc.aio.Channel) -> None:
    call = channel.unary_stream("/grpc.health.v1.Health/Watch")(GARBAGE)
    assert await refusal(call) == (grpc.StatusCode.INTERNAL, "Unable to parse request")


async def test_what_is_a_message_goes_to_the_servicer(channel: grpc.aio.Channel) -> None:
    metadata = await GRPCInferenceServiceStub(channel).ModelMetadata(pb.ModelMetadataRequest(name="m"), timeout=30)
    assert metadata.name == "m"
    health = await HealthStub(channel).Check(HealthCheckRequest(service="m"), timeout=30)
    assert health.status == HealthCheckResponse.SERVING


async def test_a_message_over_the_bound_is_refused_by_its_size(channel: grpc.aio.Channel) -> None:
    request = pb.ModelMetadataRequest(name="m" * 1100)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await GRPCInferenceServiceStub(channel).ModelMetadata(request, timeout=30)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("name", ["x" * 1_000_000, "é" * 5000], ids=["long", "long once encoded"])
async def test_a_text_that_no_status_can_carry_is_cut_and_the_status_kept(
    serve: Serve, transport: TransportName, name: str
) -> None:
    """A status travels in metadata, of which clients take 8 KiB."""
    async with served(serve, transport, 2**27) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await GRPCInferenceServiceStub(channel).ModelReady(pb.ModelReadyRequest(name=name), timeout=30)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert (caught.value.details() or "").startswith(f"Request for unknown model: '{name[:100]}")
