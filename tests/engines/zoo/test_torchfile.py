import os
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from yais.engines.zoo import BuildError, torchfile
from yais.engines.zoo.torchfile import read_state_dict

# Written by torch itself: data/make_reference.py.
LEGACY = Path(__file__).parent / "data" / "legacy.pth"

MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
BEGINNING = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, MACHINE))

EMPTY = b"ccollections\nOrderedDict\n)R"


def push(value: object) -> bytes:
    """The opcodes that push a value."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(
    kind: str = "FloatStorage", length: int = 6, offset: int = 0, shape: object = (2, 3), strides: object = (3, 1)
) -> bytes:
    """The opcodes of a tensor as torch pickles it: a function, its arguments, and the call."""
    storage = b"".join(
        (b"(", push("storage"), f"ctorch\n{kind}\n".encode(), push("7"), push("cpu"), push(length), b"Nt")
    )
    arguments = b"".join((b"(", storage, b"Q", push(offset), push(shape), push(strides), push(False), EMPTY, b"t"))
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def legacy(
    value: bytes, order: tuple[str, ...] = ("7",), stored: int = 6, beginning: bytes = BEGINNING, body: int = 24
) -> bytes:
    """A file whose state dict has the one entry `weight`."""
    state = b"".join((b"\x80\x02", EMPTY, push("weight"), value, b"s."))
    numbers = np.arange(6, dtype="<f4").tobytes()[:body]
    return b"".join((beginning, state, pickle.dumps(list(order), 2), struct.pack("<q", stored), numbers))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "weights.pth"
        path.write_bytes(data)
        return path

    return write


Write = Callable[[bytes], Path]


def test_reads_what_torch_wrote() -> None:
    tensors = read_state_dict(LEGACY)
    grid = np.arange(24, dtype=np.float32).reshape(4, 6)
    np.testing.assert_array_equal(tensors["grid"], grid)
    np.testing.assert_array_equal(tensors["grid.transposed"], grid.T)
    np.testing.assert_array_equal(tensors["grid.corner"], grid[1:3, 2:5])
    np.testing.assert_array_equal(tensors["grid.expanded"], [[15, 15], [15, 15]])
    np.testing.assert_array_equal(tensors["half"], np.array([0.5, -2], np.float16))
    np.testing.assert_array_equal(tensors["bytes"], [1, 255])
    assert tensors["count"] == 2**40
    assert tensors["count"].shape == ()
    assert tensors["empty"].shape == (0, 3)
    assert not any(tensor.flags.writeable for tensor in tensors.values())


def test_reads_a_file_written_by_hand(write: Write) -> None:
    np.testing.assert_array_equal(read_state_dict(write(legacy(tensor())))["weight"], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("stage", [0, 3, 4], ids=["first pickle", "state dict", "order of storages"])
def test_refuses_to_run_a_command(stage: int, write: Write, tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {mark}",)

    pickles = [BEGINNING, b"", b"", pickle.dumps(OrderedDict(), 2), pickle.dumps([], 2)]
    pickles[stage] = pickle.dumps(Attack(), 2)
    path = write(b"".join(pickles))
    with pytest.raises(BuildError, match=r"names posix\.system"):
        read_state_dict(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["builtins eval", "torch load", "torch._utils _rebuild_parameter", "collections Counter", "os.path join"]
)
def test_refuses_every_other_name(name: str, write: Write) -> None:
    module, _, attribute = name.partition(" ")
    path = write(legacy(f"c{module}\n{attribute}\n".encode()))
    with pytest.raises(BuildError, match=f"weights.pth.*names {module}.{attribute}, which is not allowed"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("opcodes", "name"),
    [
        (b"(ios\nsystem\n", "INST"),
        (b"(ccollections\nOrderedDict\no", "OBJ"),
        (b"ccollections\nOrderedDict\n)\x81", "NEWOBJ"),
        (push("os") + push("system") + b"\x93", "STACK_GLOBAL"),
        (b"\x82\x01", "EXT1"),
        (b"\x96\xff\xff\xff\xff\xff\xff\xff\x0f", "not a state dict"),
    ],
    ids=["INST", "OBJ", "NEWOBJ", "STACK_GLOBAL", "EXT1", "BYTEARRAY8"],
)
def test_refuses_every_other_opcode(opcodes: bytes, name: str, write: Write) -> None:
    path = write(legacy(opcodes))
    with pytest.raises(BuildError, match=name):
        read_state_dict(path)


def test_a_pickle_cannot_change_what_it_is_handed(write: Write) -> None:
    before = vars(torchfile).copy(), torchfile._view.__defaults__
    for state in ({"poisoned": 1}, (None, {"__defaults__": (1, 2)})):
        path = write(legacy(b"ctorch._utils\n_rebuild_tensor_v2\n" + push(state) + b"b", order=()))
        with pytest.raises(BuildError, match="weight is no tensor"):
            read_state_dict(path)
    assert (vars(torchfile), torchfile._view.__defaults__) == before
    assert not vars(torchfile._view)


def test_attributes_of_a_tensor_are_passed_over(write: Write) -> None:
    path = write(legacy(tensor() + push({"_metadata": 1}) + b"b"))
    np.testing.assert_array_equal(read_state_dict(path)["weight"], [[0, 1, 2], [3, 4, 5]])


def test_a_huge_memo_index_costs_nothing(write: Write) -> None:
    path = write(legacy(tensor() + b"r\xff\xff\xff\x7f"))
    np.testing.assert_array_equal(read_state_dict(path)["weight"], [[0, 1, 2], [3, 4, 5]])


def test_deep_nesting_is_refused_at_once(write: Write) -> None:
    bomb = b")" + b"q\x00h\x00\x86" * 100  # A pair of the same pair of the same pair ...
    shape = tensor(shape=()).replace(push(()) + push((3, 1)), bomb + bomb)
    for data in (legacy(bomb, order=()), legacy(b"}" + bomb + b"Ns"), legacy(shape), legacy(bomb + b"Q")):
        path = write(data)
        with pytest.raises(BuildError) as caught:
            read_state_dict(path)
        assert len(str(caught.value)) < 5_000


def test_every_truncation_is_an_error(write: Write) -> None:
    whole = LEGACY.read_bytes()
    for length in range(len(whole)):
        path = write(whole[:length])
        with pytest.raises(BuildError, match="not a state dict in torch's legacy format"):
            read_state_dict(path)


@pytest.mark.parametrize("flip", [0x20, 0xFF])
def test_a_damaged_byte_is_an_error_or_another_value(flip: int, write: Write) -> None:
    whole = LEGACY.read_bytes()
    refused = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= flip
        try:
            read_state_dict(write(bytes(damaged)))
        except BuildError:
            refused += 1
    assert refused > len(whole) / 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04 and so on", "zip"),
        (pickle.dumps(7, 2), "magic number"),
        (BEGINNING.replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2)), "protocol 1001"),
        (legacy(tensor(), beginning=BEGINNING.replace(b"\x88", b"\x89")), "big-endian"),
        (legacy(tensor("ComplexFloatStorage")), "names torch.ComplexFloatStorage"),
        (legacy(tensor("LongStorage")), "needs 48 bytes, 24 are left"),
        (legacy(tensor(), body=23), "needs 24 bytes, 23 are left"),
        (legacy(tensor(), stored=5), "headed by its length, 6"),
        (legacy(tensor(length=-1), stored=-1), "needs -4 bytes"),
        (legacy(tensor(length=2**62), stored=2**62), "legacy format"),
        (legacy(tensor(), order=()), "not those which its tensors use"),
        (legacy(tensor(), order=("7", "8")), "not those which its tensors use"),
        (legacy(tensor(offset=1)), "tensor weight reaches element 6 of a storage of 6"),
        (legacy(tensor(shape=(3, 3))), "reaches element 8"),
        (legacy(tensor(strides=(4, 1))), "reaches element 6"),
        (legacy(tensor(offset=-1)), "strides -1, "),
        (legacy(tensor(offset=5, strides=(-3, 1))), r"strides 5, \(2, 3\), \(-3, 1\)"),
        (legacy(tensor(shape=(-2, -3))), r"\(-2, -3\)"),
        (legacy(tensor(strides=(3,))), "weight is no tensor"),
        (legacy(tensor(shape="two")), "weight is no tensor"),
        (legacy(tensor(shape=(True, True))), "True"),
        (legacy(tensor() + b"0" + push(5)), "opcode POP"),
        (legacy(push(5), order=()), "weight is no tensor"),
        (legacy(b"}" + push(5) + b"Ns"), "keys that are not strings"),
        (legacy(b"t"), "pop from empty list"),
        (legacy(b"\x87"), "stack runs empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_says_what_is_wrong(data: bytes, message: str, write: Write) -> None:
    path = write(data)
    with pytest.raises(BuildError, match=message):
        read_state_dict(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"cannot read .*absent\.pth: No such file"):
        read_state_dict(tmp_path / "absent.pth")
