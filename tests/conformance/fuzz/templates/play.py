"""What must hold for any bytes: requests are answered by their template as they are when all are parsed."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from server.fake_raw_call import FakeRawCall
from server.inline_model import Echo, EchoContext, InlineModel

from conformance.fuzz.program import Program
from conformance.fuzz.templates.engines import engine_of
from conformance.fuzz.templates.messages import Sent, rounds_of, usual
from conformance.fuzz.templates.records import LANGUAGE, Setup
from yais.engines import Run
from yais.proto.grpc_service_pb2 import ModelInferResponse
from yais.server.grpc import templates
from yais.server.grpc.infer import InferMethod
from yais.server.grpc.templates import WireRequest
from yais.server.models.admission import Admission
from yais.server.models.registry import Registry

_FEW = 2
_LIMITS = ("_MAX_TEMPLATES", "_MAX_DESCRIPTIONS")


def play(data: bytes) -> "tuple[Side, Side]":
    """Serves the calls of the input `data` in both ways, each several times; raises AssertionError when they differ."""
    program = LANGUAGE.decode(data)
    parsing, knowing = sides = Side(program, False), Side(program, True)
    with _limits(bool(program.setup & Setup.MANY_TEMPLATES)):
        for calls, is_last in _all_rounds(program):
            for side in sides:
                if is_last and program.setup & Setup.CLOSED:
                    side.admission.close()
                side.send(calls)
            assert knowing.outcomes == parsing.outcomes, f"{knowing.outcomes} instead of {parsing.outcomes}"
            assert knowing.stats() == parsing.stats(), f"{knowing.stats()} instead of {parsing.stats()}"
    assert not parsing.hits
    return sides


def _all_rounds(program: Program) -> Iterator[tuple[list[Sent], bool]]:
    """The rounds of the program twice, and then all in one, from behind; with each, whether it is the last."""
    if program.setup & Setup.TAUGHT:
        yield [Sent(usual(engine_of(program)))], False
    rounds = rounds_of(program)
    for calls in rounds * 2:
        yield calls, False
    yield [sent for calls in rounds for sent in calls][::-1], True


@contextmanager
def _limits(are_low: bool) -> Iterator[None]:
    """RequestTemplateCache are forgotten early, while calls that were recognised by them wait."""
    usual_limits = [getattr(templates, name) for name in _LIMITS]
    try:
        for name in _LIMITS if are_low else ():
            setattr(templates, name, _FEW)
        yield
    finally:
        for name, limit in zip(_LIMITS, usual_limits, strict=True):
            setattr(templates, name, limit)


class Watched(EchoContext):
    """Sees that nothing was written behind the rows of the requests."""

    def execute(self, rows: int) -> Run:
        for name, array in self.inputs.items():
            assert not array[rows:].any(), f"Input '{name}' has elements behind its {rows} rows"
        return super().execute(rows)


class WatchedModel(InlineModel):
    def __init__(self, engine: Echo, max_queue_size: int) -> None:
        super().__init__(engine, max_queue_size)
        self.pool.context = Watched(engine)


@dataclass
class Side:
    """One of the two ways to serve, and what came of everything so far."""

    program: Program
    by_template: bool
    hits: int = 0
    outcomes: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = WatchedModel(engine_of(self.program), 2 if self.program.setup & Setup.SHORT_QUEUE else 1000)
        self.admission = Admission()
        registry = Registry()
        registry.add(self.model)
        self.method = InferMethod(registry, self.admission)
        if self.by_template:
            self.method.cache_templates()

    def send(self, sent: Sequence[Sent]) -> None:
        """Sends all, runs what waits, and keeps the outcomes."""
        # Each request is a copy of its own, of which nobody else knows, apart from those of less than two bytes.
        wires = [bytes(bytearray(each.wire)) for each in sent]
        own = [wire for wire in wires if len(wire) > 1]
        counts = [sys.getrefcount(wire) for wire in own]
        calls = [self._send_one(each, wire) for each, wire in zip(sent, wires, strict=True)]
        self.model.run()
        for call in calls:
            if call.has_left and call.listener is not None:
                call.leave()
        self.outcomes += [[_meaning(outcome) for outcome in call.outcomes] for call in calls]
        assert all(len(call.outcomes) == (not call.has_left) for call in calls), "A call has not one outcome"
        assert all(call.listener is None for call in calls), "A call that is over is listened to"
        assert [sys.getrefcount(wire) for wire in own] == counts, "A request is still referred to"
        assert (self.admission.in_flight, self.model.pool.waiting) == (0, 0)

    def _send_one(self, sent: Sent, wire: bytes) -> FakeRawCall:
        call = FakeRawCall(sent.deadline)
        self.method(call, memoryview(wire))
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


def _meaning(outcome: Any) -> Any:
    """A response without regard to how it is written, or status and text."""
    return ModelInferResponse.FromString(outcome) if isinstance(outcome, bytes) else outcome
