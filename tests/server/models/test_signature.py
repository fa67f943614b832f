import numpy as np
import pytest

from server.specs import Described, one_input, raw, shape_of, spec
from yais.engines import Array, Shape
from yais.proto.tensors import DTYPES, pack_strings
from yais.server.errors import InvalidRequestError
from yais.server.models.signature import Header, RequestLayout, Signature

BATCH_NOTE = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each "
    "input shape. If you want to specify the full shape including the batch dim in your input dims config, try setting "
    "max_batch_size to zero. See the model configuration docs for more info on max_batch_size."
)
TWO = Described((spec("A", "FP32", 2), spec("B", "INT32", -1)), (spec("P", "FP32", 2), spec("Q", "FP32", 2)), 8)
ONE_PICTURE = one_input("FP32", 3, -1)


def header(name: str, datatype: str, shape: str) -> Header:
    return name, datatype, shape_of(shape)


def check_inputs(
    signature: Signature, headers: tuple[Header, ...], raws: list[bytes], request_id: str
) -> tuple[RequestLayout, dict[str, Array]]:
    layout = signature.lay_out(headers, request_id)
    return layout, signature.arrays(layout, raws, request_id)


def refusal(engine: Described, headers: list[Header], raws: list[bytes] | None = None, request_id: str = "") -> str:
    """The text with which a request is refused; its data fits its headers unless `raws` says otherwise."""
    fitting = [raw(datatype, *shape) for _, datatype, shape in headers] if raws is None else raws
    with pytest.raises(InvalidRequestError) as caught:
        check_inputs(Signature("m", engine), tuple(headers), fitting, request_id)
    return str(caught.value)


A, B = header("A", "FP32", "1x2"), header("B", "INT32", "1x5")


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        pytest.param([A, A], "input 'A' already exists in request", id="repeated"),
        pytest.param([A, A, B], "input 'A' already exists in request", id="repeated and too many"),
        pytest.param(
            [A],
            "expected 2 inputs but got 1 inputs for model 'm'. Got input(s) ['A'], but missing required input(s) "
            "['B']. Please provide all required input(s).",
            id="one missing",
        ),
        pytest.param(
            [],
            "expected 2 inputs but got 0 inputs for model 'm'. Got input(s) [], but missing required input(s) "
            "['A','B']. Please provide all required input(s).",
            id="all missing",
        ),
        pytest.param(
            [A, B, header("C", "FP32", "1x2")],
            "expected 2 inputs but got 3 inputs for model 'm'. Got input(s) ['A','B','C'], but missing required "
            "input(s) []. Please provide all required input(s).",
            id="one too many",
        ),
        pytest.param(
            [A, header("B", "INT32", "")],
            "input 'B' has no shape but model requires batch dimension for 'm'",
            id="no batch dimension",
        ),
        pytest.param(
            [A, header("B", "INT32", "2x5")],
            "input 'B' batch size does not match other inputs for 'm'",
            id="batch sizes differ",
        ),
        pytest.param(
            [header("A", "FP32", "9x2"), header("B", "INT32", "9x5")],
            "inference request batch-size must be <= 8 for 'm'",
            id="batch too large",
        ),
        pytest.param(
            [A, header("B", "INT64", "1x5")],
            "inference input 'B' data-type is 'INT64', but model 'm' expects 'INT32'",
            id="datatype",
        ),
        pytest.param(
            [A, header("B", "INT33", "1x5")],
            "inference input 'B' data-type is '<invalid>', but model 'm' expects 'INT32'",
            id="no datatype at all",
        ),
        pytest.param(
            [header("A", "FP32", "1x3"), B],
            f"unexpected shape for input 'A' for model 'm'. Expected [-1,2], got [1,3]. {BATCH_NOTE}",
            id="wrong dimension",
        ),
        pytest.param(
            [header("A", "FP32", "1x2x1"), B],
            f"unexpected shape for input 'A' for model 'm'. Expected [-1,2], got [1,2,1]. {BATCH_NOTE}",
            id="one dimension too many",
        ),
        pytest.param(
            [A, header("B", "INT32", "1")],
            f"unexpected shape for input 'B' for model 'm'. Expected [-1,-1], got [1]. {BATCH_NOTE}",
            id="one dimension too few",
        ),
        pytest.param(
            [A, header("B", "INT32", "1x-1")],
            "All input dimensions should be specified for input 'B' for model 'm', got [1,-1]",
            id="unspecified dimension",
        ),
        pytest.param(
            [header("A", "FP32", "-1x2"), header("B", "INT32", "-1x5")],
            "All input dimensions should be specified for input 'A' for model 'm', got [-1,2]",
            id="unspecified batch",
        ),
    ],
)
def test_a_broken_rule_is_told_in_tritons_words(headers: list[Header], text: str) -> None:
    raws = [b""] * len(headers)
    assert refusal(TWO, headers, raws) == f"[request id: <id_unknown>] {text}"
    assert refusal(TWO, headers, raws, "r7") == f"[request id: r7] {text}"


