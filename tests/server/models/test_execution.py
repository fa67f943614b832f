from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from server.fake_engine import FakeContext, FakeEngine, fixed, refuse_negative_rows
from server.fake_requests import FakeRequest, expected, request
from yais.engines import Array, Context, DeviceLostError, EngineError, InvalidInputError, Run, Shape
from yais.server.errors import EngineFailureError, InvalidRequestError, LostDeviceError, ServiceError
from yais.server.models.execution import Execution, execute


def context(engine: FakeEngine | None = None) -> FakeContext:
    return (engine or FakeEngine()).create_context()


def run(used: Context, sent: list[FakeRequest]) -> list[Execution]:
    return execute(used, sent, 0)


def outputs(execution: Execution) -> Mapping[str, Array]:
    assert not isinstance(execution.outcome, ServiceError)
    return execution.outcome


def shares(execution: Execution, name: str = "Y") -> list[Array]:
    """Each request's own rows of an output."""
    rows = [request.rows for request in execution.requests]
    ends = np.cumsum(rows)
    return [outputs(execution)[name][end - count : end] for count, end in zip(rows, ends, strict=True)]


def test_requests_lie_one_behind_the_other_and_get_their_own_rows_back() -> None:
    engine = FakeEngine()
    sent = [request(1, 2), request(3), request(4, 5, 6)]
    (execution,) = run(context(engine), sent)
    assert execution.requests == sent
    assert execution.rows == 6
    assert engine.runs[0].values == [1, 2, 3, 4, 5, 6]
    for share, each in zip(shares(execution), sent, strict=True):
        np.testing.assert_array_equal(share, expected(each.values), strict=True)


def test_a_request_without_rows_gets_an_output_without_rows() -> None:
    sent = [request(1), request(width=1), request(2)]
    (execution,) = run(context(), sent)
    assert [share.shape for share in shares(execution)] == [(1, 1), (0, 1), (1, 1)]


def test_the_outcome_is_the_batch_buffers_themselves() -> None:
    used = context(FakeEngine(**fixed(1)))
    (execution,) = run(used, [request(1), request(2)])
    assert outputs(execution)["Y"] is used.outputs["Y"]


def test_requests_that_run_alone_get_outputs_of_their_own() -> None:
    engine = FakeEngine(**fixed(1), on_run=refuse_negative_rows)
    used = context(engine)
    sent = [request(1), request(-2), request(3), request(4)]
    executions = run(used, sent)
    assert [each.requests for each in executions] == [[one] for one in sent]
    assert isinstance(executions[1].outcome, EngineFailureError)
    for position in (0, 2, 3):
        (share,) = shares(executions[position])
        np.testing.assert_array_equal(share, expected(sent[position].values))
        assert not np.shares_memory(outputs(executions[position])["Y"], used.outputs["Y"])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EngineError("it broke"), EngineFailureError),
        (InvalidInputError("it broke"), InvalidRequestError),
        (DeviceLostError("it broke"), LostDeviceError),
    ],
    ids=["engine error", "invalid input", "device lost"],
)
def test_an_engines_error_becomes_the_services_with_the_same_text(error: EngineError, kind: type[ServiceError]) -> None:
    def fail(rows: Array) -> None:
        raise error

    (execution,) = run(context(FakeEngine(on_run=fail)), [request(1)])
    assert type(execution.outcome) is kind
    assert str(execution.outcome) == "it broke"


def test_requests_do_not_run_again_alone_on_a_device_that_is_lost() -> None:
    def fail(rows: Array) -> None:
        raise DeviceLostError(f"lost at run {len(engine.runs)}")

    engine = FakeEngine(on_run=fail)
    sent = [request(1), request(2, 3)]
    (execution,) = run(context(engine), sent)
    assert (execution.requests, execution.rows, len(engine.runs)) == (sent, 3, 1)
    assert isinstance(execution.outcome, LostDeviceError)
    assert str(execution.outcome) == "lost at run 1"


