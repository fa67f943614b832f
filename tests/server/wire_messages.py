"""ModelInferRequests as bytes, in every way that protobuf allows and in some that it does not."""

from math import prod

from google.protobuf.message import DecodeError
from hypothesis import assume
from hypothesis import strategies as st

from server.inline_model import Echo
from yais.proto.grpc_service_pb2 import InferParameter, InferTensorContents, ModelInferRequest
from yais.proto.tensors import DATATYPES

# Pieces of wire: a field is led by its number and kind, what has a length by that; varints may be longer than need be.


def varint(value: int, surplus: int = 0) -> bytes:
    """`value` with `surplus` needless bytes."""
    digits = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)] + [0] * surplus
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


def led(number: int, data: bytes, surplus: int = 0, surplus_of_tag: int = 0) -> bytes:
    return varint(number << 3 | 2, surplus_of_tag) + varint(len(data), surplus) + data


NAME, VERSION, ID, PARAMETERS, INPUT, OUTPUT, RAW = range(1, 8)

rarely = st.sampled_from([False] * 19 + [True])
surpluses = st.sampled_from([0] * 20 + [1, 4, 5, 9])
texts = st.text(max_size=4)
ids = st.one_of(
    st.just(b"r7"),
    st.integers(0, 300).map(lambda size: b"x" * size),
    st.sampled_from([b"", b"\x00", b"\x7f"]),
    st.sampled_from([b"\x80", b"\xff\xfe", b"a\xc3", b"\xed\xa0\x80", "é".encode(), "日本".encode()]),
)
versions = st.sampled_from([b"1", b"01", b"2", b"x", b"", b"\xff"])
parameters = st.builds(
    lambda name, value: ModelInferRequest(parameters={name: value}).SerializeToString(),
    st.sampled_from(["mine", "priority", "timeout", "sequence_id", "triton_x"]),
    st.one_of(
        st.builds(InferParameter, int64_param=st.integers(-1, 1)),
        st.builds(InferParameter, bool_param=st.booleans()),
        st.builds(InferParameter, string_param=texts),
        st.builds(InferParameter),
    ),
)
unknown = st.sampled_from(
    [
        b"\x08\x01",  # model_name as a varint
        b"\x38\x01",  # raw_input_contents as a varint
        b"\x1d1234",  # id as 4 bytes
        b"\x1912345678",  # id as 8 bytes
        b"\x1b\x1c",  # id as a group
        b"\x43\x0a\x01x\x44",  # a group of a field that is not known
        b"\x43",  # one that never ends
        b"\x44",  # the end of none
        b"\x42\x03abc",  # field 8
        b"\x82\x01\x02ab",  # field 16
        b"\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x02\x00",  # field 0
        b"\x3e",  # a kind that there is not
        b"\x00",
        b"\xff" * 11,
    ]
)


def described(tensor: ModelInferRequest.InferInputTensor | ModelInferRequest.InferRequestedOutputTensor) -> bytes:
    return tensor.SerializeToString()


@st.composite
def tensors(draw: st.DrawFn, engine: Echo) -> list[tuple[int, bytes]]:
    """The inputs and their contents as fields, from right to not quite right."""
    batch = [draw(st.integers(0, engine.max_batch_size + draw(rarely)))] if engine.max_batch_size else []
    wrong, is_typed = draw(rarely), draw(rarely)
    free = st.sampled_from([0, 1, 2, 3, 2**31 if draw(rarely) else 4])
    fields = []
    raws = []
    for each in draw(st.permutations(engine.inputs)):
        shape = [*batch, *(draw(free) if dim == -1 else dim for dim in each.shape)]
        datatype = DATATYPES[each.dtype]
        if wrong and draw(st.booleans()):
            shape = draw(st.lists(st.integers(-1, 3), max_size=3))
        if wrong and draw(st.booleans()):
            datatype = draw(st.sampled_from(["FP32", "INT8", "BYTES", "", "FP8"]))
        tensor = ModelInferRequest.InferInputTensor(name=each.name, datatype=datatype, shape=shape)
        if is_typed:
            tensor.contents.CopyFrom(InferTensorContents(fp32_contents=[1.5] * min(9, abs(prod(shape)))))
        if draw(rarely):
            tensor.parameters["classification" if draw(rarely) else "mine"].int64_param = draw(st.integers(0, 3))
        fields.append((INPUT, described(tensor)))
        raws.append((RAW, draw(contents(each.dtype.itemsize, min(40, abs(prod(shape))), each.dtype.hasobject))))
    if draw(rarely):
        raws.append((RAW, b""))
    if draw(rarely):
        fields.append(fields[0])
    return fields + ([] if is_typed else raws[: draw(st.integers(0, len(raws))) if wrong else len(raws)])


