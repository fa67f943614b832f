"""Serving on the GPU: the server, what it is asked, by message or in shared memory, and closed loops that ask it."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.shared_memory import SharedMemory
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import grpc
import numpy as np
import psutil

from bench.closed_loop import METHOD, LoopResult, message
from bench.gpu.bare_engine import EngineSetup, noise
from bench.gpu.networks import PICTURE, Network, engine_file, onnx_file
from bench.measure import BenchError, Child, NotInstalledError, Subject, launched, running, script
from bench.ort import run_once
from bench.service.questions import Question
from bench.transport.contract import Transport, interface
from yais.clients.protocol import infer_outputs
from yais.engines import Array
from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub

# Of the largest logit: what two bytes of a float may come to in a whole network.
_TOLERANCE = 2e-2
# One for every four cores: the server needs the others.
CALLERS = max(1, min(4, (os.cpu_count() or 1) // 4))

_REGION = "pictures"


class Deployment(NamedTuple):
    """A network, and how it is served."""

    network: Network
    contexts: int
    max_batch: int

    @property
    def title(self) -> str:
        return f"{self.network.title}, batches of {self.max_batch}, {self.contexts} contexts"

    @property
    def setup(self) -> EngineSetup:
        return EngineSetup(self.contexts)


@dataclass(frozen=True, slots=True)
class Callers:
    """Closed loops towards one server, each in a process of its own."""

    children: Sequence[Child]
    question: Question

    @property
    def subject(self) -> Subject:
        """All of them as one."""
        first, *others = (psutil.Process(child.process.pid) for child in self.children)
        return Subject("the callers", 0, first, tuple(others))

    def __call__(self, milliseconds: float) -> LoopResult:
        """What all of them got. Raises `BenchError` for a wrong answer."""
        for child in self.children:
            child.say(str(milliseconds))
        yields = [LoopResult(**json.loads(child.hear())) for child in self.children]
        for reply in {reply for each in yields for reply in each.replies}:
            self.question.check(bytes.fromhex(reply))
        # Through the longest time: callers that end earlier must not make the sum look faster.
        return LoopResult(sum(each.requests for each in yields), max(each.seconds for each in yields), [])


@contextmanager
def served(case: Deployment, metrics: int = 0) -> Iterator[Subject]:
    """A server of the network, with its metrics on the port `metrics`."""
    path = engine_file(case.network)
    command = [
        *(script("inference-grpc"), "--port", "0", "--metrics", str(metrics)),
        *("--engine", f"{case.network.name}={path}", "--device", "cuda"),
        *("--contexts", str(case.contexts), "--max-batch-size", str(case.max_batch)),
    ]
    with running("YAIS", command, None) as server:
        yield server


@contextmanager
def calling(server: Subject, question: Question, in_flight: int, processes: int = CALLERS) -> Iterator[Callers]:
    """`in_flight` requests under way at any time, spread over `processes`, each of which has a connection."""
    with ExitStack() as stack:
        with NamedTemporaryFile() as file:
            file.write(question.message)
            file.flush()
            share = in_flight // processes
            # Once they are ready, they have read the file.
            children = [_launch(stack, server, file.name, share) for _ in range(processes)]
        yield Callers(children, question)


def classify(network: Network, rows: int) -> Question:
    """Pictures of noise, `rows` in a request, of which the answer should be about that of the CPU in FP32."""
    pictures = noise((rows, *PICTURE), np.dtype(np.uint8))
    expected = run_once(onnx_file(Network(network.name, "fp32")), pictures)
    return Question(METHOD, message(network.name, "input", pictures), lambda answer: _check(answer, expected))


def transport() -> Transport:
    """YAIS's own where it is built, since it costs the least."""
    try:
        interface("native")
    except ImportError:
        return "grpcio"
    return "native"


def _launch(stack: ExitStack, server: Subject, path: str, in_flight: int) -> Child:
    arguments = [str(server.port), path, str(max(1, in_flight)), transport()]
    child = stack.enter_context(launched("a caller", [sys.executable, "-m", "bench.closed_loop", *arguments], None))
    child.hear()
    return child


def _check(answer: bytes, expected: Array) -> None:
    (logits,) = infer_outputs(pb.ModelInferResponse.FromString(answer)).values()
    scale = float(np.abs(expected).max())
    # Not `>`, which no NaN would fulfil.
    if logits.shape != expected.shape or not np.abs(logits - expected).max() <= _TOLERANCE * scale:
        raise BenchError(f"a wrong answer: {logits}, expected {expected}")


@contextmanager
def in_shared_memory(server: Subject, question: Question) -> Iterator[Question]:
    """The same question, with the elements of its only input put into a region that the server is told of.

    Raises `NotInstalledError` where the server takes none.
    """
    request = pb.ModelInferRequest.FromString(question.message)
    (elements,) = request.raw_input_contents
    memory = SharedMemory(create=True, size=len(elements))
    assert memory.buf is not None
    memory.buf[: len(elements)] = elements
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel, _registered(channel, memory, len(elements)):
            yield replace(question, message=_referring(request, len(elements)))
    finally:
        memory.close()
        memory.unlink()


@contextmanager
def _registered(channel: grpc.Channel, memory: SharedMemory, size: int) -> Iterator[None]:
    stub: Any = GRPCInferenceServiceStub(channel)
    try:
        stub.SystemSharedMemoryRegister(
            # shm_open wants the slash, which Python hides in the name.
            pb.SystemSharedMemoryRegisterRequest(name=_REGION, key=f"/{memory.name.lstrip('/')}", byte_size=size)
        )
    except grpc.RpcError as error:
        status: Any = error
        if status.code() is grpc.StatusCode.UNIMPLEMENTED:
            raise NotInstalledError("the server takes no inputs in shared memory") from error
        raise BenchError(f"the server does not take shared memory: {status.details()}") from error
    yield
    stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest(name=_REGION))


def _referring(request: pb.ModelInferRequest, size: int) -> bytes:
    del request.raw_input_contents[:]
    parameters = request.inputs[0].parameters
    parameters["shared_memory_region"].string_param = _REGION
    parameters["shared_memory_byte_size"].int64_param = size
    return request.SerializeToString()