def test_an_unknown_input_is_told_without_the_requests_id() -> None:
    assert refusal(TWO, [A, header("C", "FP32", "1x2")], request_id="r7") == (
        "unexpected inference input 'C' for model 'm'"
    )


def test_a_dimension_has_a_bound_of_its_own() -> None:
    text = refusal(ONE_PICTURE, [header("X", "FP32", f"3x{2**31}")], [b""])
    assert text.endswith("dimensions must be <= 2147483647 for input 'X' for model 'm', got [3,2147483648]")
    assert "byte size mismatch" in refusal(ONE_PICTURE, [header("X", "FP32", f"3x{2**31 - 1}")], [b""])


def test_without_batching_a_wrong_shape_has_no_word_about_batches() -> None:
    assert refusal(ONE_PICTURE, [header("X", "FP32", "1x3x2")]).endswith("Expected [3,-1], got [1,3,2]. ")


@pytest.mark.parametrize("surplus", [-24, -4, -1, 1, 4, 24])
def test_the_bytes_must_be_as_many_as_the_shape_says(surplus: int) -> None:
    assert refusal(ONE_PICTURE, [header("X", "FP32", "3x2")], [bytes(24 + surplus)]) == (
        "[request id: <id_unknown>] input byte size mismatch for input 'X' for model 'm'. "
        f"Expected 24, got {24 + surplus}"
    )


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        (b"\1\0\0", "incomplete string length indicator, expecting 4 bytes but only 3 are left,"),
        (b"\5\0\0\0abc", "incomplete string data, expecting 5 bytes but only 3 are left,"),
        (b"\xff\xff\xff\xff", "incomplete string data, expecting 4294967295 bytes but only 0 are left,"),
        (b"\0\0\0\0" + b"\2\0\0\0a", "incomplete string data, expecting 2 bytes but only 1 are left,"),
    ],
    ids=["cut length", "cut element", "huge length", "cut second element"],
)
def test_cut_strings_are_told_in_tritons_words(contents: bytes, text: str) -> None:
    assert refusal(one_input("BYTES", -1), [header("X", "BYTES", "2")], [contents]) == (
        f"[request id: <id_unknown>] {text} for inference input 'X' for model 'm'"
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "expected 2 string elements for inference input 'X' for model 'm', got 0"),
        (1, "expected 2 string elements for inference input 'X' for model 'm', got 1"),
        (3, "unexpected number of string elements 3 for inference input 'X' for model 'm', expecting 2"),
    ],
)
def test_strings_must_be_as_many_as_the_shape_says(count: int, text: str) -> None:
    contents = pack_strings(np.array([b"a"] * count, np.object_))
    assert refusal(one_input("BYTES", -1), [header("X", "BYTES", "2")], [contents]).endswith(f"] {text}")


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ([header("A", "FP32", "9"), header("B", "X", "8")], "input 'B' batch size does not match"),
        ([header("A", "FP64", "9x7"), header("B", "X", "9")], "inference request batch-size must be <= 8"),
        ([header("A", "FP64", "1x7"), B], "inference input 'A' data-type is 'FP64'"),
        ([header("A", "FP32", "1x-7"), B], "All input dimensions should be specified"),
        ([header("A", "FP32", "1x7"), B], "unexpected shape for input 'A'"),
        ([header("Z", "FP64", "9"), header("Z", "FP64", "9")], "input 'Z' already exists in request"),
        ([header("Z", "FP64", "9")], "expected 2 inputs but got 1 inputs"),
        ([header("B", "INT64", "1x1"), header("A", "FP64", "1x1")], "inference input 'A' data-type is 'FP64'"),
    ],
    ids=["batch", "batch bound", "datatype", "sign", "shape", "repeated", "count", "the model's order"],
)
def test_of_several_broken_rules_the_first_in_tritons_order_is_told(headers: list[Header], text: str) -> None:
    assert text in refusal(TWO, headers, [b"wrong"] * len(headers))


