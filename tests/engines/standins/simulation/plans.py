"""Plans of the simulated TensorRT: a header as real ones have it, and behind it an ONNX model with its profiles."""

import json
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from simulation.networks import Network, Shape

# Magic, nothing, a number, the size of all, the version, the checksum of what follows the header.
_HEADER = struct.Struct("<4sIQQ4BI32x")
_MAGIC = b"ftrt"

# The least, best and largest shape of each input.
Profile = Mapping[str, Sequence[Shape]]


def tensorrt_version() -> tuple[int, ...]:
    return tuple(map(int, os.environ.get("YAIS_SIMULATED_TENSORRT", "10.13.0.35").split(".")))


class PlanError(Exception):
    """What TensorRT logs of a plan that it does not take."""


@dataclass(frozen=True)
class About:
    """What a plan says of itself besides its model."""

    name: str
    profiles: list[dict[str, list[list[int]]]]
    capability: list[int]
    hardware: str = "NONE"
    verbosity: str = "LAYER_NAMES_ONLY"
    has_host_code: bool = False


def make_plan(
    model: onnx.ModelProto,
    profiles: Sequence[Profile] = (),
    capability: tuple[int, int] = (8, 0),
    version: tuple[int, ...] | None = None,
    **about: Any,
) -> bytes:
    """A plan of `model` with these profiles, as if it had been built on a GPU of `capability` by this TensorRT.

    Inputs without varying dimensions need not be in the profiles. `about`: further fields of `About`.
    """
    data = model.SerializeToString()
    network = Network(data)
    full = [_full(network, profile) for profile in profiles or [{}]]
    told = {"name": model.graph.name, "hardware": "NONE", **about}
    return encode(About(profiles=full, capability=list(capability), **told), data, version or tensorrt_version())


def encode(about: About, model: bytes, version: tuple[int, ...]) -> bytes:
    text = json.dumps(asdict(about)).encode()
    body = struct.pack("<I", len(text)) + text + model
    return _HEADER.pack(_MAGIC, 0, 2, _HEADER.size + len(body), *version, zlib.crc32(body)) + body


def decode(data: bytes) -> tuple[About, bytes]:
    """Raises `PlanError` with TensorRT's own words."""
    if data[:4] != _MAGIC:
        raise PlanError(_serialization("magicTagRead == kMAGIC_TAG", "Magic tag does not match"))
    if len(data) < _HEADER.size or _HEADER.unpack_from(data)[3] != len(data):
        said = "Size specified in header does not match archive size"
        raise PlanError(_serialization("sizeRead == static_cast<uint64_t>(mEnd - mCurrent)", said))
    version, checksum = _HEADER.unpack_from(data)[4:8], _HEADER.unpack_from(data)[8]
    body = data[_HEADER.size :]
    if zlib.crc32(body) != checksum:
        raise PlanError(_serialization("checksumRead == checksumComputed", "Checksum does not match"))
    (length,) = struct.unpack_from("<I", body)
    about = About(**json.loads(body[4 : 4 + length]))
    if not about.has_host_code and version != tensorrt_version():
        raise PlanError(_incompatible("not compatible with this version of TensorRT", "library version", version))
    return about, body[4 + length :]


def check_device(about: About, capability: tuple[int, int]) -> None:
    """Raises `PlanError` when a GPU of `capability` cannot run it."""
    made = tuple(about.capability)
    if about.hardware == "AMPERE_PLUS" and capability >= (8, 0):
        return
    if made != capability:
        raise PlanError(
            "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine plan file is generated on an "
            f"incompatible device, expecting compute {_dotted(capability)} got compute {_dotted(made)}, "
            "please rebuild.)"
        )


def _full(network: Network, profile: Profile) -> dict[str, list[list[int]]]:
    for name in profile:
        assert name in network.inputs, f"no input {name}"
    shapes = {name: profile.get(name, [tensor.shape] * 3) for name, tensor in network.inputs.items()}
    for name, bounds in shapes.items():
        assert all(-1 not in shape for shape in bounds), f"the profile lacks {name}, whose shape varies"
    return {name: [list(shape) for shape in bounds] for name, bounds in shapes.items()}


def _serialization(condition: str, said: str) -> str:
    return f"Error Code 1: Serialization (Serialization assertion {condition} failed.{said})"


def _incompatible(how: str, what: str, version: tuple[int, ...]) -> str:
    return (
        f"IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine plan file is {how}, expecting "
        f"{what} {_dotted(tensorrt_version())} got {_dotted(version)}, please rebuild.)"
    )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
