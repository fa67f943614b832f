from itertools import islice

import click
import grpc
import numpy as np
import pytest

from yais.clients.inputs.workload import ServedModel, WeightedChoice, Workload, report_errors
from yais.clients.protocol import InferenceError, ModelMetadata


def workload(seed: int) -> Workload:
    choices = tuple(WeightedChoice(1.0, ({"A": np.full(size, 7, np.int8)},)) for size in (1, 2))
    return Workload(ServedModel(ModelMetadata("model", (), "", (), ()), "3", True), choices, seed)


def test_a_workload_draws_its_inputs_by_the_seed() -> None:
    first, same, other = ([inputs["A"].size for inputs in islice(workload(seed).draw(), 50)] for seed in (1, 1, 2))
    assert first == same != other
    assert {*first} == {1, 2}


def test_a_request_is_that_of_the_inputs_or_the_first() -> None:
    assert [*workload(0).request({"A": np.zeros(5)}).inputs[0].shape] == [5]
    first = workload(0).request()
    assert (first.model_name, first.model_version, [*first.inputs[0].shape]) == ("model", "3", [1])


def test_a_server_that_does_not_answer_is_an_error_with_its_target() -> None:
    with pytest.raises(click.ClickException, match="host:1: UNAVAILABLE: gone") as raised, report_errors("host:1"):
        raise InferenceError(grpc.StatusCode.UNAVAILABLE, "gone")
    assert raised.value.exit_code == 1


def test_inputs_that_cannot_be_sent_are_bad_usage() -> None:
    with pytest.raises(click.UsageError, match="input 'A'") as raised, report_errors("host:1"):
        raise ValueError("input 'A': the protocol has no datatype")
    assert raised.value.exit_code == 2
