"""Whatever arrives, a request whose form is known is answered as if it had been parsed."""

import math
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

from fake_raw_call import FakeRawCall
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from inline_model import KINDS, NOW_S, Echo, InlineModel, echo
from specs import spec

from yais.proto.grpc_service_pb2 import InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse
from yais.proto.tensors import DATATYPES
from yais.server.admission import Admission
from yais.server.registry import Registry
from yais.server.services.forms import WireCall
from yais.server.services.infer import InferMethod

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

A, B, C = spec("A", "FP32", 2), spec("B", "INT8", -1), spec("C", "BOOL")
MANY = [spec(f"I{i}", "INT16", 1) for i in range(17)]
ENGINES = {
    "one": ([spec("A", "FP32", -1)], 1, 4),
    "one, no batch": ([spec("A", "INT64", 2)], 1, 0),
    "three": ([A, B, C], 3, 4),
    "three, no batch": ([A, B, C], 2, 0),
    "more outputs": ([B, A], 5, 3),
    "scalar": ([spec("A", "FP64")], 1, 8),
    "BF16": ([spec("A", "BF16", 2), spec("B", "FP16", -1)], 2, 2),
    "BYTES": ([spec("A", "BYTES", -1)], 1, 4),
    "BYTES beside numbers": ([A, spec("S", "BYTES", 1)], 2, 4),
    "16 tensors": (MANY[:16], 16, 2),
    "17 inputs": (MANY, 1, 2),
    "17 outputs": (MANY[:1], 17, 2),
}


# Pieces of wire: a field is led by its number and kind, what has a length by that; varints may be longer than need be.


def varint(value: int, surplus: int = 0) -> bytes:
    """`value` with `surplus` needless bytes."""
    digits = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)] + [0] * surplus
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


def led(number: int, data: bytes, surplus: int = 0, surplus_of_tag: int = 0) -> bytes:
    return varint(number << 3 | 2, surplus_of_tag) + varint(len(data), surplus) + data


NAME, VERSION, ID, PARAMETERS, INPUT, OUTPUT, RAW = range(1, 8)

rarely = st.sampled_from([False] * 19 + [True])
surpluses = st.sampled_from([0] * 20 + [1, 4, 5, 9])
texts = st.text(max_size=4)
ids = st.one_of(
    st.just(b"r7"),
    st.integers(0, 300).map(lambda size: b"x" * size),
    st.sampled_from([b"", b"\x00", b"\x7f"]),
    st.sampled_from([b"\x80", b"\xff\xfe", b"a\xc3", b"\xed\xa0\x80", "é".encode(), "日本".encode()]),
)
versions = st.sampled_from([b"1", b"01", b"2", b"x", b"", b"\xff"])
parameters = st.builds(
    lambda name, value: ModelInferRequest(parameters={name: value}).SerializeToString(),
    st.sampled_from(["mine", "priority", "timeout", "sequence_id", "triton_x"]),
    st.one_of(
        st.builds(InferParameter, int64_param=st.integers(-1, 1)),
        st.builds(InferParameter, bool_param=st.booleans()),
        st.builds(InferParameter, string_param=texts),
        st.builds(InferParameter),
    ),
)
unknown = st.sampled_from(
    [
        b"\x08\x01",  # model_name as a varint
        b"\x38\x01",  # raw_input_contents as a varint
        b"\x1d1234",  # id as 4 bytes
        b"\x1912345678",  # id as 8 bytes
        b"\x1b\x1c",  # id as a group
        b"\x43\x0a\x01x\x44",  # a group of a field that is not known
        b"\x43",  # one that never ends
        b"\x44",  # the end of none
        b"\x42\x03abc",  # field 8
        b"\x82\x01\x02ab",  # field 16
        b"\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x02\x00",  # field 0
        b"\x3e",  # a kind that there is not
        b"\x00",
        b"\xff" * 11,
    ]
)


def described(tensor: ModelInferRequest.InferInputTensor | ModelInferRequest.InferRequestedOutputTensor) -> bytes:
    return tensor.SerializeToString()


