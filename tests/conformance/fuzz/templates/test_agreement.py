"""Whatever arrives, a request whose template is known is answered as if it had been parsed."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from server.fake_raw_call import FakeRawCall
from server.inline_model import KINDS, NOW_S, Echo, InlineModel, echo
from server.specs import spec
from server.wire_messages import messages, rarely, relatives, serialised, spoiled

from yais.proto.grpc_service_pb2 import ModelInferResponse
from yais.server.grpc.infer import InferMethod
from yais.server.grpc.templates import WireRequest
from yais.server.models.admission import Admission
from yais.server.models.registry import Registry

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
    by_template: bool
    max_queue_size: int = 1000
    hits: int = 0
    outcomes: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = InlineModel(self.engine, self.max_queue_size)
        self.admission = Admission()
        registry = Registry()
        registry.add(self.model)
        self.method = InferMethod(registry, self.admission)
        if self.by_template:
            self.method.cache_templates()

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
        assert self.model.pool.waiting == 0

    def _send_one(self, sent: Sent) -> FakeRawCall:
        call = FakeRawCall(sent.deadline)
        # The request is a copy of its own, of which nobody else knows.
        self.method(call, memoryview(bytes(bytearray(sent.wire))))
        self.hits += isinstance(call.listener, WireRequest)
        if sent.leaves and call.listener is not None:
            call.has_left = True
            if not sent.is_told_late:
                call.leave()
        return call

    def stats(self) -> tuple[Any, ...]:
        recorder = self.model.recorder.read()
        batches = {rows: stats.count for rows, stats in recorder.batches.items()}
        return recorder.successes, recorder.inference_count, recorder.execution_count, recorder.failures, batches


def meaning(outcome: Any) -> Any:
    """A response without regard to how it is written, or status and text."""
    return ModelInferResponse.FromString(outcome) if isinstance(outcome, bytes) else outcome


def check(engine: Echo, *rounds: list[Sent], is_closed: bool = False, max_queue_size: int = 1000) -> Side:
    """Serves the same in both ways; returns the side that knows templates."""
    parsing, knowing = Side(engine, False, max_queue_size), Side(engine, True, max_queue_size)
    for number, sent in enumerate(rounds, 1):
        for side in (parsing, knowing):
            if is_closed and number == len(rounds):
                side.admission.close()
            side.send(sent)
        assert knowing.outcomes == parsing.outcomes
        assert knowing.stats() == parsing.stats()
    assert parsing.hits == 0
    event(f"{'some' if knowing.hits else 'none'} recognised")
    event(f"{'some' if any(map(is_answer, knowing.outcomes)) else 'none'} answered")
    return knowing


def is_answer(outcomes: list[Any]) -> bool:
    return any(isinstance(outcome, ModelInferResponse) for outcome in outcomes)


engines = st.builds(
    lambda engine, kind: echo(*engine, kind), st.sampled_from(list(ENGINES.values())), st.sampled_from(list(KINDS))
)


def check_twice(data: st.DataObject, engine: Echo, wires: st.SearchStrategy[bytes], **ways: Any) -> None:
    """Sends messages, the same again, and then others of the same template or nearly so."""
    sent = data.draw(st.lists(calls(wires), min_size=1, max_size=4))
    written_anew = [each._replace(wire=serialised(each.wire)) for each in sent]
    others = [each._replace(wire=data.draw(relatives(each.wire))) for each in written_anew * 2]
    check(engine, sent, [*written_anew, *sent], others, [*others, *sent], **ways)


@given(st.data(), engines)
@settings(UNHURRIED, max_examples=200)
def test_messages_in_all_ways_to_write_them_are_answered_alike(data: st.DataObject, engine: Echo) -> None:
    check_twice(data, engine, messages(engine))


@given(st.data(), engines)
@settings(UNHURRIED, max_examples=200)
def test_spoiled_messages_are_answered_alike(data: st.DataObject, engine: Echo) -> None:
    check_twice(data, engine, messages(engine) | spoiled(engine))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=3), engines)
@settings(UNHURRIED, max_examples=100)
def test_any_bytes_are_answered_alike(wires: list[bytes], engine: Echo) -> None:
    sent = [Sent(wire) for wire in wires]
    check(engine, sent, sent)


@given(st.data(), engines, st.booleans(), st.integers(1, 3))
@settings(UNHURRIED, max_examples=100)
def test_a_full_queue_and_a_draining_server_are_met_alike(
    data: st.DataObject, engine: Echo, is_closed: bool, max_queue_size: int
) -> None:
    check_twice(data, engine, messages(engine), is_closed=is_closed, max_queue_size=max_queue_size)


@given(st.data(), engines)
@settings(UNHURRIED, max_examples=100)
def test_a_request_of_a_known_template_with_a_bit_flipped_is_answered_alike(data: st.DataObject, engine: Echo) -> None:
    wire = data.draw(messages(engine))
    flips = st.integers(0, 8 * len(wire) - 1)
    flipped = [flip(wire, bit) for bit in data.draw(st.lists(flips, min_size=1, max_size=8, unique=True))]
    check(engine, [Sent(wire)], [Sent(each) for each in flipped], [Sent(each) for each in (*flipped, wire)])


def flip(wire: bytes, bit: int) -> bytes:
    changed = bytearray(wire)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
