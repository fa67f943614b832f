"""ModelInfer, from the bytes of a request to those of its answer, without a coroutine.

Requests that have a template are taken as they come (`templates.pyx`); all others are parsed, and leave a template.
Without the native extension, and on grpcio's transport, every request is parsed: the reference for the other way.
"""

import math
from collections.abc import Mapping
from time import monotonic_ns
from typing import TYPE_CHECKING, Protocol

from google.protobuf.message import DecodeError

from yais.engines import Array, Shape
from yais.proto.grpc_service_pb2 import ModelInferRequest
from yais.server.errors import QueueFullError, ServiceError, UnreadableError
from yais.server.grpc.codec import Inference, decode, encode
from yais.server.grpc.server import RawCall
from yais.server.grpc.status import status_details
from yais.server.models.admission import Admission
from yais.server.models.model import Model
from yais.server.models.registry import Registry
from yais.server.models.request import Request
from yais.server.refusals import RefusalLog

if TYPE_CHECKING:
    from yais.server.grpc.templates import RequestTemplateCache


class InferCall(Request, Protocol):
    """A request, and the call that it came by."""

    @property
    def call(self) -> RawCall: ...

    @property
    def model(self) -> Model: ...

    def changed(self) -> None: ...

    def closed(self) -> None: ...


class InferMethod:
    """Serves ModelInfer for the models of `registry`, as long as `admission` is open; called once for each call.

    What gets no result is counted in `refusals`, where there are any.
    """

    def __init__(self, registry: Registry, admission: Admission, refusals: RefusalLog | None = None) -> None:
        self._registry = registry
        self._admission = admission
        self._refusals = refusals
        self._templates: RequestTemplateCache | None = None

    def cache_templates(self) -> None:
        """From now on parses no request that has a template. Raises ImportError without the native extension."""
        from yais.server.grpc.templates import RequestTemplateCache

        self._templates = RequestTemplateCache(self)

    def __call__(self, call: RawCall, message: memoryview) -> None:
        arrived = monotonic_ns()
        data: bytes = message.obj  # type: ignore[assignment]
        request = self._templates.lookup(call, data, arrived) if self._templates is not None else None
        if request is None:
            self._parse(call, data, arrived)
        else:
            self._submit(request)

    def answer(self, request: InferCall, response: bytes) -> None:
        request.call.listener = None
        request.call.respond(response)
        self._admission.leave()

    def refuse(self, request: InferCall, error: ServiceError) -> None:
        request.call.listener = None
        self._admission.leave()
        self._fail(request.call, request.model, request.arrived, error)

    def abandon(self, request: InferCall) -> None:
        """Takes back a request whose caller has gone."""
        request.call.listener = None
        self._admission.leave()
        request.model.pool.discard(request)
        request.model.recorder.fail("CANCELED", monotonic_ns() - request.arrived)

    def _parse(self, call: RawCall, data: bytes, arrived: int) -> None:
        """Submits a request without a template, once it is parsed and found to keep the rules."""
        model = None
        try:
            try:
                message = ModelInferRequest.FromString(data)
            except DecodeError:
                raise UnreadableError from None
            model = self._registry.find(message.model_name, message.model_version)
            # Before the tensors are decoded, which is most of the work, and after the model is known, which counts it.
            self._admission.check()
            inference = decode(message, model.signature)
        except ServiceError as error:
            self._fail(call, model, arrived, error)
            return
        # Only now: a template stands for all of the checks above.
        if self._templates is not None:
            self._templates.insert(data, model, inference.layout, inference.outputs)
        self._submit(ParsedRequest(self, call, model, message.id, inference, arrived))

    def _submit(self, request: InferCall) -> None:
        try:
            self._admission.enter()
        except ServiceError as error:
            self._fail(request.call, request.model, request.arrived, error)
            return
        # From here on the end of the call is heard of, and the request leaves exactly once.
        request.call.listener = request
        try:
            request.model.pool.add(request)
        except QueueFullError as error:
            self.refuse(request, error)
            # Whoever sends more than is served is read more slowly, or refusals alone would take the loop.
            request.call.hold_back()

    def _fail(self, call: RawCall, model: Model | None, arrived: int, error: ServiceError) -> None:
        if model is not None:
            model.recorder.fail(error.reason, monotonic_ns() - arrived)
        if self._refusals is not None:
            self._refusals.add(error.kind)
        call.fail(error.status, status_details(error))


class ParsedRequest:
    """A call of ModelInfer whose request was parsed."""

    __slots__ = ("_id", "_inference", "_method", "arrived", "call", "deadline", "model", "queued", "rows", "shapes")

    def __init__(
        self, method: InferMethod, call: RawCall, model: Model, request_id: str, inference: Inference, arrived: int
    ) -> None:
        self.call = call
        self.model = model
        self.arrived = self.queued = arrived
        self.deadline = None if math.isinf(call.deadline) else int(call.deadline * 1e9)
        self.rows: int = inference.layout.rows
        self.shapes: tuple[Shape, ...] = inference.layout.shapes
        self._method = method
        self._id = request_id
        self._inference = inference

    @property
    def is_wanted(self) -> bool:
        return not self.call.is_over

    def fill(self, inputs: Mapping[str, Array], row: int) -> None:
        for name, array in self._inference.inputs.items():
            inputs[name][row : row + self.rows] = array

    def answer(self, outputs: Mapping[str, Array], row: int) -> None:
        own = {name: buffer[row : row + self.rows] for name, buffer in outputs.items()}
        model = self.model
        response = encode(model.signature, model.version, self._id, self._inference.outputs, own)
        self._method.answer(self, response.SerializeToString())

    def refuse(self, error: ServiceError) -> None:
        self._method.refuse(self, error)

    def changed(self) -> None:
        """There is nothing more to come, and nothing more to send."""

    def closed(self) -> None:
        self._method.abandon(self)