@st.composite
def tensors(draw: st.DrawFn, engine: Echo) -> list[tuple[int, bytes]]:
    """The inputs and their contents as fields, from right to not quite right."""
    batch = [draw(st.integers(0, engine.max_batch_size + draw(rarely)))] if engine.max_batch_size else []
    wrong, is_typed = draw(rarely), draw(rarely)
    free = st.sampled_from([0, 1, 2, 3, 2**31 if draw(rarely) else 4])
    fields = []
    raws = []
    for each in draw(st.permutations(engine.inputs)):
        shape = [*batch, *(draw(free) if dim == -1 else dim for dim in each.shape)]
        datatype = DATATYPES[each.dtype]
        if wrong and draw(st.booleans()):
            shape = draw(st.lists(st.integers(-1, 3), max_size=3))
        if wrong and draw(st.booleans()):
            datatype = draw(st.sampled_from(["FP32", "INT8", "BYTES", "", "FP8"]))
        tensor = ModelInferRequest.InferInputTensor(name=each.name, datatype=datatype, shape=shape)
        if is_typed:
            tensor.contents.CopyFrom(InferTensorContents(fp32_contents=[1.5] * min(9, abs(prod(shape)))))
        if draw(rarely):
            tensor.parameters["classification" if draw(rarely) else "mine"].int64_param = draw(st.integers(0, 3))
        fields.append((INPUT, described(tensor)))
        raws.append((RAW, draw(contents(each.dtype.itemsize, min(40, abs(prod(shape))), each.dtype.hasobject))))
    if draw(rarely):
        raws.append((RAW, b""))
    if draw(rarely):
        fields.append(fields[0])
    return fields + ([] if is_typed else raws[: draw(st.integers(0, len(raws))) if wrong else len(raws)])


@st.composite
def contents(draw: st.DrawFn, size: int, count: int, is_strings: bool) -> bytes:
    if is_strings:
        return b"".join(len(each).to_bytes(4, "little") + each for each in draw(lists_of_bytes(count)))
    exact = draw(st.binary(min_size=size * count, max_size=size * count))
    surplus = draw(st.sampled_from([-1, 1, size, -size])) if draw(rarely) else 0
    return exact[:surplus] if surplus < 0 else exact + bytes(surplus)


def lists_of_bytes(count: int) -> st.SearchStrategy[list[bytes]]:
    return st.lists(st.binary(max_size=3), min_size=count, max_size=count)


@st.composite
def messages(draw: st.DrawFn, engine: Echo) -> bytes:
    """A ModelInferRequest as its fields, with whatever protobuf allows and now and then with what it does not."""
    fields = [(NAME, b"m"), *((ID, each) for each in draw(st.lists(ids, max_size=1)))]
    fields += draw(tensors(engine))
    fields += [
        (OUTPUT, described(ModelInferRequest.InferRequestedOutputTensor(name=name)))
        for name in draw(st.lists(st.sampled_from([each.name for each in engine.outputs]), max_size=2))
    ]
    if draw(rarely):
        fields.append((VERSION, draw(versions)))
    if draw(rarely):
        fields.append(draw(st.sampled_from([(NAME, b"x"), (NAME, b"m"), (OUTPUT, b"\x0a\x01Z"), (NAME, b"\xff")])))
    if draw(rarely):
        fields.append((ID, draw(ids)))
    if draw(rarely):
        fields = draw(st.permutations(fields))
    pieces = [led(number, data, draw(surpluses), draw(surpluses) if draw(rarely) else 0) for number, data in fields]
    for extra in (parameters, unknown):
        if draw(rarely):
            pieces.insert(draw(st.integers(0, len(pieces))), draw(extra))
    return b"".join(pieces)


@st.composite
def spoiled(draw: st.DrawFn, engine: Echo) -> bytes:
    """A message that the way has not left as it was."""
    wire = bytearray(draw(messages(engine)))
    assume(wire)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(wire) - 1))
        match draw(st.sampled_from(["flip", "set", "cut", "drop", "insert"])):
            case "flip":
                wire[at] ^= 1 << draw(st.integers(0, 7))
            case "set":
                wire[at] = draw(st.sampled_from([0, 1, 0x0A, 0x1A, 0x3A, 0x7F, 0x80, 0xFF]))
            case "cut":
                del wire[at + 1 :]
            case "drop" if len(wire) > 1:
                del wire[at]
            case _:
                wire.insert(at, draw(st.integers(0, 255)))
    return bytes(wire)


class Sent(NamedTuple):
    """One call; its caller may leave before it runs, and the transport may tell that at once or later."""

    wire: bytes
    deadline: float = math.inf
    leaves: bool = False
    is_told_late: bool = False


deadlines = st.sampled_from([math.inf] * 5 + [NOW_S - 1, NOW_S + 1, 9e9])


def calls(wires: st.SearchStrategy[bytes]) -> st.SearchStrategy[Sent]:
    return st.builds(Sent, wires, deadlines, rarely, st.booleans())