@st.composite
def contents(draw: st.DrawFn, size: int, count: int, is_strings: bool) -> bytes:
    if is_strings:
        return b"".join(len(each).to_bytes(4, "little") + each for each in draw(lists_of_bytes(count)))
    exact = draw(st.binary(min_size=size * count, max_size=size * count))
    surplus = draw(st.sampled_from([-1, 1, size, -size])) if draw(rarely) else 0
    return exact[:surplus] if surplus < 0 else exact + bytes(surplus)


def lists_of_bytes(count: int) -> st.SearchStrategy[list[bytes]]:
    return st.lists(st.binary(max_size=3), min_size=count, max_size=count)


@st.composite
def messages(draw: st.DrawFn, engine: Echo) -> bytes:
    """A ModelInferRequest as its fields, with whatever protobuf allows and now and then with what it does not."""
    fields = [(NAME, b"m"), *((ID, each) for each in draw(st.lists(ids, max_size=1)))]
    fields += draw(tensors(engine))
    fields += [
        (OUTPUT, described(ModelInferRequest.InferRequestedOutputTensor(name=name)))
        for name in draw(st.lists(st.sampled_from([each.name for each in engine.outputs]), max_size=2))
    ]
    if draw(rarely):
        fields.append((VERSION, draw(versions)))
    if draw(rarely):
        fields.append(draw(st.sampled_from([(NAME, b"x"), (NAME, b"m"), (OUTPUT, b"\x0a\x01Z"), (NAME, b"\xff")])))
    if draw(rarely):
        fields.append((ID, draw(ids)))
    if draw(rarely):
        fields = draw(st.permutations(fields))
    pieces = [led(number, data, draw(surpluses), draw(surpluses) if draw(rarely) else 0) for number, data in fields]
    for extra in (parameters, unknown):
        if draw(rarely):
            pieces.insert(draw(st.integers(0, len(pieces))), draw(extra))
    return b"".join(pieces)


@st.composite
def spoiled(draw: st.DrawFn, engine: Echo) -> bytes:
    """A message that the way has not left as it was."""
    wire = bytearray(draw(messages(engine)))
    assume(wire)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(wire) - 1))
        match draw(st.sampled_from(["flip", "set", "cut", "drop", "insert"])):
            case "flip":
                wire[at] ^= 1 << draw(st.integers(0, 7))
            case "set":
                wire[at] = draw(st.sampled_from([0, 1, 0x0A, 0x1A, 0x3A, 0x7F, 0x80, 0xFF]))
            case "cut":
                del wire[at + 1 :]
            case "drop" if len(wire) > 1:
                del wire[at]
            case _:
                wire.insert(at, draw(st.integers(0, 255)))
    return bytes(wire)


def serialised(wire: bytes) -> bytes:
    """The same message as protobuf writes it; what is none stays as it is."""
    try:
        return ModelInferRequest.FromString(wire).SerializeToString()
    except DecodeError:
        return wire


@st.composite
def relatives(draw: st.DrawFn, wire: bytes) -> bytes:
    """Messages with the template of `wire`, with other contents, or contents that do not suit it."""
    try:
        message = ModelInferRequest.FromString(wire)
    except DecodeError:
        return wire
    raws = message.raw_input_contents[:]
    at = draw(st.integers(0, max(0, len(raws) - 1)))
    change = draw(st.sampled_from(["elements"] * 4 + ["order", "size", "fewer", "more", "id", "ids"]))
    match change:
        case "elements":
            raws = [raw[::-1] for raw in raws]
        case "order":
            raws.reverse()
        case "size" if raws:
            raws[at] = raws[at][:-1] if draw(st.booleans()) else raws[at] + b"\0"
        case "fewer":
            del raws[at:]
        case "more":
            raws.insert(at, draw(st.binary(max_size=1)))
    message.raw_input_contents[:] = raws
    others = draw(st.lists(ids, min_size=1, max_size=2)) if change in ("id", "ids") else []
    if change == "id":
        message.id = ""
    return message.SerializeToString() + b"".join(led(ID, each) for each in others)
