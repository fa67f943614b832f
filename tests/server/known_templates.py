"""RequestTemplateCache without a service around them."""

from typing import Any

import numpy as np

from server.fake_raw_call import FakeRawCall
from server.inline_model import Echo, InlineModel, echo
from server.specs import Described, spec
from yais.engines import Array
from yais.proto.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from yais.proto.tensors import DATATYPES, to_raw
from yais.server.errors import ServiceError
from yais.server.grpc.codec import decode
from yais.server.grpc.infer import InferCall
from yais.server.grpc.templates import RequestTemplateCache, WireRequest
from yais.server.models.signature import Signature


class Ends:
    """What stands for the method: keeps how calls end."""

    def __init__(self) -> None:
        self.responses: list[bytes] = []
        self.errors: list[ServiceError] = []
        self.abandoned: list[InferCall] = []

    def answer(self, request: InferCall, response: bytes) -> None:
        self.responses.append(response)

    def refuse(self, request: InferCall, error: ServiceError) -> None:
        self.errors.append(error)

    def abandon(self, request: InferCall) -> None:
        self.abandoned.append(request)

    @property
    def response(self) -> ModelInferResponse:
        (response,) = self.responses
        return ModelInferResponse.FromString(response)


class Kept:
    """RequestTemplateCache of the requests for one model."""

    def __init__(self, engine: Described | Echo) -> None:
        self.ends = Ends()
        self.templates = RequestTemplateCache(self.ends)  # type: ignore[arg-type]
        self.model = InlineModel(engine) if isinstance(engine, Echo) else Undriven(engine)

    def insert(self, request: ModelInferRequest) -> None:
        inference = decode(request, self.model.signature)
        self.templates.insert(request.SerializeToString(), self.model, inference.layout, inference.outputs)  # type: ignore[arg-type]

    def lookup(self, request: ModelInferRequest, call: FakeRawCall | None = None) -> WireRequest | None:
        return self.templates.lookup(call or FakeRawCall(), request.SerializeToString(), 5)

    def known(self, request: ModelInferRequest) -> WireRequest:
        """`request` as a call, once its template has been inserted."""
        self.insert(request)
        call = self.lookup(request)
        assert call is not None
        return call


class Undriven:
    """A model that nobody runs."""

    name, version = "m", "1"

    def __init__(self, engine: Described) -> None:
        self.engine = engine
        self.signature = Signature("m", engine)


def request(*arrays: Array, request_id: str = "", names: str = "ABCDEFGHIJKLMNOPQRSTUVW", **fields: Any) -> Any:
    sent = ModelInferRequest(model_name="m", id=request_id, **fields)
    for name, array in zip(names, arrays, strict=False):
        sent.inputs.add(name=name, datatype=DATATYPES[array.dtype], shape=array.shape)
        sent.raw_input_contents.append(to_raw(array))
    return sent


def rows(count: int, width: int = 2, first: int = 0) -> Array:
    return np.arange(first, first + count * width, dtype=np.float32).reshape(count, width)


PAIR = echo([spec("A", "FP32", 2), spec("B", "INT32", -1)], 2, 8)
ONE = echo([spec("A", "FP32", 2)], 1, 8)
