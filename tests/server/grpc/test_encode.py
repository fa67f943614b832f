import numpy as np
import pytest

from server.specs import Described, one_input, spec
from yais.proto.tensors import DTYPES, from_raw
from yais.server.grpc.codec import encode
from yais.server.models.signature import Signature

THREE = Described((spec("X", "FP32", 1),), (spec("A", "INT32", -1), spec("B", "FP64"), spec("C", "BYTES", 1)), 8)
OUTPUTS = {
    "C": np.array([[b"ab"], [b""]], np.object_),
    "A": np.array([[1, 2, 3], [4, 5, 6]], np.int32),
    "B": np.array([0.5, np.nan]),
}


def test_all_outputs_are_given_in_the_models_order_whatever_that_of_the_request() -> None:
    response = encode(Signature("m", THREE), "1", "r7", frozenset({"C", "B", "A"}), OUTPUTS)
    assert (response.model_name, response.model_version, response.id) == ("m", "1", "r7")
    described = [(output.name, output.datatype, list(output.shape)) for output in response.outputs]
    assert described == [("A", "INT32", [2, 3]), ("B", "FP64", [2]), ("C", "BYTES", [2, 1])]
    assert response.raw_output_contents[0] == OUTPUTS["A"].tobytes()
    assert response.raw_output_contents[1] == OUTPUTS["B"].tobytes()
    assert response.raw_output_contents[2] == b"\2\0\0\0ab\0\0\0\0"
    assert not any(output.HasField("contents") for output in response.outputs)


@pytest.mark.parametrize("wanted", ["A", "B", "C", "AC"])
def test_only_the_wanted_outputs_are_given_each_with_its_contents(wanted: str) -> None:
    response = encode(Signature("m", THREE), "1", "", frozenset(wanted), OUTPUTS)
    assert [output.name for output in response.outputs] == list(wanted)
    assert len(response.raw_output_contents) == len(wanted)


def test_without_a_batch_dimension_the_rows_are_left_out_of_the_shape() -> None:
    signature = Signature("m", one_input("FP32", -1))
    response = encode(signature, "1", "", {"Y"}, {"Y": np.zeros((1, 3), np.float32)})
    assert list(response.outputs[0].shape) == [3]
    scalar = encode(Signature("m", one_input("FP32")), "1", "", {"Y"}, {"Y": np.zeros(1, np.float32)})
    assert list(scalar.outputs[0].shape) == []
    assert scalar.raw_output_contents == [bytes(4)]


@pytest.mark.parametrize("datatype", DTYPES)
@pytest.mark.parametrize("rows", [0, 2])
def test_every_datatype_can_be_read_back(datatype: str, rows: int) -> None:
    array = np.arange(2 * rows).reshape(rows, 2).astype(DTYPES[datatype])
    if datatype == "BYTES":
        array.ravel()[:] = [str(number).encode() for number in range(2 * rows)]
    response = encode(Signature("m", one_input(datatype, 2, max_batch_size=4)), "1", "", {"Y"}, {"Y": array})
    output = response.outputs[0]
    np.testing.assert_array_equal(
        from_raw(response.raw_output_contents[0], output.datatype, tuple(output.shape)), array, strict=True
    )


def test_a_share_in_the_middle_of_a_batch_buffer_is_given_alone() -> None:
    buffer = np.arange(12, dtype=np.float32).reshape(6, 2)
    response = encode(Signature("m", one_input("FP32", 2, max_batch_size=6)), "1", "", {"Y"}, {"Y": buffer[2:4]})
    assert response.raw_output_contents[0] == np.arange(4, 8, dtype=np.float32).tobytes()
