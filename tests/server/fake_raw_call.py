"""A call as a transport hands it to a callback, without a transport; and the service of one model behind it."""

import asyncio
import math
from collections.abc import Callable

import grpc
import numpy as np

from yais.proto.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from yais.server.errors import ServiceError
from yais.server.grpc.codec import decode
from yais.server.grpc.infer import InferMethod, ParsedRequest
from yais.server.grpc.server import CallListener, Outcome
from yais.server.grpc.templates import WireRequest
from yais.server.models.admission import Admission
from yais.server.models.model import Model
from yais.server.models.registry import Registry


class FakeRawCall:
    """Keeps every outcome, also one that comes when the call is over, so that a second one shows."""

    def __init__(self, deadline: float = math.inf) -> None:
        self.deadline = deadline
        self.listener: CallListener | None = None
        self.outcomes: list[Outcome] = []
        self.has_left = False
        self.is_held_back = False
        self.on_outcome: Callable[[], None] = lambda: None

    @property
    def is_over(self) -> bool:
        return self.has_left or bool(self.outcomes)

    def respond(self, *buffers: bytes) -> None:
        self._end(b"".join(buffers))

    def fail(self, code: grpc.StatusCode, details: str = "") -> None:
        self._end((code, details))

    def hold_back(self) -> None:
        self.is_held_back = True

    def leave(self) -> None:
        """The caller goes; the listener hears of it, as a transport's does."""
        self.has_left = True
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.closed()

    def _end(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.on_outcome()

    async def outcome(self) -> Outcome:
        """What becomes of the call; nothing may listen to it any more by then."""
        ended = asyncio.Event()
        self.on_outcome = ended.set
        async with asyncio.timeout(30):
            while not self.outcomes:
                await ended.wait()
        (outcome,) = self.outcomes
        assert self.listener is None
        return outcome

    async def response(self) -> ModelInferResponse:
        outcome = await self.outcome()
        assert isinstance(outcome, bytes), outcome
        return ModelInferResponse.FromString(outcome)


class Served:
    """ModelInfer of one model; with `by_template` every request that can be is looked up from the first."""

    def __init__(self, model: Model, by_template: bool) -> None:
        self.model = model
        self.by_template = by_template
        self.admission = Admission()
        registry = Registry()
        registry.add(model)
        self.method = InferMethod(registry, self.admission)
        if by_template:
            self.method.cache_templates()

    def send(self, request: ModelInferRequest, deadline: float = math.inf) -> FakeRawCall:
        if self.by_template:
            self.teach(request)
        call = self.send_bytes(request.SerializeToString(), deadline)
        assert isinstance(
            call.listener, (WireRequest if self.by_template else ParsedRequest) if call.listener else object
        )
        return call

    def send_bytes(self, wire: bytes, deadline: float = math.inf) -> FakeRawCall:
        call = FakeRawCall(deadline)
        self.method(call, memoryview(wire))
        return call

    def teach(self, request: ModelInferRequest) -> None:
        """Makes the template of `request` known as if one like it had come before."""
        try:
            inference = decode(request, self.model.signature)
        except ServiceError:
            return
        assert self.method._templates is not None
        self.method._templates.insert(request.SerializeToString(), self.model, inference.layout, inference.outputs)

    async def response(self, request: ModelInferRequest) -> ModelInferResponse:
        return await self.send(request).response()

    async def refusal(self, request: ModelInferRequest, deadline: float = math.inf) -> Outcome:
        return await self.send(request, deadline).outcome()

    @property
    def failures(self) -> dict[str, int]:
        return {reason: count for reason, count in self.model.recorder.failures.items() if count}


def infer(*numbers: int, model: str = "m", version: str = "", request_id: str = "r7") -> ModelInferRequest:
    raw = np.array(numbers, "<i8").tobytes()
    request = ModelInferRequest(model_name=model, model_version=version, id=request_id, raw_input_contents=[raw])
    request.inputs.add(name="X", datatype="INT64", shape=[len(numbers), 1])
    return request


def numbers(response: ModelInferResponse) -> list[int]:
    return np.frombuffer(response.raw_output_contents[0], "<i8").tolist()
