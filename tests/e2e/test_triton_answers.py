import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from e2e.calls import Outcome
from e2e.serving import Serving
from e2e.triton_cases import SERVICE, Case, infer_cases, mlp, other_cases

DATA = Path(__file__).with_name("data")
INFER = infer_cases()
OTHER = other_cases()
GOOD = Case(f"{SERVICE}ModelInfer", mlp().SerializeToString())

# An answer is a status and, unless any will do, its text; a success has none.
Answer = list[str]


def table(name: str) -> dict[str, Any]:
    return tomllib.loads((DATA / name).read_text())


TRITONS: dict[str, Answer] = table("triton_answers.toml")
DIFFERENCES: dict[str, Answer] = {
    name: answer for reason in table("differences.toml").values() for name, answer in reason.items()
}
OURS = TRITONS | DIFFERENCES


@pytest.fixture(scope="module")
def channel(server: Serving) -> Iterator[grpc.Channel]:
    with server.channel() as channel:
        yield channel


def call(channel: grpc.Channel, case: Case) -> Outcome:
    method = channel.unary_unary(case.path, request_serializer=None, response_deserializer=None)
    try:
        method(case.message, timeout=30)
    except grpc.RpcError as error:
        return Outcome(error.code().name, error.details() or "")
    return Outcome("OK")


def infer(channel: grpc.Channel, name: str, request_id: str) -> Outcome:
    message = type(INFER[name])()
    message.CopyFrom(INFER[name])
    message.id = request_id
    return call(channel, Case(f"{SERVICE}ModelInfer", message.SerializeToString()))


@pytest.mark.parametrize("name", INFER)
@pytest.mark.parametrize("request_id", ["", "q1"], ids=["without id", "with id"])
def test_an_inference_request_is_answered_as_in_the_table(channel: grpc.Channel, name: str, request_id: str) -> None:
    code, *text = OURS[name]
    answer = infer(channel, name, request_id)
    assert answer.code == code
    assert not text or answer.text == text[0].replace("<id_unknown>", request_id or "<id_unknown>")
    assert call(channel, GOOD) == Outcome("OK")


@pytest.mark.parametrize("name", OTHER)
def test_any_other_call_is_answered_as_in_the_table(channel: grpc.Channel, name: str) -> None:
    code, *text = OURS[name]
    answer = call(channel, OTHER[name])
    assert answer.code == code
    assert not text or answer.text == text[0]
    assert call(channel, GOOD) == Outcome("OK")


def test_the_tables_hold_what_is_sent_and_only_differences_that_are_some() -> None:
    assert TRITONS.keys() == INFER.keys() | OTHER.keys()
    assert DIFFERENCES.keys() <= TRITONS.keys()
    assert [name for name, answer in DIFFERENCES.items() if answer == TRITONS[name]] == []
