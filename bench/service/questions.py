"""Questions to servers, and what the answers should be."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import numpy as np

from bench import closed_loop
from bench.measure import BenchError, Child, engine
from bench.ort import run_once
from bench.transport import contract
from bench.transport.peers import H2load, LoadShape
from yais.engines import Array

_READY = "/inference.GRPCInferenceService/ServerReady"
_PATIENCE_S = 60
# Between two attempts, and so the resolution of `service-start`.
_PAUSE_S = 0.002
_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """Requests of the engine `name` with an input of one shape, which is always filled with the same numbers."""

    name: str
    shape: tuple[int, ...]
    input: str = "INPUT0"

    def value(self) -> Array:
        return np.random.default_rng(0).random(self.shape, np.float32)

    def message(self) -> bytes:
        return closed_loop.message(self.name, self.input, self.value())


@dataclass(frozen=True, slots=True)
class Question:
    """A unary call, and what raises `BenchError` for a wrong answer to it."""

    method: str
    message: bytes
    check: Callable[[bytes], None]

    def ask(self, port: int) -> bytes:
        """The right answer of the server on `port`."""
        # On a connection of its own: a shared one may still be in backoff from before the server listened.
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            call: Any = channel.unary_unary(self.method)
            answer: bytes = call(self.message, timeout=_TIMEOUT_S)
        self.check(answer)
        return answer

    def load(self, port: int, shape: LoadShape) -> H2load:
        """h2load, told by an answer how long the others should be."""
        return H2load(port, self.message, shape, self.method, reply=len(self.ask(port)))

    def verify(self, port: int) -> None:
        """Raises `BenchError` where the answer is wrong."""
        self.ask(port)


def infer(model: ModelRequest) -> Question:
    """For a server that runs the model: its answer should be ONNX Runtime's."""
    expected = run_once(engine(model.name), model.value())
    return Question(closed_loop.METHOD, model.message(), lambda answer: closed_loop.check([answer], expected))


def reflect(model: ModelRequest) -> Question:
    """The same for a server that sends back the input, whatever model is asked for."""
    return Question(closed_loop.METHOD, model.message(), lambda answer: closed_loop.check([answer], model.value()))


def echo(model: ModelRequest) -> Question:
    """For a server of the echo service: a message that is as long as the one for everybody else."""
    # The reply is as long as the request, also for mlp, whose own answer is shorter.
    message = _of_length(len(model.message()))
    return Question(contract.METHOD, message, partial(expect, message))


def is_ready() -> Question:
    """ServerReady, of which the answer should be yes."""
    # ServerReadyResponse with `ready`, field 1, set to true.
    return Question(_READY, b"", partial(expect, b"\x08\x01"))


def wait_until_answered(child: Child, port: int, questions: Sequence[Question]) -> None:
    """Asks one after the other until each of `questions` has had its right answer."""
    deadline = time.monotonic() + _PATIENCE_S
    for question in questions:
        while (error := _error(question, port)) is not None:
            # A server that has ended is reported at once, with its log, and not after the deadline.
            child.require_running()
            if time.monotonic() > deadline:
                raise BenchError(f"{child.name} has not answered within {_PATIENCE_S} s: {error}")
            time.sleep(_PAUSE_S)


def _error(question: Question, port: int) -> Exception | None:
    try:
        question.ask(port)
    except (grpc.RpcError, BenchError) as error:
        return error
    return None


def expect(expected: bytes, answer: bytes) -> None:
    if answer != expected:
        raise BenchError(f"a wrong answer: {answer[:100]!r}")


def _of_length(length: int) -> bytes:
    """An echo message of exactly so many bytes, of which those in front of the content are at least 4."""
    # Tags, the id, and the length of the content, which is a varint: how many bytes it takes depends on the size.
    for size in range(length - 4, length - 10, -1):
        message: bytes = contract.message(size).SerializeToString()
        if len(message) == length:
            return message
    raise BenchError(f"there is no echo message of {length} bytes")
