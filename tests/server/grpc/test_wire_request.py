"""Rows that a request with a template writes into the batch buffers, and what its answer is made of."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from server.inline_model import KINDS, echo
from server.known_templates import ONE, PAIR, Kept, request, rows
from server.specs import spec
from yais.engines import Array
from yais.proto.tensors import DTYPES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("datatype", [name for name in DTYPES if name != "BYTES"])
@pytest.mark.parametrize("row", [0, 2])
def test_outputs_of_every_datatype_are_read_however_they_lie(kind: str, datatype: str, row: int) -> None:
    kept = Kept(echo([spec("A", datatype, 3)], 1, 4, kind))
    array = np.arange(12).reshape(4, 3).astype(DTYPES[datatype])
    call = kept.known(request(array[:2]))
    call.answer({"O0": KINDS[kind](array.copy())}, row)
    (output,) = kept.ends.response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("O0", datatype, [2, 3])
    assert kept.ends.response.raw_output_contents == [array[row : row + 2].tobytes()]


@pytest.mark.parametrize("datatype", [name for name in DTYPES if name != "BYTES"])
def test_inputs_of_every_datatype_are_written_bit_by_bit(datatype: str) -> None:
    kept = Kept(echo([spec("A", datatype, 4)], 1, 4))
    size = DTYPES[datatype].itemsize
    bits = bytes(range(1, 1 + 8 * size))
    sent = request(np.zeros((2, 4), DTYPES[datatype]))
    sent.raw_input_contents[0] = bits
    buffer = np.zeros((4, 4), DTYPES[datatype])
    kept.known(sent).fill({"A": buffer}, 1)
    assert buffer.tobytes() == bytes(4 * size) + bits + bytes(4 * size)


def test_only_the_wanted_outputs_are_given_in_the_models_order() -> None:
    kept = Kept(echo([spec("A", "FP32", 2)], 3, 8))
    sent = request(rows(1))
    for name in ("O2", "O0", "O2"):
        sent.outputs.add(name=name)
    outputs = {f"O{i}": np.full((8, 2), i, np.float32) for i in range(3)}
    kept.known(sent).answer(outputs, 0)
    assert [each.name for each in kept.ends.response.outputs] == ["O0", "O2"]
    assert kept.ends.response.raw_output_contents == [outputs[name][:1].tobytes() for name in ("O0", "O2")]


@pytest.mark.parametrize("max_batch_size", [0, 4])
def test_without_a_batch_dimension_the_rows_are_left_out_of_the_shape(max_batch_size: int) -> None:
    kept = Kept(echo([spec("A", "FP32", 2)], 1, max_batch_size))
    sent = request(rows(1) if max_batch_size else rows(1)[0])
    kept.known(sent).answer({"O0": rows(1)}, 0)
    assert list(kept.ends.response.outputs[0].shape) == ([1, 2] if max_batch_size else [2])


def guarded(shape: tuple[int, ...], dtype: Any = np.float32) -> tuple[Array, Array]:
    """A buffer in the middle of a memory that is all -1, and that memory."""
    memory = np.full(10_000, -1, np.int8)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return memory, memory[4096 : 4096 + size].view(dtype).reshape(shape)


def strided(memory: Array, shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any = "<f4") -> Array:
    return np.ndarray(shape, dtype, memory, 4096, strides)


BAD_BUFFERS: dict[str, Callable[[Array], Any]] = {
    "no rows": lambda memory: strided(memory, (0, 2), (8, 4)),
    "a row too few": lambda memory: strided(memory, (2, 2), (8, 4)),
    "rows too small": lambda memory: strided(memory, (8, 1), (4, 4)),
    "rows too large": lambda memory: strided(memory, (8, 3), (12, 4)),
    "small elements": lambda memory: strided(memory, (8, 2), (4, 2), "<f2"),
    "large elements": lambda memory: strided(memory, (8, 2), (16, 8), "<f8"),
    "Fortran order": lambda memory: strided(memory, (8, 2), (4, 32)),
    "gaps between rows": lambda memory: strided(memory, (8, 2), (16, 4)),
    "gaps between elements": lambda memory: strided(memory, (8, 2), (16, 8)),
    "rows in reverse": lambda memory: strided(memory, (8, 2), (-8, 4)),
    "the same row again": lambda memory: strided(memory, (8, 2), (0, 4)),
    "the other byte order": lambda memory: strided(memory, (8, 2), (8, 4), ">f4"),
    "unaligned": lambda memory: memory[4097 : 4097 + 64].view("<f4").reshape(8, 2),
    "read-only": lambda memory: KINDS["locked"](strided(memory, (8, 2), (8, 4))),
    "without axes": lambda memory: strided(memory, (), ()),
    "objects in its elements": lambda memory: np.zeros((8, 1), [("a", object)]),
    "strings of any length": lambda memory: np.empty((8, 1), np.dtypes.StringDType()),
}
NO_ARRAYS: dict[str, Any] = {
    "a list": [[0.0, 0.0]] * 8,
    "bytes": bytearray(64),
    "a view": memoryview(bytearray(64)),
    "nothing": None,
}


@pytest.mark.parametrize("bad", BAD_BUFFERS)
def test_a_buffer_that_does_not_fit_is_refused_and_nothing_is_written(bad: str) -> None:
    kept = Kept(ONE)
    memory = np.full(10_000, -1, np.int8)
    call = kept.known(request(rows(2)))
    with pytest.raises(ValueError, match="a batch buffer"):
        call.fill({"A": BAD_BUFFERS[bad](memory)}, 1)
    assert (memory == -1).all()


@pytest.mark.parametrize("no_array", NO_ARRAYS)
def test_what_is_no_array_is_a_type_error_that_names_it(no_array: str) -> None:
    kept = Kept(ONE)
    call = kept.known(request(rows(2)))
    with pytest.raises(TypeError, match="the batch buffer of 'A' must be a numpy array, not"):
        call.fill({"A": NO_ARRAYS[no_array]}, 1)
    with pytest.raises(TypeError, match="the batch buffer of 'O0' must be a numpy array, not"):
        call.answer({"O0": NO_ARRAYS[no_array]}, 1)
    assert kept.ends.responses == []


@pytest.mark.parametrize("row", [-1, -2, -8, 7, 8, 9, 2**31, 2**62, 2**63 - 1, -(2**63)])
def test_a_row_outside_of_the_buffer_is_refused_and_nothing_is_written(row: int) -> None:
    kept = Kept(ONE)
    memory, buffer = guarded((8, 2))
    call = kept.known(request(rows(2)))
    with pytest.raises(ValueError, match="has no 2 rows"):
        call.fill({"A": buffer}, row)
    assert (memory == -1).all()
    with pytest.raises(ValueError, match="has no 2 rows"):
        call.answer({"O0": buffer}, row)
    assert kept.ends.responses == []


@pytest.mark.parametrize("row", [0, 3, 6])
def test_the_rows_of_a_request_are_written_and_nothing_else(row: int) -> None:
    kept = Kept(ONE)
    memory, buffer = guarded((8, 2))
    kept.known(request(rows(2))).fill({"A": buffer}, row)
    np.testing.assert_array_equal(buffer[row : row + 2], rows(2))
    buffer[row : row + 2].view(np.int8)[...] = -1
    assert (memory == -1).all()


@pytest.mark.parametrize("row", [0, 4, 8])
def test_a_request_without_rows_writes_nothing_and_gets_nothing(row: int) -> None:
    kept = Kept(ONE)
    memory, buffer = guarded((8, 2))
    call = kept.known(request(rows(0)))
    call.fill({"A": buffer}, row)
    assert (memory == -1).all()
    call.answer({"O0": buffer}, row)
    assert list(kept.ends.response.outputs[0].shape) == [0, 2]
    assert kept.ends.response.raw_output_contents == [b""]


def test_a_model_without_a_buffer_of_that_name_is_a_key_error() -> None:
    kept = Kept(ONE)
    call = kept.known(request(rows(1)))
    with pytest.raises(KeyError):
        call.fill({"B": rows(8)}, 0)
    with pytest.raises(KeyError):
        call.answer({"O1": rows(8)}, 0)


@pytest.mark.parametrize(
    "output",
    [rows(1), np.float32(1), np.array(1.0, np.float32), None, np.array([[b"ab"] * 2] * 8, np.object_)],
    ids=["a row too few", "a number", "without axes", "nothing", "objects"],
)
def test_an_output_that_has_not_the_rows_is_refused(output: Any) -> None:
    kept = Kept(ONE)
    call = kept.known(request(rows(2)))
    with pytest.raises((ValueError, TypeError)):
        call.answer({"O0": output}, 0)
    assert kept.ends.responses == []


def test_a_second_buffer_that_does_not_fit_is_refused_too() -> None:
    kept = Kept(PAIR)
    call = kept.known(request(rows(2), np.zeros((2, 1), np.int32)))
    with pytest.raises(ValueError, match=r"shape \(8, 2\) has no 2 rows of 8 bytes"):
        call.fill({"A": np.zeros((8, 2), np.float32), "B": np.zeros((8, 2), np.int32)}, 0)
