"""Methods whose callback sees the bytes, behind both transports."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import grpc
import pytest

from server.fake_engine import FakeEngine, Gate, Serve, options
from server.running_service import RAW_PATH, Service, numbers, refusal
from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from yais.server.grpc.server import RawCall, TransportName


async def test_what_the_callback_of_a_raw_method_gets_is_answered(service: Service) -> None:
    for number in (1, 2, 3):
        assert numbers(await service.model_infer(number)) == [2 * number + 1]
    assert service.door.in_flight == 0


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
        assert service.model.pool.waiting == is_running
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
        assert service.model.pool.waiting == 0
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
    # Clients round what they have left up, to three digits or so.
    assert before + 99 < deadlines[0] <= monotonic() + 102
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
    assert await service.channel.unary_unary(RAW_PATH)(b"some") == b"some" * 2


async def test_a_compressed_message_comes_out_as_it_was(serve: Serve, transport: TransportName) -> None:
    async with Service(serve(FakeEngine()), transport).run(transport, 1024) as service:
        service.infer = lambda call, message: call.respond(bytes(message.obj))
        rpc = service.channel.unary_unary(RAW_PATH)
        assert await rpc(b"ab" * 400, compression=grpc.Compression.Gzip) == b"ab" * 400


async def test_a_client_that_is_held_back_is_served_on(service: Service) -> None:
    infer = service.infer

    def refuse_one(call: RawCall, message: memoryview) -> None:
        service.infer = infer
        call.fail(grpc.StatusCode.UNAVAILABLE, "too many")
        call.hold_back()

    service.infer = refuse_one
    # Which of them comes first is up to the channel.
    calls = [service.model_infer(number) for number in range(4)]
    outcomes = [await refusal(call) for call in calls]
    assert sorted(code.name for code, _ in outcomes) == ["OK", "OK", "OK", "UNAVAILABLE"]
    assert numbers(await service.model_infer(5)) == [11]
