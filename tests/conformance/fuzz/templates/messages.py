"""The messages of a program, as their bytes."""

from itertools import cycle, islice
from math import inf, prod
from typing import NamedTuple

from server.inline_model import NOW_S, Echo
from server.wire_messages import INPUT, OUTPUT, RAW, led

from conformance.fuzz.program import Program, Record
from conformance.fuzz.templates.engines import engine_of
from conformance.fuzz.templates.records import Kind
from yais.engines import Shape, TensorSpec
from yais.proto.grpc_service_pb2 import InferParameter, ModelInferRequest
from yais.proto.tensors import DATATYPES

_MAX_BYTES = 1 << 16
_MAX_CALLS = 40
_DATATYPES = (*DATATYPES.values(), "", "FP8")
# What the last values of a byte stand for as a dimension; the others are themselves.
_DIMS = (20_000, 2**31 - 1, 2**31, 2**62, 2**63 - 1, -(2**63), -2, -1)
_PARAMETERS = ("mine", "priority", "timeout", "sequence_id", "sequence_end", "triton_x", "shared_memory_region", "")
_WRONG_TYPE, _HAS_PARAMETER, _IS_TYPED = 31, 64, 128
_DEADLINES = (inf, NOW_S - 1, NOW_S + 1, 9e9)
_LEAVES, _IS_TOLD_LATE = 4, 8


class Sent(NamedTuple):
    """One call; its caller may leave before it runs, and the transport may tell that at once or later."""

    wire: bytes
    deadline: float = inf
    leaves: bool = False
    is_told_late: bool = False


def rounds_of(program: Program) -> list[list[Sent]]:
    """The calls of each run of the model."""
    writer = _Writer(engine_of(program))
    for record in program.records:
        writer.take(record)
    return [*writer.rounds, writer.round]


def usual(engine: Echo) -> bytes:
    """The request that most of a model's clients send."""
    writer = _Writer(engine)
    writer.take(Record(Kind.FIELD, 1, b"m"))
    for number, each in enumerate(engine.inputs):
        dims = [1] * bool(engine.max_batch_size) + [2 if dim == -1 else dim for dim in each.shape]
        writer.take(Record(Kind.INPUT, number, bytes((0, *dims))))
    for number in range(len(engine.inputs)):
        writer.take(Record(Kind.RAW, 1 + number, b"\1\2\3"))
    return bytes(writer.wire)


class _Writer:
    def __init__(self, engine: Echo) -> None:
        self.engine = engine
        self.wire = bytearray()
        self.shapes: dict[str, Shape] = {}
        self.round: list[Sent] = []
        self.rounds: list[list[Sent]] = []
        self.messages: list[bytes] = []

    def take(self, record: Record) -> None:
        argument, payload = record.argument, record.payload
        match record.kind:
            case Kind.SPOIL:
                _spoil(self.wire, argument, payload)
            case Kind.SEND if len(self.messages) < _MAX_CALLS:
                self._send(argument)
            case Kind.RUN:
                self.rounds.append(self.round)
                self.round = []
            case _ if len(self.wire) < _MAX_BYTES:
                self.wire += self._piece(record.kind, argument, payload)

    def _piece(self, kind: Kind, argument: int, payload: bytes) -> bytes:
        match kind:
            case Kind.WIRE:
                return payload
            case Kind.FIELD:
                return led(argument & 7, payload, argument >> 3 & 7, argument >> 6)
            case Kind.INPUT:
                return self._input(argument, payload.ljust(1, b"\0"))
            case Kind.RAW:
                return self._raw(argument, payload)
            case Kind.OUTPUT:
                name = [*(each.name for each in self.engine.outputs), "Z"][argument % (len(self.engine.outputs) + 1)]
                asked = ModelInferRequest.InferRequestedOutputTensor(name=name)
                return led(OUTPUT, asked.SerializeToString())
            case Kind.PARAMETER:
                name = _PARAMETERS[argument >> 3 & 7]
                return ModelInferRequest(parameters={name: _parameter(argument & 7, payload)}).SerializeToString()
        return self.messages[argument % len(self.messages)] if self.messages else b""

    def _send(self, how: int) -> None:
        self.messages.append(bytes(self.wire))
        self.round.append(Sent(self.messages[-1], _DEADLINES[how & 3], bool(how & _LEAVES), bool(how & _IS_TOLD_LATE)))
        self.wire.clear()

    def _input(self, argument: int, payload: bytes) -> bytes:
        each = self.engine.inputs[argument % len(self.engine.inputs)]
        wrong = payload[0] & _WRONG_TYPE
        datatype = _DATATYPES[wrong % len(_DATATYPES)] if wrong else DATATYPES[each.dtype]
        shape = tuple(dim if dim < 256 - len(_DIMS) else _DIMS[dim - 256] for dim in payload[1:])
        self.shapes[each.name] = shape
        tensor = ModelInferRequest.InferInputTensor(name=each.name, datatype=datatype, shape=shape)
        if payload[0] & _HAS_PARAMETER:
            tensor.parameters[_PARAMETERS[argument >> 5]].int64_param = 1
        if payload[0] & _IS_TYPED:
            tensor.contents.fp32_contents.extend([1.5] * min(9, abs(prod(shape))))
        return led(INPUT, tensor.SerializeToString())

    def _raw(self, argument: int, payload: bytes) -> bytes:
        """The payload itself, or as often as the elements of an input take it."""
        if not argument:
            return led(RAW, payload)
        each = self.engine.inputs[(argument - 1) % len(self.engine.inputs)]
        return led(RAW, _contents(each, abs(prod(self.shapes.get(each.name, ()))), payload or b"\0"))


def _contents(tensor: TensorSpec, count: int, payload: bytes) -> bytes:
    if tensor.dtype.hasobject:
        payload = len(payload[:9]).to_bytes(4, "little") + payload[:9]
        return payload * min(count, 99)
    return bytes(islice(cycle(payload), min(count * tensor.dtype.itemsize, _MAX_BYTES)))


def _parameter(kind: int, payload: bytes) -> InferParameter:
    number = int.from_bytes(payload[:8], "little", signed=True)
    match kind:
        case 0:
            return InferParameter(int64_param=number)
        case 1:
            return InferParameter(bool_param=bool(number))
        case 2:
            return InferParameter(double_param=number / 3)
        case 3:
            return InferParameter(uint64_param=abs(number))
        case 4:
            return InferParameter()
    return InferParameter(string_param=payload.decode("latin1"))


def _spoil(wire: bytearray, how: int, payload: bytes) -> None:
    """At the place that the first two bytes of `payload` say; where the end is cut off, counted from there."""
    if not wire:
        return
    at = int.from_bytes(payload[:2], "little") % len(wire)
    rest = payload[2:]
    match how % 5:
        case 0:
            wire[at] ^= 1 << (rest[0] & 7 if rest else 0)
        case 1:
            wire[at : at + len(rest)] = rest
        case 2:
            wire[at:at] = rest
        case 3:
            del wire[at : at + len(payload)]
        case 4:
            del wire[-1 - at :]
