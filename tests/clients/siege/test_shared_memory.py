from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np
import pytest
from clients.fake_server import FakeServer

from yais.clients.options import CommonOptions, common_options
from yais.clients.protocol import InferenceError, infer_outputs, infer_request
from yais.clients.siege import shared_memory
from yais.clients.siege.requests import RequestOptions, open_requests, request_options
from yais.clients.siege.shared_memory import share_inputs
from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub

DEVICE = Path("/dev/shm")
TEXTS = np.array(["x", "yz"], np.object_)


class Regions:
    """What a server knows of shared memory, and the echo that takes its inputs from there, as Triton does."""

    def __init__(self) -> None:
        self.known: dict[str, pb.SystemSharedMemoryRegisterRequest] = {}
        self.registered: list[pb.SystemSharedMemoryRegisterRequest] = []
        self.refusal: grpc.StatusCode | None = None

    def register(self, _: Any, request: pb.SystemSharedMemoryRegisterRequest, context: grpc.ServicerContext) -> Any:
        if self.refusal is not None:
            context.abort(self.refusal, "failed to open shared memory region")
        assert self.path(request).stat().st_size >= request.byte_size
        self.known[request.name] = request
        self.registered.append(request)
        return pb.SystemSharedMemoryRegisterResponse()

    def unregister(self, _: Any, request: pb.SystemSharedMemoryUnregisterRequest, context: grpc.ServicerContext) -> Any:
        if self.refusal is not None:
            context.abort(self.refusal, "no regions here")
        del self.known[request.name]
        return pb.SystemSharedMemoryUnregisterResponse()

    def answer(self, request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        assert not request.raw_input_contents
        response = pb.ModelInferResponse(model_name=request.model_name)
        for tensor in request.inputs:
            parameters = tensor.parameters
            content = self.path(self.known[parameters["shared_memory_region"].string_param]).read_bytes()
            start = parameters["shared_memory_offset"].int64_param
            size = parameters["shared_memory_byte_size"].int64_param
            assert start % 64 == 0
            response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            response.raw_output_contents.append(content[start : start + size])
        return response

    def path(self, request: pb.SystemSharedMemoryRegisterRequest) -> Path:
        return DEVICE / request.key.lstrip("/")


@pytest.fixture
def regions(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Regions:
    """Those of the fake server, which is made after it has learned to keep them."""
    regions = Regions()
    monkeypatch.setattr(FakeServer, "SystemSharedMemoryRegister", lambda *call: regions.register(*call))
    monkeypatch.setattr(FakeServer, "SystemSharedMemoryUnregister", lambda *call: regions.unregister(*call))
    request.getfixturevalue("fake").answer = regions.answer
    return regions


def ask(fake: FakeServer, request: pb.ModelInferRequest) -> dict[str, Any]:
    with grpc.insecure_channel(fake.target) as channel:
        return infer_outputs(GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10))


def test_the_server_reads_the_inputs_from_the_region(regions: Regions, fake: FakeServer) -> None:
    arrays = [
        {"A": np.arange(5, dtype=np.int8), "B": TEXTS},
        {"A": np.full((300, 2), 7, np.int8), "B": np.array([], np.object_)},
    ]
    requests = [infer_request("identity", each) for each in arrays]
    with share_inputs(fake.target, requests, 10):
        for request, inputs in zip(requests, arrays, strict=True):
            outputs = ask(fake, request)
            assert outputs["A"].tolist() == inputs["A"].tolist()
            assert outputs["B"].tolist() == [text.encode() for text in inputs["B"]]
    (known,) = regions.registered
    assert known.key == f"/{known.name}"
    assert known.offset == 0


def test_inputs_of_no_bytes_can_be_shared(regions: Regions, fake: FakeServer) -> None:
    request = infer_request("identity", {"A": np.zeros((0, 4))})
    with share_inputs(fake.target, [request], 10):
        assert ask(fake, request)["A"].shape == (0, 4)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, SystemExit, RuntimeError])
def test_the_region_is_gone_however_the_run_ends(
    regions: Regions, fake: FakeServer, error: type[BaseException] | None
) -> None:
    def run() -> None:
        with share_inputs(fake.target, [infer_request("identity", {"A": np.ones(4)})], 10):
            assert regions.path(regions.registered[0]).exists()
            if error is not None:
                raise error

    if error is None:
        run()
    else:
        with pytest.raises(error):
            run()
    assert not regions.known
    assert not regions.path(regions.registered[0]).exists()


def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the regions that are made from now on."""
    names: list[str] = []
    make: Callable[..., Any] = shared_memory.SharedMemory

    def watch(**options: Any) -> Any:
        memory = make(**options)
        names.append(memory.name)
        return memory

    monkeypatch.setattr(shared_memory, "SharedMemory", watch)
    return names


@pytest.mark.parametrize(
    ("refusal", "warnings"), [(grpc.StatusCode.UNIMPLEMENTED, 0), (grpc.StatusCode.INVALID_ARGUMENT, 1)]
)
def test_a_server_that_takes_no_region_is_an_error_and_leaves_none(
    regions: Regions,
    fake: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    refusal: grpc.StatusCode,
    warnings: int,
) -> None:
    regions.refusal = refusal
    names = made(monkeypatch)
    with (
        pytest.raises(
            InferenceError, match=r"--shared-memory needs a server on this machine .*failed to open"
        ) as raised,
        share_inputs(fake.target, [infer_request("identity", {"A": np.ones(4)})], 10),
    ):
        pass
    assert raised.value.code is refusal
    assert len(names) == 1
    assert not (DEVICE / names[0]).exists()
    assert capsys.readouterr().err.count("may still be registered: ") == warnings


def test_a_server_that_has_gone_is_warned_of(
    regions: Regions, fake: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with share_inputs(fake.target, [infer_request("identity", {"A": np.ones(4)})], 10):
        regions.refusal = grpc.StatusCode.UNAVAILABLE
    name = regions.registered[0].name
    assert f"warning: {fake.target}: region {name} may still be registered: UNAVAILABLE" in capsys.readouterr().err
    assert not (DEVICE / name).exists()


def test_inputs_that_the_device_cannot_hold_are_bad_usage(
    regions: Regions, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 127}))
    request = infer_request("identity", {"A": np.ones(3), "B": np.ones(3)})
    with (
        pytest.raises(click.UsageError, match="--shared-memory: the inputs take 128 bytes, and /dev/shm has 127 left"),
        share_inputs(fake.target, [request], 10),
    ):
        pass
    assert not regions.registered


def test_the_option_sends_references(regions: Regions, fake: FakeServer, run: Any) -> None:
    @click.command()
    @common_options
    @request_options
    def main(common: CommonOptions, inputs: RequestOptions) -> None:
        with open_requests(common, inputs) as requests:
            outputs = ask(fake, pb.ModelInferRequest.FromString(requests.next()[1]))
            click.echo(outputs["INPUT0"].shape)

    result = run(main, "--shared-memory")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("(16,)\n")
    assert not regions.known


def test_a_server_without_shared_memory_ends_with_1(fake: FakeServer, run: Any) -> None:
    @click.command()
    @common_options
    @request_options
    def main(common: CommonOptions, inputs: RequestOptions) -> None:
        with open_requests(common, inputs):
            click.echo("begun")

    result = run(main, "--shared-memory")
    assert result.exit_code == 1
    assert f"{fake.target}: UNIMPLEMENTED: --shared-memory needs a server on this machine" in result.stderr
    assert "begun" not in result.stdout