@pytest.mark.parametrize("count", [1, 2])
def test_an_unexpected_exception_is_not_caught_here(count: int) -> None:
    def fail(rows: Array) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(context(FakeEngine(on_run=fail)), [request(1)] * count)


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000
        monkeypatch.setattr("yais.server.models.execution.monotonic_ns", lambda: self.now)


class SlowToFit(FakeContext):
    clock: Clock

    def fit(self, shapes: Sequence[Shape]) -> None:
        super().fit(shapes)
        self.clock.now += 300


def test_a_run_says_when_it_began_and_what_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    used = SlowToFit(FakeEngine(run_ns=lambda: 77))
    used.clock = Clock(monkeypatch)
    (execution,) = execute(used, [request(1, 2)], 900)
    assert (execution.started, execution.input_ns, execution.infer_ns) == (900, 400, 77)


def test_copies_to_a_device_are_input_and_those_from_it_and_the_padding_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = SlowToFit(FakeEngine(run_ns=lambda: 77, copies_ns=(20, 3), padding=5))
    used.clock = Clock(monkeypatch)
    (execution,) = execute(used, [request(1, 2)], 900)
    assert (execution.rows, execution.padding) == (2, 5)
    assert (execution.input_ns, execution.infer_ns, execution.output_ns) == (420, 77, 3)


def test_requests_that_run_alone_are_padded_alone() -> None:
    engine = FakeEngine(on_run=refuse_negative_rows, run_ns=lambda: 77, copies_ns=(20, 3), padding=5)
    good, bad = run(context(engine), [request(1), request(-2)])
    assert (good.infer_ns, good.output_ns, good.padding) == (77, 3, 5)
    assert (bad.output_ns, bad.padding) == (0, 0)


def test_a_run_that_fails_says_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def fail(rows: Array) -> None:
        clock.now += 5_000
        raise EngineError

    (execution,) = execute(context(FakeEngine(on_run=fail)), [request(1, 2)], 1_000)
    assert (execution.rows, execution.started, execution.input_ns + execution.infer_ns) == (2, 1_000, 5_000)


class TwoInputs(FakeRequest):
    def __init__(self, first: Array, second: Array) -> None:
        super().__init__(first)
        self.second = second
        self.shapes = (first.shape[1:], second.shape[1:])

    def fill(self, inputs: Mapping[str, Array], row: int) -> None:
        inputs["A"][row : row + self.rows] = self.values
        inputs["B"][row : row + self.rows] = self.second


class Adder:
    """A context with two inputs, whose sum it gives."""

    def __init__(self) -> None:
        self.inputs: dict[str, Array] = {}
        self.outputs: dict[str, Array] = {}

    def fit(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        self.inputs = {name: np.zeros((4, *shape)) for name, shape in zip("AB", shapes, strict=True)}

    def execute(self, rows: int) -> Run:
        self.outputs = {"SUM": self.inputs["A"][:rows] + self.inputs["B"][:rows], "A": self.inputs["A"][:rows]}
        return Run(1)


def test_every_input_and_output_of_a_request_keeps_its_rows() -> None:
    sent = [TwoInputs(np.full((rows, 2), rows), np.full((rows, 1), 10 * rows)) for rows in (1, 2)]
    (execution,) = run(Adder(), sent)
    assert [share.tolist() for share in shares(execution, "SUM")] == [[[11, 11]], [[22, 22], [22, 22]]]
    assert [share.tolist() for share in shares(execution, "A")] == [[[1, 1]], [[2, 2], [2, 2]]]


def test_every_request_is_told_from_which_row_on_its_own_are() -> None:
    rows: list[int] = []

    class Noting(FakeRequest):
        def fill(self, inputs: Mapping[str, Array], row: int) -> None:
            rows.append(row)

    run(context(), [Noting(np.zeros((count, 1), np.int64)) for count in (2, 0, 1, 5)])
    assert rows == [0, 2, 2, 3]
