from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from yais.clients.protocol import Array, InferenceError
from yais.clients.siege import golden
from yais.clients.siege.golden import Golden, Tolerance
from yais.proto import grpc_service_pb2 as pb
from yais.proto.tensors import DATATYPES, to_raw

EXACTLY = Tolerance(0, 0)
ROUGHLY = Tolerance(relative=0.01, absolute=0.001)


def answer(model: str = "mlp", **outputs: Any) -> bytes:
    response = pb.ModelInferResponse(model_name=model)
    for name, values in outputs.items():
        array = np.asarray(values, np.float32 if isinstance(values, list) else None)
        response.outputs.add(name=name, datatype=DATATYPES[array.dtype], shape=array.shape)
        response.raw_output_contents.append(to_raw(array))
    return response.SerializeToString()


def one(tolerance: Tolerance = EXACTLY, **outputs: Any) -> Golden:
    arrays = {name: np.asarray(values) for name, values in outputs.items()}
    return Golden({"mlp/0": b"request"}, arrays, golden.read_outputs, tolerance)


def test_the_same_outputs_are_right() -> None:
    assert one(Y=[1.0, 2.0]).check(b"request", answer(Y=[1, 2])) is None


def test_a_value_that_differs_is_told_with_its_place() -> None:
    difference = one(Y=[[1.0, 2.0], [3.0, 4.0]]).check(b"request", answer(Y=[[1, 2], [5, 6]]))
    assert difference == "Y has 5.0 at [1, 0], not 3.0 (2 of 4 values differ)"


def test_a_wrong_answer_stays_wrong_and_a_right_one_after_it_is_right() -> None:
    checked = one(Y=[1.0])
    answers = [answer(Y=[1]), answer(Y=[2]), answer(Y=[2]), answer(Y=[1]), answer(Y=[2])]
    assert [checked.check(b"request", bytes(each)) is None for each in answers] == [True, False, False, True, False]


def test_the_bytes_of_a_right_answer_are_not_read_again() -> None:
    reads = []

    def read(received: bytes) -> dict[str, Array]:
        reads.append(received)
        return golden.read_outputs(received)

    checked = Golden({"mlp/0": b"request"}, {"Y": np.array([1.0])}, read, EXACTLY)
    assert [checked.check(b"request", answer(Y=[1])) for _ in range(5)] == [None] * 5
    assert len(reads) == 1
    assert checked.check(b"request", answer(model="other", Y=[1])) is None
    assert len(reads) == 2


@pytest.mark.parametrize(("value", "is_right"), [(2.02, True), (1.98, True), (2.022, False), (1.978, False)])
def test_a_float_may_differ_by_the_tolerances(value: float, is_right: bool) -> None:
    checked = one(ROUGHLY, Y=[2.0, 0.0])
    assert (checked.check(b"request", answer(Y=[value, 0.0009])) is None) is is_right
    assert checked.check(b"request", answer(Y=[2.0, 0.0011])) is not None


def test_the_tolerance_is_relative_to_the_golden_value() -> None:
    assert one(Tolerance(0.5, 0), Y=[1.0]).check(b"request", answer(Y=[2.0])) is not None
    assert one(Tolerance(0.5, 0), Y=[2.0]).check(b"request", answer(Y=[1.0])) is None


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (np.array([200], np.uint8), np.array([201], np.uint8)),
        (np.array([2**60], np.int64), np.array([2**60 + 1], np.int64)),
        (np.array([True]), np.array([False])),
        (np.array([b"x"], np.object_), np.array([b"y"], np.object_)),
        (np.array([1.0]), np.array([b"1"], np.object_)),
        (np.array([b"1"], np.object_), np.array([1.0])),
        (np.array([np.nan]), np.array([1.0])),
        (np.array([np.inf]), np.array([-np.inf])),
        (np.array([np.inf]), np.array([3e38])),
    ],
    ids=str,
)
def test_what_is_no_float_has_to_be_equal(expected: Array, actual: Array) -> None:
    assert one(ROUGHLY, Y=expected).check(b"request", answer(Y=actual)) is not None
    assert one(ROUGHLY, Y=expected).check(b"request", answer(Y=expected)) is None


def test_the_shape_has_to_be_the_same() -> None:
    difference = one(Y=[[1.0, 1.0]]).check(b"request", answer(Y=[[1.0]]))
    assert difference == "Y has the shape [1, 1], not [1, 2]"


def test_an_output_that_is_missing_is_told_and_one_more_is_not() -> None:
    checked = one(Y=[1.0])
    assert checked.check(b"request", answer(Z=[1.0])) == "Y is missing"
    assert checked.check(b"request", answer(Y=[1.0], Z=[3.0])) is None


def test_an_answer_that_is_none_is_wrong() -> None:
    assert one(Y=[1.0]).check(b"request", b"\xff") == "the answer is not a ModelInferResponse"
    cut = pb.ModelInferResponse(raw_output_contents=[b"123"])
    cut.outputs.add(name="Y", datatype="FP32", shape=[1])
    difference = one(Y=[1.0]).check(b"request", cut.SerializeToString())
    assert difference is not None
    assert "the response cannot be read: output 'Y'" in difference


