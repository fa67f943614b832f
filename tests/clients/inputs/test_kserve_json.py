import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yais.clients.inputs.files import load_json
from yais.proto.tensors import DTYPES


def tensor(data: Any, datatype: Any = "FP32", shape: Any = None, name: Any = "A") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)] if shape is None else shape, "data": data}


def write(path: Path, content: Any) -> Path:
    (path / "requests.json").write_text(json.dumps(content))
    return path / "requests.json"


def test_a_request_becomes_its_arrays(tmp_path: Path) -> None:
    path = write(tmp_path, {"inputs": [tensor([1, 2.5, 3, 4], shape=[2, 2]), tensor(["x", "ü"], "BYTES", name="B")]})
    (arrays,) = load_json(path)
    assert list(arrays) == ["A", "B"]
    assert arrays["A"].dtype == np.float32
    assert arrays["A"].tolist() == [[1, 2.5], [3, 4]]
    assert arrays["B"].tolist() == ["x", "ü"]


def test_data_may_be_nested(tmp_path: Path) -> None:
    (arrays,) = load_json(write(tmp_path, {"inputs": [tensor([[1, 2], [3, 4]], "INT8", [2, 2])]}))
    assert arrays["A"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_can_be_written(tmp_path: Path, datatype: str) -> None:
    data: list[Any] = {"BOOL": [True, False], "BYTES": ["a", "b\0"]}.get(datatype, [0, 7])
    (arrays,) = load_json(write(tmp_path, {"inputs": [tensor(data, datatype)]}))
    assert arrays["A"].dtype == DTYPES[datatype]
    assert arrays["A"].tolist() == data


@pytest.mark.parametrize("datatype", DTYPES)
def test_a_tensor_may_be_empty(tmp_path: Path, datatype: str) -> None:
    (arrays,) = load_json(write(tmp_path, {"inputs": [tensor([], datatype, [0, 3])]}))
    assert arrays["A"].shape == (0, 3)
    assert arrays["A"].dtype == DTYPES[datatype]


def test_the_largest_numbers_are_kept(tmp_path: Path) -> None:
    inputs = [tensor([2**64 - 1], "UINT64"), tensor([-(2**63)], "INT64", name="B"), tensor([1e-40], name="C")]
    (arrays,) = load_json(write(tmp_path, {"inputs": inputs}))
    assert (arrays["A"][0], arrays["B"][0]) == (2**64 - 1, -(2**63))
    assert arrays["C"][0] > 0


def test_an_infinity_that_was_written_is_sent(tmp_path: Path) -> None:
    (arrays,) = load_json(write(tmp_path, {"inputs": [tensor([float("inf"), float("nan")], "BF16")]}))
    assert str(arrays["A"].tolist()) == "[inf, nan]"


def test_a_list_holds_several_requests(tmp_path: Path) -> None:
    path = write(tmp_path, [{"inputs": [tensor([1])]}, {"inputs": [tensor([2])]}])
    assert [arrays["A"].tolist() for arrays in load_json(path)] == [[1], [2]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "holds no request"),
        (3, "request 0: it is not an object with a list of"),
        ({"inputs": {}}, "request 0: it is not an object with a list of"),
        ([{"inputs": []}, {}], "request 1: it is not an object with a list of"),
        ({"inputs": [], "outputs": []}, "request 0: 'outputs' is not sent"),
        ({"inputs": [3]}, "input 0 is not an object of"),
        ({"inputs": [{**tensor([1]), "parameters": {}}]}, "input 0 is not an object of"),
        ({"inputs": [tensor([1], name=3)]}, "input 0 is not an object of"),
        ({"inputs": [tensor([1]), tensor([1])]}, "input 'A' is there twice"),
        ({"inputs": [tensor([1], "FLOAT")]}, "input 'A': the datatype 'FLOAT' is not one of BOOL, UINT8, "),
        ({"inputs": [tensor([1], ["FP32"])]}, "the datatype ['FP32'] is not one of"),
        ({"inputs": [tensor([1], shape=[-1])]}, "the shape [-1] is not a list of dimensions of at least 0"),
        ({"inputs": [tensor([1], shape=[True])]}, "the shape [True] is not a list"),
        ({"inputs": [tensor([1], shape=1)]}, "the shape 1 is not a list"),
        ({"inputs": [tensor([1, 2], shape=[3])]}, "cannot reshape"),
        ({"inputs": [tensor("12", shape=[2])]}, "the data are not a list"),
        ({"inputs": [tensor([[1], [1, 2]], shape=[3])]}, "inhomogeneous"),
        ({"inputs": [tensor(["1.5"])]}, "the data are not FP32"),
        ({"inputs": [tensor([None])]}, "the data are not FP32"),
        ({"inputs": [tensor([1.5], "INT32")]}, "the data are not INT32"),
        ({"inputs": [tensor([1], "BOOL")]}, "the data are not BOOL"),
        ({"inputs": [tensor([True], "INT8")]}, "the data are not INT8"),
        ({"inputs": [tensor([1, "a"], "BYTES")]}, "BYTES are written as texts"),
        ({"inputs": [tensor([300], "UINT8")]}, "input 'A': "),
        ({"inputs": [tensor([-1], "UINT8")]}, "input 'A': "),
        ({"inputs": [tensor([2**63], "INT64")]}, "input 'A': "),
        ({"inputs": [tensor([0, 1e39])]}, "a number is too large for "),
        ({"inputs": [tensor([1e5], "FP16")]}, "a number is too large for "),
        ({"inputs": [tensor([1e39], "BF16")]}, "a number is too large for "),
    ],
)
def test_what_cannot_be_sent_as_written_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=r"requests\.json") as raised:
        load_json(write(tmp_path, content))
    assert reason in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xff", b"[" * 100_000], ids=["empty", "cut", "bytes", "deep"])
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "requests.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"requests\.json is not JSON: "):
        load_json(path)
