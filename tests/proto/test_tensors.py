import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from yais.proto.grpc_service_pb2 import InferTensorContents
from yais.proto.model_config_pb2 import DataType
from yais.proto.tensors import (
    CONTENTS_FIELDS,
    DATATYPES,
    DTYPES,
    from_raw,
    pack_strings,
    strings_array,
    to_raw,
    unpack_strings,
)

shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
elements = st.lists(st.binary(max_size=6), max_size=8)


@st.composite
def arrays(draw: st.DrawFn) -> tuple[str, np.ndarray[Any, Any]]:
    """An array of any datatype but BYTES, from random bytes, so that every pattern of bits comes up."""
    datatype = draw(st.sampled_from([name for name in DTYPES if name not in ("BYTES", "BOOL")]))
    shape = draw(shapes)
    size = int(np.prod(shape)) * DTYPES[datatype].itemsize
    return datatype, np.frombuffer(draw(st.binary(min_size=size, max_size=size)), DTYPES[datatype]).reshape(shape)


@given(arrays())
@settings(deadline=None)
def test_raw_contents_are_the_elements_bit_for_bit(sample: tuple[str, np.ndarray[Any, Any]]) -> None:
    datatype, array = sample
    back = from_raw(to_raw(array), datatype, array.shape)
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(npst.arrays(np.bool_, shapes))
@settings(deadline=None)
def test_booleans_are_one_byte_each(array: np.ndarray[Any, Any]) -> None:
    raw = to_raw(array)
    assert set(raw) <= {0, 1}
    np.testing.assert_array_equal(from_raw(raw, "BOOL", array.shape), array, strict=True)


@given(elements)
@settings(deadline=None)
def test_strings_come_back_as_they_were(strings: list[bytes]) -> None:
    packed = pack_strings(strings_array(strings, (len(strings),)))
    assert packed == b"".join(struct.pack("<I", len(element)) + element for element in strings)
    assert unpack_strings(packed) == unpack_strings(memoryview(packed)) == strings
    assert from_raw(packed, "BYTES", (len(strings),)).tolist() == strings


@given(elements, st.data())
@settings(deadline=None)
def test_cut_strings_are_an_error_or_fewer_strings(strings: list[bytes], data: st.DataObject) -> None:
    packed = pack_strings(strings_array(strings, (len(strings),)))
    cut = packed[: data.draw(st.integers(0, len(packed)))]
    try:
        got = unpack_strings(cut)
    except ValueError:
        return
    assert got == strings[: len(got)]
    assert pack_strings(strings_array(got, (len(got),))) == cut


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\1", "incomplete string length indicator, expecting 4 bytes but only 1 are left,"),
        (b"\0\0\0\0\1\0\0", "incomplete string length indicator, expecting 4 bytes but only 3 are left,"),
        (b"\4\0\0\0abc", "incomplete string data, expecting 4 bytes but only 3 are left,"),
        (b"\xff\xff\xff\xffabc", "incomplete string data, expecting 4294967295 bytes but only 3 are left,"),
    ],
)
def test_what_is_cut_short_is_told(raw: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        unpack_strings(raw)


@given(st.binary(max_size=20))
@settings(deadline=None)
def test_any_bytes_are_strings_or_an_error(raw: bytes) -> None:
    try:
        strings = unpack_strings(raw)
    except ValueError:
        return
    assert sum(len(element) + 4 for element in strings) == len(raw)


def test_text_is_packed_as_utf_8() -> None:
    assert pack_strings(np.array(["é", b"\xff"], np.object_)) == b"\2\0\0\0\xc3\xa9\1\0\0\0\xff"


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_single_string_has_any_shape_of_one_element(shape: tuple[int, ...]) -> None:
    array = strings_array([b"ab"], shape)
    assert (array.shape, array.ravel().tolist()) == (shape, [b"ab"])


@pytest.mark.parametrize(("count", "shape"), [(2, (3,)), (3, (2,)), (0, (1,)), (1, (0,))])
def test_a_wrong_number_of_elements_is_an_error(count: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="reshape"):
        strings_array([b""] * count, shape)
    with pytest.raises(ValueError, match="reshape"):
        from_raw(bytes(4 * count), "BYTES", shape)
    with pytest.raises(ValueError, match="reshape"):
        from_raw(bytes(4 * count), "FP32", shape)


def test_a_cut_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="buffer size"):
        from_raw(bytes(5), "FP32", (1,))


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, 2], ">i4"),
        np.array([[1, 2], [3, 4]], np.int32)[:, 1],
        np.array([[1, 2], [3, 4]], np.int32).T,
        np.arange(10, dtype=np.int32)[::-3],
        np.asfortranarray(np.array([[1, 2], [3, 4]], ">i4")),
    ],
    ids=["big-endian", "column", "transposed", "backwards", "big-endian columns"],
)
def test_raw_contents_are_little_endian_and_row_major_however_the_array_lies(array: np.ndarray[Any, Any]) -> None:
    assert to_raw(array) == struct.pack(f"<{array.size}i", *array.ravel().tolist())


def test_numbers_read_back_are_a_view_of_the_message() -> None:
    raw = bytes(8)
    array = from_raw(raw, "FP32", (2,))
    assert not array.flags.writeable
    assert np.shares_memory(array, np.frombuffer(raw, np.uint8))


@pytest.mark.parametrize(
    ("datatype", "raw", "values"),
    [
        ("FP16", b"\x00\x3c\x00\xc0", [1, -2]),
        ("BF16", b"\x80\x3f\x00\xc0", [1, -2]),
        ("FP32", b"\x00\x00\x80\x3f\x00\x00\x00\xc0", [1, -2]),
        ("INT16", b"\x01\x00\xfe\xff", [1, -2]),
        ("UINT64", b"\xff" * 8, [2**64 - 1]),
        ("BOOL", b"\x00\x01", [False, True]),
    ],
)
def test_the_bits_on_the_wire_are_those_of_the_protocol(datatype: str, raw: bytes, values: list[Any]) -> None:
    array = from_raw(raw, datatype, (len(values),))
    assert array.tolist() == values
    assert to_raw(array) == raw


def test_every_datatype_has_one_dtype_and_the_other_way_round() -> None:
    assert {name: DATATYPES[dtype] for name, dtype in DTYPES.items()} == {name: name for name in DTYPES}
    assert DTYPES["BF16"] == np.dtype(ml_dtypes.bfloat16)


def test_the_datatypes_are_those_of_the_model_configuration() -> None:
    configured = {name.removeprefix("TYPE_") for name in DataType.keys()} - {"INVALID"}  # noqa: SIM118
    assert {"STRING" if name == "BYTES" else name for name in DTYPES} == configured


def test_every_field_of_typed_contents_carries_a_datatype() -> None:
    assert set(CONTENTS_FIELDS.values()) == {field.name for field in InferTensorContents.DESCRIPTOR.fields}
    assert DTYPES.keys() - CONTENTS_FIELDS.keys() == {"FP16", "BF16"}