def test_each_of_several_requests_has_its_own_answer() -> None:
    requests = {"mlp/0": b"a", "mlp/1": b"b"}
    arrays = {"mlp/0/Y": np.array([1.0]), "mlp/1/Y": np.array([2.0])}
    checked = Golden(requests, arrays, golden.read_outputs, EXACTLY)
    assert checked.check(b"a", answer(Y=[1])) is None
    assert checked.check(b"b", answer(Y=[2])) is None
    assert checked.check(b"b", answer(Y=[1])) == "mlp/1/Y has 1.0 at [0], not 2.0 (1 of 1 values differ)"
    assert checked.check(b"a", answer(Y=[2])) is not None


def test_the_names_of_ten_requests_are_not_mixed_up() -> None:
    requests = {f"mlp/{index}": bytes([index]) for index in range(11)}
    arrays = {f"mlp/{index}/Y": np.array([float(index)]) for index in range(11)}
    checked = Golden(requests, arrays, golden.read_outputs, EXACTLY)
    assert [checked.check(bytes([index]), answer(Y=[index])) for index in range(11)] == [None] * 11


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "there is no answer to mlp/0"),
        (["mlp/0/Y"], "there is no answer to mlp/1"),
        (["Y"], "there is no answer to mlp/0"),
        (["mlp/0/Y", "mlp/1/Y", "mlp/2/Y"], "mlp/2/Y belongs to no request"),
    ],
)
def test_a_file_of_other_requests_is_refused(names: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Golden({"mlp/0": b"a", "mlp/1": b"b"}, dict.fromkeys(names, np.zeros(1)), golden.read_outputs, EXACTLY)


def test_a_file_without_outputs_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no answer to the request"):
        Golden({"mlp/0": b"a"}, {}, golden.read_outputs, EXACTLY)


def test_recorded_answers_are_right(tmp_path: Path) -> None:
    requests = {"mlp/0": b"a", "text/0": b"b"}
    answers = {
        b"a": answer(Y=np.array([1.3, -4], ml_dtypes.bfloat16), Z=np.array([True])),
        b"b": answer(Y=np.array([[b"x", b"", b"y\0z"]], np.object_)),
    }
    arrays = golden.record(requests, answers.__getitem__, golden.read_outputs)
    assert list(arrays) == ["mlp/0/Y", "mlp/0/Z", "text/0/Y"]
    golden.save(tmp_path / "golden.npz", arrays)
    checked = Golden(requests, golden.load(tmp_path / "golden.npz"), golden.read_outputs, EXACTLY)
    assert [checked.check(request, answers[request]) for request in (b"a", b"b")] == [None, None]
    assert checked.check(b"b", answer(Y=np.array([[b"x", b"", b"y"]], np.object_))) is not None
    assert checked.check(b"a", answer(Y=np.array([1.4, -4], ml_dtypes.bfloat16), Z=np.array([True]))) is not None


def test_the_outputs_of_a_single_request_keep_their_names() -> None:
    assert list(golden.record({"mlp/0": b"a"}, lambda request: answer(Y=[1]), golden.read_outputs)) == ["Y"]


def test_texts_that_a_file_would_change_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Y: a text that ends with a zero byte"):
        golden.save(tmp_path / "golden.npz", {"Y": np.array([b"x\0"], np.object_)})


def test_texts_of_a_file_may_be_of_any_kind(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", Y=np.array(["ü", "b"]))
    assert golden.load(tmp_path / "golden.npz")["Y"].tolist() == ["ü".encode(), b"b"]


@pytest.mark.parametrize("dtype", [complex, "V2", "M8[s]"])
def test_arrays_that_no_answer_has_are_refused(tmp_path: Path, dtype: Any) -> None:
    np.savez(tmp_path / "golden.npz", Y=np.zeros(1, dtype))
    with pytest.raises(ValueError, match=r"golden\.npz: Y is of dtype .*, which no answer has"):
        golden.load(tmp_path / "golden.npz")


def test_the_bytes_of_another_method_have_to_be_the_same() -> None:
    requests = {"pkg.Service/Method/0": b""}
    arrays = golden.record(requests, lambda request: b"abc", golden.read_message)
    checked = Golden(requests, arrays, golden.read_message, Tolerance(1, 100))
    assert checked.check(b"", b"abc") is None
    assert checked.check(b"", b"abd") == "message has 100 at [2], not 99 (1 of 3 values differ)"
    assert checked.check(b"", b"") == "message has the shape [0], not [3]"


def test_what_is_recorded_has_to_be_readable() -> None:
    with pytest.raises(InferenceError, match="the answer is not a ModelInferResponse"):
        golden.record({"mlp/0": b"a"}, lambda request: b"\xff", golden.read_outputs)
