import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

import grpc
import numpy as np
import pytest
from fake_engine import FakeEngine, Gate, Serve, options
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub, add_HealthServicer_to_server

from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub, add_GRPCInferenceServiceServicer_to_server
from yais.server.admission import Admission
from yais.server.model import Model
from yais.server.raw_call import RawCall
from yais.server.registry import Registry
from yais.server.services.health import HealthService
from yais.server.services.infer import InferMethod
from yais.server.services.v2 import InferenceService
from yais.server.transport import Registration, TransportName, deadline_after, grpc_server

INFERENCE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
RAW = "ModelInfer"
RAW_PATH = f"/{INFERENCE.full_name}/{RAW}"
SERVED = sorted({RAW, *(name for name in vars(InferenceService) if name[0].isupper())})
UNSERVED = sorted(each.name for each in INFERENCE.methods if each.name not in SERVED and not each.client_streaming)
# A field of 5 bytes, of which one is there.
GARBAGE = b"\x0a\x05x"


class Door(Admission):
    """Tells when somebody has left."""

    def __init__(self) -> None:
        super().__init__()
        self.left = asyncio.Event()

    def leave(self) -> None:
        super().leave()
        self.left.set()


class Service:
    """The services of one model, `channel` to them, and the callback of ModelInfer, which a test may replace."""

    channel: grpc.aio.Channel

    def __init__(self, model: Model, transport: TransportName) -> None:
        self.model = model
        self.registry = Registry()
        self.registry.add(model)
        self.door = Door()
        infer = InferMethod(self.registry, self.door)
        if transport == "native":
            infer.recognise_forms()
        self.infer: Callable[[RawCall, memoryview], None] = infer

    @asynccontextmanager
    async def run(self, transport: TransportName, max_message_size: int) -> AsyncIterator["Service"]:
        server = grpc_server(transport, max_message_size)
        registration = Registration(server, {RAW_PATH: lambda call, message: self.infer(call, message)})
        add_GRPCInferenceServiceServicer_to_server(InferenceService(self.registry, self.door), registration)
        add_HealthServicer_to_server(HealthService(["m"]), registration)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as self.channel:
            yield self
        await server.stop(None)

    def model_infer(self, number: int, timeout: float = 30) -> grpc.aio.UnaryUnaryCall:
        request = pb.ModelInferRequest(model_name="m", raw_input_contents=[np.array([number], "<i8").tobytes()])
        request.inputs.add(name="X", datatype="INT64", shape=[1, 1])
        return GRPCInferenceServiceStub(self.channel).ModelInfer(request, timeout=timeout)

    @property
    def failures(self) -> dict[str, int]:
        return {reason: count for reason, count in self.model.recorder.failures.items() if count}


@pytest.fixture(params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest) -> TransportName:
    return request.param


@pytest.fixture
async def service(serve: Serve, transport: TransportName) -> AsyncIterator[Service]:
    async with Service(serve(FakeEngine()), transport).run(transport, 1024) as service:
        yield service


@pytest.fixture
def channel(service: Service) -> grpc.aio.Channel:
    return service.channel


async def refusal(call: grpc.aio.UnaryUnaryCall) -> tuple[grpc.StatusCode, str]:
    async with asyncio.timeout(30):
        return await call.code(), await call.details()


def numbers(response: pb.ModelInferResponse) -> list[int]:
    return np.frombuffer(response.raw_output_contents[0], "<i8").tolist()


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


async def test_what_the_callback_of_a_raw_method_gets_is_answered(service: Service) -> None:
    for number in (1, 2, 3):
        assert numbers(await service.model_infer(number)) == [2 * number + 1]
    assert service.door.in_flight == 0


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


@asynccontextmanager
async def gated(
    serve: Serve, gate: Gate, transport: TransportName
) -> AsyncIterator[tuple[Service, grpc.aio.UnaryUnaryCall]]:
    """A service whose runs wait at the gate, and a call that is in the first of them."""
    engine = FakeEngine(max_batch_size=1, on_run=gate.pass_through)
    async with Service(serve(engine, options(contexts=1)), transport).run(transport, 1024) as service:
        running = service.model_infer(1)
        await asyncio.to_thread(gate.wait_for_runs, 1)
        yield service, running


async def has_left(service: Service) -> None:
    """Waits until the service knows that a caller has gone."""
    async with asyncio.timeout(30):
        await service.door.left.wait()


@pytest.mark.parametrize("is_running", [True, False], ids=["in a run", "in the queue"])
async def test_a_cancelled_call_is_taken_back_and_counted_and_its_neighbour_answered(
    serve: Serve, gate: Gate, transport: TransportName, caplog: pytest.LogCaptureFixture, is_running: bool
) -> None:
    async with gated(serve, gate, transport) as (service, running):
        waiting = service.model_infer(2)
        async with asyncio.timeout(30):
            while service.door.in_flight < 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
        cancelled, other = (running, waiting) if is_running else (waiting, running)
        cancelled.cancel()
        await has_left(service)
        assert service.failures == {"CANCELED": 1}
        assert service.door.in_flight == 1
        assert service.model.waiting == is_running
        gate.open()
        assert numbers(await other) == ([5] if is_running else [3])
        assert numbers(await service.model_infer(3)) == [7]
    assert service.failures == {"CANCELED": 1}
    assert caplog.records == []


