"""One ModelInfer call: an inference request whose answer is a message that a coroutine waits for."""

import asyncio
import math
from collections.abc import Mapping

from yais.engines import Array
from yais.proto.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from yais.server.errors import ServiceError
from yais.server.model import Model
from yais.server.request import Request
from yais.server.services.decode import decode
from yais.server.services.encode import encode

# grpc reports "no deadline" as centuries.
_FOREVER_S = 1e9


class InferCall(Request):
    """Encodes its rows of the outputs as soon as they are there; `reply` is the future that gets the message.

    Raises the `ServiceError` that a message deserves which breaks the rules.
    """

    __slots__ = ("_id", "_model", "_outputs", "reply")

    def __init__(self, message: ModelInferRequest, model: Model, arrived: int, deadline: int | None) -> None:
        inference = decode(message, model.signature)
        super().__init__(inference.inputs, inference.layout, arrived, deadline)
        self._outputs = inference.outputs
        self._id = message.id
        self._model = model
        self.reply: asyncio.Future[ModelInferResponse] = asyncio.get_running_loop().create_future()

    @property
    def is_wanted(self) -> bool:
        # A cancelled task cancels the future that it waits for at once, but hears of it only in the next turn.
        return not self.reply.done()

    @property
    def is_answered(self) -> bool:
        return self.reply.done() and not self.reply.cancelled() and self.reply.exception() is None

    def answer(self, outputs: Mapping[str, Array]) -> None:
        self.reply.set_result(encode(self._model.signature, self._model.version, self._id, self._outputs, outputs))

    def refuse(self, error: ServiceError) -> None:
        self.reply.set_exception(error)


def deadline_after(arrived: int, time_remaining: float | None) -> int | None:
    """The deadline in nanoseconds of the clock of `arrived`, given the seconds that are left; None for no deadline."""
    if time_remaining is None or time_remaining > _FOREVER_S or math.isnan(time_remaining):
        return None
    return arrived + int(time_remaining * 1e9)
