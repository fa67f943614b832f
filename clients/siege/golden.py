"""Golden file of right answers, which every answer is compared with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import ml_dtypes
import numpy as np
from google.protobuf.message import DecodeError

from yais.clients.inputs.files import load_npz, save_npz
from yais.clients.outputs import write_file
from yais.clients.protocol import Array, Arrays, InferenceError, infer_outputs
from yais.proto.grpc_service_pb2 import ModelInferResponse

Read = Callable[[bytes], Arrays]

# numpy's kinds: bool, int, unsigned and object (BYTES); bytes and str, which .npz files have for texts; float.
_EXACT = "biuO"
_TEXTS = "SU"
_FLOATS = "f"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A float is right within `absolute + relative * |expected|`; everything else has to be equal."""

    relative: float
    absolute: float


class Golden:
    """The right answers to `requests`, given by name; `arrays` are their outputs as the file has them.

    A single request's outputs go by their own names, those of one among several by `mlp/3/OUTPUT0`, after the name of
    the request. Raises ValueError when the two do not belong together. What else an answer holds is not looked at.
    """

    def __init__(self, requests: Mapping[str, bytes], arrays: Arrays, read: Read, tolerance: Tolerance) -> None:
        self._read = read
        self._tolerance = tolerance
        self._right: dict[bytes, Arrays] = {}
        self._prefixes: dict[bytes, str] = {}
        self._last: dict[bytes, bytes] = {}
        left = dict(arrays)
        for prefix, request in _prefixed(requests):
            # A prefix ends with a slash, so that `mlp/1/` does not take what belongs to `mlp/10/`.
            names = [name for name in left if name.startswith(prefix)]
            if not names:
                raise ValueError(f"there is no answer to {prefix.rstrip('/') or 'the request'}")
            self._right[request] = {name.removeprefix(prefix): left.pop(name) for name in names}
            self._prefixes[request] = prefix
        if left:
            raise ValueError(f"{min(left)} belongs to no request")

    def check(self, request: bytes, answer: bytes) -> str | None:
        """None for a right answer, otherwise the sentence that says what differs.

        One that equals the last right answer to this request is right, which takes a comparison of bytes.
        """
        if answer == self._last.get(request):
            return None
        difference = self._compare(request, answer)
        if difference is None:
            self._last[request] = answer
        return difference

    def _compare(self, request: bytes, answer: bytes) -> str | None:
        try:
            outputs = self._read(answer)
        except InferenceError as error:
            return error.details
        for name, expected in self._right[request].items():
            shown = f"{self._prefixes[request]}{name}"
            if name not in outputs:
                return f"{shown} is missing"
            difference = compare(expected, outputs[name], self._tolerance)
            if difference is not None:
                return f"{shown} {difference}"
        return None


def record(requests: Mapping[str, bytes], ask: Callable[[bytes], bytes], read: Read) -> Arrays:
    """Asks for the answer to each request, one after the other, and names the outputs as `Golden` wants them."""
    return {
        f"{prefix}{name}": array
        for prefix, request in _prefixed(requests)
        for name, array in read(ask(request)).items()
    }


def load(path: Path) -> Arrays:
    """The outputs of a golden file. Raises ValueError, naming the file, for what cannot be compared."""
    arrays = load_npz(path)
    for name, array in arrays.items():
        if array.dtype.kind not in f"{_EXACT}{_TEXTS}{_FLOATS}":
            raise ValueError(f"{path}: {name} is of dtype {array.dtype}, which no answer has")
        if array.dtype.kind in _TEXTS:
            arrays[name] = np.char.encode(array).astype(np.object_) if array.dtype.kind == "U" else array.astype("O")
    return arrays


def save(path: Path, arrays: Arrays) -> None:
    """Raises ValueError for texts that the file would change, and OSError."""
    contents = {name: _to_file(name, array) for name, array in arrays.items()}
    write_file(path, lambda file: save_npz(file, contents))


def compare(expected: Array, actual: Array, tolerance: Tolerance) -> str | None:
    """What differs, as the rest of a sentence that begins with the name."""
    if expected.shape != actual.shape:
        return f"has the shape {list(actual.shape)}, not {list(expected.shape)}"
    differ = np.argwhere(~_equal(expected, actual, tolerance))
    if not len(differ):
        return None
    place = tuple(differ[0].tolist())
    return f"has {actual[place]} at {list(place)}, not {expected[place]} ({len(differ)} of {actual.size} values differ)"


def read_outputs(answer: bytes) -> Arrays:
    """The outputs of a ModelInfer. Raises InferenceError for what is none."""
    try:
        return infer_outputs(ModelInferResponse.FromString(answer))
    except DecodeError as error:
        raise InferenceError(grpc.StatusCode.INTERNAL, "the answer is not a ModelInferResponse") from error


def read_message(answer: bytes) -> Arrays:
    """Any other method's answer: its bytes, which have to be the same."""
    return {"message": np.frombuffer(answer, np.uint8)}


def _prefixed(requests: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    return [("" if len(requests) == 1 else f"{name}/", request) for name, request in requests.items()]


def _to_file(name: str, array: Array) -> Array:
    # NumPy's file format has no bfloat16; float32 holds each of its values exactly.
    if array.dtype == ml_dtypes.bfloat16:
        return array.astype(np.float32)
    if array.dtype != np.object_:
        return array
    # NumPy's fixed-width bytes lose zero bytes at their end.
    texts = array.astype(np.bytes_)
    if not np.array_equal(texts.astype(np.object_), array):
        raise ValueError(f"{name}: a text that ends with a zero byte cannot be kept in an .npz file")
    return texts


def _equal(expected: Array, actual: Array, tolerance: Tolerance) -> Array:
    if expected.dtype.kind in _EXACT and actual.dtype.kind in _EXACT:
        return np.asarray(expected == actual, np.bool_)
    # Strings where numbers are expected, or the reverse: all of them differ.
    if "O" in (expected.dtype.kind, actual.dtype.kind):
        return np.zeros(expected.shape, np.bool_)
    # In float64: a tolerance may be finer than FP16 or BF16 are. A NaN is right where one is expected.
    values, right = actual.astype(np.float64), expected.astype(np.float64)
    return np.isclose(values, right, tolerance.relative, tolerance.absolute, equal_nan=True)