@dataclass
class Side:
    """One of the two ways to serve, and what came of everything so far."""

    engine: Echo
    by_form: bool
    max_queue_size: int = 1000
    recognised: int = 0
    outcomes: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = InlineModel(self.engine, self.max_queue_size)
        self.admission = Admission()
        registry = Registry()
        registry.add(self.model)
        self.method = InferMethod(registry, self.admission)
        if self.by_form:
            self.method.recognise_forms()

    def send(self, sent: list[Sent]) -> None:
        """Sends all, runs what waits, and keeps the outcomes."""
        calls = [self._send_one(each) for each in sent]
        self.model.run()
        for call in calls:
            if call.has_left and call.listener is not None:
                call.leave()
        self.outcomes += [[meaning(outcome) for outcome in call.outcomes] for call in calls]
        assert all(len(call.outcomes) == (not call.has_left) for call in calls)
        assert all(call.listener is None for call in calls)
        assert self.admission.in_flight == 0
        assert self.model.waiting == 0

    def _send_one(self, sent: Sent) -> FakeRawCall:
        call = FakeRawCall(sent.deadline)
        # The request is a copy of its own, of which nobody else knows.
        self.method(call, memoryview(bytes(bytearray(sent.wire))))
        self.recognised += isinstance(call.listener, WireCall)
        if sent.leaves and call.listener is not None:
            call.has_left = True
            if not sent.is_told_late:
                call.leave()
        return call

    def figures(self) -> tuple[Any, ...]:
        recorder = self.model.recorder.read()
        batches = {rows: stats.count for rows, stats in recorder.batches.items()}
        return recorder.successes, recorder.inference_count, recorder.execution_count, recorder.failures, batches


def meaning(outcome: Any) -> Any:
    """A response without regard to how it is written, or status and text."""
    return ModelInferResponse.FromString(outcome) if isinstance(outcome, bytes) else outcome


def check(engine: Echo, *rounds: list[Sent], is_closed: bool = False, max_queue_size: int = 1000) -> Side:
    """Serves the same in both ways; returns the side that knows forms."""
    parsing, knowing = Side(engine, False, max_queue_size), Side(engine, True, max_queue_size)
    for number, sent in enumerate(rounds, 1):
        for side in (parsing, knowing):
            if is_closed and number == len(rounds):
                side.admission.close()
            side.send(sent)
        assert knowing.outcomes == parsing.outcomes
        assert knowing.figures() == parsing.figures()
    assert parsing.recognised == 0
    event(f"{'some' if knowing.recognised else 'none'} recognised")
    for o in knowing.outcomes:
        event(type(o[0]).__name__ if o and not isinstance(o[0], tuple) else (o[0][1][:60] if o else "gone"))
    return knowing


def similar(sent: Sent) -> Sent:
    """Of the same form as a serialised `sent`, with other elements and another id; garbage stays as it is."""
    try:
        message = ModelInferRequest.FromString(sent.wire)
    except DecodeError:
        return sent
    message.id = "another"
    message.raw_input_contents[:] = [raw[::-1] for raw in message.raw_input_contents]
    return sent._replace(wire=message.SerializeToString())


engines = st.builds(
    lambda engine, kind: echo(*engine, kind), st.sampled_from(list(ENGINES.values())), st.sampled_from(list(KINDS))
)


def check_twice(engine: Echo, sent: list[Sent], **ways: Any) -> None:
    others = [similar(each) for each in sent]
    check(engine, sent, sent, others, [*others, *sent], **ways)


@given(st.data(), engines)
@settings(UNHURRIED, max_examples=200)
def test_messages_in_all_ways_to_write_them_are_answered_alike(data: st.DataObject, engine: Echo) -> None:
    check_twice(engine, data.draw(st.lists(calls(messages(engine)), min_size=1, max_size=4)))


@given(st.data(), engines)
@settings(UNHURRIED, max_examples=200)
def test_spoiled_messages_are_answered_alike(data: st.DataObject, engine: Echo) -> None:
    wires = messages(engine) | spoiled(engine)
    check_twice(engine, data.draw(st.lists(calls(wires), min_size=1, max_size=4)))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=3), engines)
@settings(UNHURRIED, max_examples=100)
def test_any_bytes_are_answered_alike(wires: list[bytes], engine: Echo) -> None:
    check_twice(engine, [Sent(wire) for wire in wires])


@given(st.data(), engines, st.booleans(), st.integers(1, 3))
@settings(UNHURRIED, max_examples=100)
def test_a_full_queue_and_a_draining_server_are_met_alike(
    data: st.DataObject, engine: Echo, is_closed: bool, max_queue_size: int
) -> None:
    sent = data.draw(st.lists(calls(messages(engine)), min_size=1, max_size=4))
    check_twice(engine, sent, is_closed=is_closed, max_queue_size=max_queue_size)


@given(st.data(), engines)
@settings(UNHURRIED, max_examples=100)
def test_a_request_of_a_known_form_with_a_bit_flipped_is_answered_alike(data: st.DataObject, engine: Echo) -> None:
    wire = data.draw(messages(engine))
    flips = st.integers(0, 8 * len(wire) - 1)
    flipped = [flip(wire, bit) for bit in data.draw(st.lists(flips, min_size=1, max_size=8, unique=True))]
    check(engine, [Sent(wire)], [Sent(each) for each in flipped], [Sent(each) for each in (*flipped, wire)])


def flip(wire: bytes, bit: int) -> bytes:
    changed = bytearray(wire)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