async def test_a_call_past_its_deadline_is_told_so_and_taken_back(
    serve: Serve, gate: Gate, transport: TransportName, caplog: pytest.LogCaptureFixture
) -> None:
    async with gated(serve, gate, transport) as (service, running):
        late = service.model_infer(2, timeout=0.05)
        assert (await refusal(late))[0] == grpc.StatusCode.DEADLINE_EXCEEDED
        await has_left(service)
        assert service.model.waiting == 0
        gate.open()
        assert numbers(await running) == [3]
        assert numbers(await service.model_infer(3)) == [7]
    assert service.door.in_flight == 0
    assert sum(service.failures.values()) == 1
    assert caplog.records == []


async def test_the_deadline_of_a_call_reaches_the_callback_on_the_clock(service: Service) -> None:
    deadlines: list[float] = []
    infer = service.infer

    def note(call: RawCall, message: memoryview) -> None:
        deadlines.append(call.deadline)
        infer(call, message)

    service.infer = note
    before = monotonic()
    await service.model_infer(1, timeout=100)
    await GRPCInferenceServiceStub(service.channel).ModelInfer(request_without_timeout())
    assert before + 99 < deadlines[0] <= monotonic() + 100
    assert deadlines[1] == math.inf


def request_without_timeout() -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m", raw_input_contents=[bytes(8)])
    request.inputs.add(name="X", datatype="INT64", shape=[1, 1])
    return request


@pytest.mark.parametrize("is_refused", [False, True], ids=["answer", "refusal"])
async def test_what_comes_for_a_caller_who_has_just_gone_is_lost_quietly(
    service: Service, caplog: pytest.LogCaptureFixture, is_refused: bool
) -> None:
    """The outcome is there, but the transport has not yet told that the call is over when it is to be sent."""
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    came: asyncio.Future[RawCall] = asyncio.get_running_loop().create_future()
    infer, service.infer = service.infer, lambda call, message: came.set_result(call)
    leaving = service.model_infer(1)
    async with asyncio.timeout(30):
        call = await came
    leaving.cancel()
    if is_refused:
        call.fail(grpc.StatusCode.NOT_FOUND, "the text")
    else:
        call.respond(b"")
    service.infer = infer
    assert numbers(await service.model_infer(2)) == [5]
    call.respond(b"again")
    call.fail(grpc.StatusCode.INTERNAL, "again")
    assert numbers(await service.model_infer(3)) == [7]
    assert call.is_over
    assert problems == []
    assert caplog.records == []


async def test_a_callback_that_fails_is_unknown_and_the_next_call_is_answered(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    def fail(call: RawCall, message: memoryview) -> None:
        raise ZeroDivisionError("of the callback")

    infer, service.infer = service.infer, fail
    status, text = await refusal(service.model_infer(1))
    assert (status, "of the callback" in text) == (grpc.StatusCode.UNKNOWN, True)
    service.infer = infer
    assert numbers(await service.model_infer(2)) == [5]


async def test_an_answer_in_pieces_is_one_message(service: Service) -> None:
    service.infer = lambda call, message: call.respond(b"ab", b"", b"cd" * 50_000)
    response = await service.channel.unary_unary(RAW_PATH)(b"")
    assert response == b"ab" + b"cd" * 50_000


async def test_the_callback_gets_the_bytes_of_the_message(service: Service) -> None:
    service.infer = lambda call, message: call.respond(bytes(message), bytes(message.obj))
    assert await service.channel.unary_unary(RAW_PATH)(b"") == b""
    assert await service.channel.unary_unary(RAW_PATH)(GARBAGE) == GARBAGE * 2


async def test_a_compressed_message_comes_out_as_it_was(serve: Serve, transport: TransportName) -> None:
    async with Service(serve(FakeEngine()), transport).run(transport, 1024) as service:
        service.infer = lambda call, message: call.respond(bytes(message.obj))
        rpc = service.channel.unary_unary(RAW_PATH)
        assert await rpc(b"ab" * 400, compression=grpc.Compression.Gzip) == b"ab" * 400


@pytest.mark.parametrize("remaining", [None, math.inf, math.nan, 9.3e9])
def test_no_deadline_is_infinitely_far_away(remaining: float | None) -> None:
    assert deadline_after(remaining) == math.inf


@pytest.mark.parametrize("remaining", [2.5, 0.0, -1.0, 1e-9, 86_400.0])
def test_a_deadline_is_counted_from_now(monkeypatch: pytest.MonkeyPatch, remaining: float) -> None:
    monkeypatch.setattr("yais.server.transport.monotonic", lambda: 7.0)
    assert deadline_after(remaining) == 7 + remaining
