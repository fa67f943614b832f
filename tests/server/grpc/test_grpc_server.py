import math

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from server.fake_engine import FakeEngine, Serve
from server.running_service import INFERENCE, Service, numbers, refusal
from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from yais.server.grpc.server import TransportName, deadline_after
from yais.server.grpc.v2 import InferenceService

SERVED = sorted({"ModelInfer", *(name for name in vars(InferenceService) if name[0].isupper())})
UNSERVED = sorted(each.name for each in INFERENCE.methods if each.name not in SERVED)
# A field of 5 bytes, of which one is there.
GARBAGE = b"\x0a\x05x"


@pytest.fixture
def channel(service: Service) -> grpc.aio.Channel:
    return service.channel


@pytest.mark.parametrize("rpc", SERVED)
async def test_what_is_no_message_is_internal_with_tritons_text(channel: grpc.aio.Channel, rpc: str) -> None:
    call = channel.unary_unary(f"/{INFERENCE.full_name}/{rpc}")(GARBAGE)
    assert await refusal(call) == (grpc.StatusCode.INTERNAL, "Unable to parse request")


@pytest.mark.parametrize("sent", [b"", GARBAGE], ids=["empty", "garbage"])
@pytest.mark.parametrize("rpc", UNSERVED)
async def test_an_rpc_that_is_not_served_is_unimplemented_in_a_sentence_whatever_it_gets(
    channel: grpc.aio.Channel, rpc: str, sent: bytes
) -> None:
    call = channel.unary_unary(f"/{INFERENCE.full_name}/{rpc}")(sent)
    assert await refusal(call) == (grpc.StatusCode.UNIMPLEMENTED, f"This server does not implement {rpc}")


async def test_calls_of_rpcs_that_are_not_served_are_one_line_of_the_log(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    for rpc in ["LogSettings"] * 5 + ["ModelStreamInfer"] * 2:
        await refusal(service.channel.unary_unary(f"/{INFERENCE.full_name}/{rpc}")(b""))
    service.refusals.flush()
    (record,) = caplog.records
    assert "7 request(s)" in record.message
    assert record.message.endswith(": 5 LogSettings (not implemented), 2 ModelStreamInfer (not implemented)")
    assert record.exc_info is None


async def test_refused_requests_are_counted_in_the_log_by_their_kind_and_answers_are_not(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    await service.model_infer(1)
    for model in ("unknown", "unknown", "m"):
        await refusal(GRPCInferenceServiceStub(service.channel).ModelInfer(pb.ModelInferRequest(model_name=model)))
    service.refusals.flush()
    (record,) = caplog.records
    assert record.message.endswith(": 2 not found, 1 invalid")


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


@pytest.mark.parametrize(
    "request_",
    [
        pb.ModelMetadataRequest(name="m" * 1100),
        pb.ModelInferRequest(model_name="m", raw_input_contents=[bytes(1100)]),
    ],
    ids=["to a servicer", "to a callback"],
)
async def test_a_message_over_the_bound_is_refused_by_its_size(
    service: Service, request_: pb.ModelMetadataRequest | pb.ModelInferRequest
) -> None:
    stub = GRPCInferenceServiceStub(service.channel)
    rpc = stub.ModelInfer if isinstance(request_, pb.ModelInferRequest) else stub.ModelMetadata
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc(request_, timeout=30)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert service.failures == {}
    assert numbers(await service.model_infer(1)) == [3]


@pytest.mark.parametrize("rpc", ["ModelReady", "ModelInfer"])
@pytest.mark.parametrize("name", ["x" * 1_000_000, "é" * 5000], ids=["long", "long once encoded"])
async def test_a_text_that_no_status_can_carry_is_cut_and_the_status_kept(
    serve: Serve, transport: TransportName, name: str, rpc: str
) -> None:
    """A status travels in metadata, of which clients take 8 KiB."""
    request = pb.ModelReadyRequest(name=name) if rpc == "ModelReady" else pb.ModelInferRequest(model_name=name)
    async with Service(serve(FakeEngine()), transport).run(transport, 2**27) as service:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(GRPCInferenceServiceStub(service.channel), rpc)(request, timeout=30)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert (caught.value.details() or "").startswith(f"Request for unknown model: '{name[:100]}")


@pytest.mark.parametrize("remaining", [None, math.inf, math.nan, 9.3e9])
def test_no_deadline_is_infinitely_far_away(remaining: float | None) -> None:
    assert deadline_after(remaining) == math.inf


@pytest.mark.parametrize("remaining", [2.5, 0.0, -1.0, 1e-9, 86_400.0])
def test_a_deadline_is_counted_from_now(monkeypatch: pytest.MonkeyPatch, remaining: float) -> None:
    monkeypatch.setattr("yais.server.grpc.server.monotonic", lambda: 7.0)
    assert deadline_after(remaining) == 7 + remaining
