import random

import pytest

from conformance.fuzz.corpus import replay
from conformance.fuzz.program import Program, Record
from conformance.fuzz.templates.engines import ENGINES, engine_of
from conformance.fuzz.templates.messages import usual
from conformance.fuzz.templates.mutator import cross, mutate
from conformance.fuzz.templates.play import play
from conformance.fuzz.templates.records import LANGUAGE, Kind, Setup
from conformance.fuzz.templates.seeds import programs
from yais.proto.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from yais.server.grpc.infer import ParsedRequest

# The models whose requests have templates: the others take or give strings, or too many tensors.
BY_FORM = {0, 1, 2, 3, 4, 5, 6, 9}
USUAL = (Record(Kind.WIRE, 0, usual(engine_of(Program(0, 0, ())))), Record(Kind.SEND, 0))
RECOGNISED = Program(Setup.TAUGHT, 0, USUAL).encode()


def test_everything_that_the_fuzzer_found_worth_keeping_is_answered_alike() -> None:
    ends, by_template = set(), set()
    for _, knowing in replay("templates", play):
        model = knowing.program.variant
        ends |= {(model, type(outcome)) for call in knowing.outcomes for outcome in call}
        by_template |= {model} if knowing.hits else set()
    assert by_template == BY_FORM
    assert ends == {(model, end) for model in range(ENGINES) for end in (ModelInferResponse, tuple)}


def test_the_seeds_are_answered_alike() -> None:
    for program in programs():
        assert LANGUAGE.decode(program.encode()) == program
        _, knowing = play(program.encode())
        assert any(isinstance(call[0], ModelInferResponse) for call in knowing.outcomes)


def test_every_mutation_is_an_input_and_every_input_can_be_played() -> None:
    chance = random.Random(1)
    pool = [program.encode() for program in programs()]
    for seed in range(200):
        data = cross(mutate(chance.choice(pool), seed), chance.choice(pool), seed)
        assert LANGUAGE.decode(LANGUAGE.decode(data).encode()) == LANGUAGE.decode(data)
        play(data)
        pool.append(data)


@pytest.mark.parametrize("model", range(ENGINES))
def test_the_usual_message_is_what_protobuf_writes(model: int) -> None:
    wire = usual(engine_of(Program(0, model, ())))
    message = ModelInferRequest.FromString(wire)
    assert message.SerializeToString() == wire
    assert len(message.inputs) == len(message.raw_input_contents)


def test_an_answer_that_differs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = ParsedRequest.answer

    def answer_later_rows(call: ParsedRequest, outputs: object, row: int) -> None:
        answered(call, {name: array[::-1] for name, array in outputs.items()}, row)  # type: ignore[attr-defined]

    monkeypatch.setattr(ParsedRequest, "answer", answer_later_rows)
    with pytest.raises(AssertionError, match="instead of"):
        play(RECOGNISED)


def test_elements_behind_the_rows_of_the_requests_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    filled = ParsedRequest.fill

    def fill_one_row_on(call: ParsedRequest, inputs: object, row: int) -> None:
        filled(call, inputs, row + 1)  # type: ignore[arg-type]

    monkeypatch.setattr(ParsedRequest, "fill", fill_one_row_on)
    with pytest.raises(AssertionError, match="behind its 1 rows"):
        play(RECOGNISED)
