import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import grpc
import numpy as np
import pytest
from fake_context import Aborted, FakeCall
from fake_engine import FakeEngine, Gate, Serve, options, refuse_negative_rows
from fake_requests import idle

from yais.proto import grpc_service_pb2 as pb
from yais.server.admission import Admission
from yais.server.model import Model
from yais.server.registry import Registry
from yais.server.services.v2 import EXTENSIONS, InferenceService

UNKNOWN_X = "Request for unknown model: 'x' is not found"


class Served:
    """The service of one model called m, called without a transport."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.admission = Admission()
        registry = Registry()
        registry.add(model)
        self._service = InferenceService(registry, self.admission)

    async def call(self, rpc: str, request: Any, remaining: float | None = None) -> Any:
        method: Callable[..., Awaitable[Any]] = getattr(self._service, rpc)
        async with asyncio.timeout(30):
            return await method(request, FakeCall(remaining))

    async def refusal(self, rpc: str, request: Any, remaining: float | None = None) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(Aborted) as caught:
            await self.call(rpc, request, remaining)
        return caught.value.status, caught.value.text

    @property
    def failures(self) -> dict[str, int]:
        return {reason: count for reason, count in self.model.recorder.failures.items() if count}


@pytest.fixture
async def served(serve: Serve) -> Served:
    return Served(serve(FakeEngine(on_run=refuse_negative_rows)))


def infer(*numbers: int, model: str = "m", version: str = "") -> pb.ModelInferRequest:
    raw = np.array(numbers, "<i8").tobytes()
    request = pb.ModelInferRequest(model_name=model, model_version=version, id="r7", raw_input_contents=[raw])
    request.inputs.add(name="X", datatype="INT64", shape=[len(numbers), 1])
    return request


@pytest.mark.parametrize("version", ["", "1", "01", "+1"])
async def test_an_inference_is_answered(served: Served, version: str) -> None:
    response = await served.call("ModelInfer", infer(1, 2, version=version))
    assert (response.model_name, response.model_version, response.id) == ("m", "1", "r7")
    assert np.frombuffer(response.raw_output_contents[0], "<i8").tolist() == [3, 5]
    assert served.failures == {}
    assert served.admission.in_flight == 0


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        (infer(1, model="x"), grpc.StatusCode.NOT_FOUND, UNKNOWN_X),
        (infer(1, version="2"), grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'm' version 2 is not found"),
    ],
    ids=["model", "version"],
)
async def test_an_unknown_model_or_version_is_not_found_and_not_counted(
    served: Served, request_: pb.ModelInferRequest, status: grpc.StatusCode, text: str
) -> None:
    assert await served.refusal("ModelInfer", request_) == (status, text)
    assert served.failures == {}


async def test_a_request_that_breaks_a_rule_is_counted_as_other(served: Served) -> None:
    status, text = await served.refusal("ModelInfer", infer(*range(9)))
    assert status == grpc.StatusCode.INVALID_ARGUMENT
    assert text == "[request id: r7] inference request batch-size must be <= 8 for 'm'"
    assert served.failures == {"OTHER": 1}
    assert served.admission.in_flight == 0


async def test_a_request_on_which_the_engine_fails_is_internal_and_counted_as_backend(served: Served) -> None:
    assert await served.refusal("ModelInfer", infer(-1)) == (grpc.StatusCode.INTERNAL, "a row is negative")
    assert served.failures == {"BACKEND": 1}


async def test_a_request_past_its_deadline_is_rejected(served: Served) -> None:
    assert await served.refusal("ModelInfer", infer(1), remaining=-1) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "Request timeout expired",
    )
    assert served.failures == {"REJECTED": 1}


async def test_a_full_queue_rejects(serve: Serve, gate: Gate) -> None:
    served = Served(serve(FakeEngine(max_batch_size=1, on_run=gate.pass_through), options(queue=1)))
    calls = [asyncio.create_task(served.call("ModelInfer", infer(1)))]
    await asyncio.sleep(0)
    gate.wait_for_runs(1)
    calls.append(asyncio.create_task(served.call("ModelInfer", infer(2))))
    await asyncio.sleep(0)
    status, text = await served.refusal("ModelInfer", infer(3))
    assert status == grpc.StatusCode.UNAVAILABLE
    assert text == "Exceeds maximum queue size: 1 requests are waiting (--max-queue-size)"
    assert served.failures == {"REJECTED": 1}
    gate.open()
    responses = await asyncio.gather(*calls)
    assert [np.frombuffer(each.raw_output_contents[0], "<i8").tolist() for each in responses] == [[3], [5]]


async def test_a_draining_server_rejects_but_answers_what_it_accepted(serve: Serve, gate: Gate) -> None:
    served = Served(serve(FakeEngine(on_run=gate.pass_through)))
    accepted = asyncio.create_task(served.call("ModelInfer", infer(1)))
    await asyncio.sleep(0)
    gate.wait_for_runs(1)
    served.admission.close()
    assert await served.refusal("ModelInfer", infer(2)) == (
        grpc.StatusCode.UNAVAILABLE,
        "GRPC server is shutting down and has stopped accepting new requests.",
    )
    assert served.failures == {"REJECTED": 1}
    assert served.admission.in_flight == 1
    gate.open()
    assert len((await accepted).raw_output_contents) == 1
    await served.admission.wait_empty()


@pytest.mark.parametrize("is_running", [True, False])
async def test_a_cancelled_request_is_taken_back_and_counted(serve: Serve, gate: Gate, is_running: bool) -> None:
    engine = FakeEngine(max_batch_size=1, on_run=gate.pass_through)
    served = Served(serve(engine))
    running, waiting = (asyncio.create_task(served.call("ModelInfer", infer(number))) for number in (1, 2))
    await asyncio.sleep(0)
    gate.wait_for_runs(1)
    cancelled, other = (running, waiting) if is_running else (waiting, running)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert served.failures == {"CANCELED": 1}
    assert served.model.waiting == (1 if is_running else 0)
    gate.open()
    assert len((await other).raw_output_contents) == 1
    assert len(engine.runs) == (2 if is_running else 1)


@pytest.mark.usefixtures("still_clock")
async def test_a_request_that_is_cancelled_in_the_turn_of_its_answer_is_counted_once(serve: Serve) -> None:
    served = Served(serve(FakeEngine(run_ns=lambda: 0)))
    await served.call("ModelInfer", infer(1))
    await idle(served.model)
    late = asyncio.create_task(served.call("ModelInfer", infer(2)))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(late.cancel)
    with pytest.raises(asyncio.CancelledError):
        await late
    assert served.failures == {}
    assert served.model.recorder.read().successes == 2


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
    await served.call("ModelInfer", infer(1))
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
    request = pb.ModelStatisticsRequest(name=name, version=version)
    assert await served.refusal("ModelStatistics", request) == (grpc.StatusCode.INVALID_ARGUMENT, text)


async def test_other_rpcs_are_unimplemented() -> None:
    own = {name for name in vars(InferenceService) if name[0].isupper()}
    served = {method.name for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    assert own < served
    assert served - own == {
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