@pytest.mark.parametrize(
    ("engine", "shape", "rows", "row_shape"),
    [
        (one_input("FP32", 3, -1, max_batch_size=8), (2, 3, 5), 2, (3, 5)),
        (one_input("FP32", max_batch_size=8), (8,), 8, ()),
        (one_input("FP32", 2, max_batch_size=8), (0, 2), 0, (2,)),
        (one_input("FP32", 3, -1), (3, 5), 1, (3, 5)),
        (one_input("FP32", -1), (0,), 1, (0,)),
        (one_input("FP32"), (), 1, ()),
    ],
    ids=["batch", "full batch of scalars", "batch of none", "no batch", "no elements", "scalar"],
)
def test_a_layout_has_rows_in_front(engine: Described, shape: Shape, rows: int, row_shape: Shape) -> None:
    layout, arrays = check_inputs(Signature("m", engine), (("X", "FP32", shape),), [raw("FP32", *shape)], "")
    assert (layout.rows, layout.shapes) == (rows, (row_shape,))
    assert arrays["X"].shape == (rows, *row_shape)


def test_arrays_are_in_the_models_order_and_see_the_requests_own_bytes() -> None:
    first, second = np.array([[1, 2]], np.float32), np.array([[3, 4, 5]], np.int32)
    headers = (header("B", "INT32", "1x3"), header("A", "FP32", "1x2"))
    layout, arrays = check_inputs(Signature("m", TWO), headers, [second.tobytes(), first.tobytes()], "")
    assert list(arrays) == ["A", "B"]
    assert layout.shapes == ((2,), (3,))
    np.testing.assert_array_equal(arrays["A"], first, strict=True)
    np.testing.assert_array_equal(arrays["B"], second, strict=True)


def test_contents_beyond_the_inputs_are_ignored() -> None:
    _, arrays = check_inputs(Signature("m", ONE_PICTURE), (header("X", "FP32", "3x1"),), [bytes(12), b"more"], "")
    assert arrays["X"].shape == (1, 3, 1)


def test_nan_is_a_number_like_any_other() -> None:
    contents = np.full((3, 1), np.nan, np.float32).tobytes()
    _, arrays = check_inputs(Signature("m", ONE_PICTURE), (header("X", "FP32", "3x1"),), [contents], "")
    assert np.isnan(arrays["X"]).all()


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_of_the_protocol_is_taken(datatype: str) -> None:
    signature = Signature("m", one_input(datatype, 2, max_batch_size=4))
    _, arrays = check_inputs(signature, (("X", datatype, (3, 2)),), [raw(datatype, 3, 2)], "")
    assert (arrays["X"].dtype, arrays["X"].shape) == (DTYPES[datatype], (3, 2))


def test_no_names_ask_for_all_outputs() -> None:
    assert set(Signature("m", TWO).check_outputs([])) == {"P", "Q"}
    assert set(Signature("m", TWO).check_outputs(["Q"])) == {"Q"}


@pytest.mark.parametrize("names", [["R"], ["P", "R"], [""], ["A"]])
def test_an_unknown_output_is_refused(names: list[str]) -> None:
    with pytest.raises(InvalidRequestError, match=f"^unexpected inference output '{names[-1]}' for model 'm'$"):
        Signature("m", TWO).check_outputs(names)


def test_a_shape_without_elements_that_no_array_can_have_is_refused() -> None:
    """Its other dimensions alone exceed the address space, which numpy minds although there is nothing to store."""
    text = refusal(one_input("FP32", -1, -1, -1), [header("X", "FP32", f"0x{2**31 - 1}x{2**31 - 1}")], [b""])
    assert "'X'" in text
