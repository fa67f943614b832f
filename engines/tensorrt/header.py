"""The first bytes of a plan: which TensorRT made it.

Source: NVIDIA's answer in github.com/NVIDIA/TensorRT/issues/3073 for the version, and the plans of TensorRT-RTX.
"""

from dataclasses import dataclass

from yais.engines.base import EngineError
from yais.engines.tensorrt.library import Kind

_MAGIC: dict[bytes, Kind] = {b"ftrt": "tensorrt", b"vtrt": "tensorrt-rtx"}
_VERSION = slice(24, 28)


class PlanError(EngineError):
    """A plan that cannot be loaded here for what it is; another plan of the same model may be."""


@dataclass(frozen=True, slots=True)
class Header:
    """Who made a plan: `version` is major, minor, patch and build."""

    kind: Kind
    version: tuple[int, ...]

    @property
    def title(self) -> str:
        name = "TensorRT" if self.kind == "tensorrt" else "TensorRT-RTX"
        return f"{name} {'.'.join(map(str, self.version))}"


def read_header(plan: bytes) -> Header:
    """Raises `PlanError` for what is no plan."""
    kind = _MAGIC.get(plan[:4])
    if kind is None:
        raise PlanError("not a TensorRT plan: it does not begin as one does")
    if len(plan) < _VERSION.stop:
        raise PlanError(f"not a whole TensorRT plan: it has {len(plan)} bytes")
    return Header(kind, tuple(plan[_VERSION]))
