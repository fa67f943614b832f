"""ONNX Runtime itself, which is imported nowhere else: its sessions, their threads, and the models in them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from yais.engines.base import DEFAULT_MAX_BATCH_SIZE, MAX_BATCH_SIZE_KEY, EngineError, EngineOptions, TensorSpec

# ONNX Runtime's packages report usage to their maker unless told not to before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

__all__ = [
    "ONNX_TYPES",
    "PLATFORM",
    "OrtModel",
    "ort",
    "read_model",
    "read_numeric_model",
    "session_options",
    "threads_per_context",
    "usable_cores",
]

PLATFORM = "onnxruntime_onnx"

_QUOTA_FILE = Path("/sys/fs/cgroup/cpu.max")

# ONNX Runtime's type name -> (numpy dtype, number in ONNX's TensorProto.DataType, which IO binding asks for).
_TYPES: dict[str, tuple[np.dtype[Any], int]] = {
    "tensor(float)": (np.dtype(np.float32), 1),
    "tensor(uint8)": (np.dtype(np.uint8), 2),
    "tensor(int8)": (np.dtype(np.int8), 3),
    "tensor(uint16)": (np.dtype(np.uint16), 4),
    "tensor(int16)": (np.dtype(np.int16), 5),
    "tensor(int32)": (np.dtype(np.int32), 6),
    "tensor(int64)": (np.dtype(np.int64), 7),
    "tensor(string)": (np.dtype(np.object_), 8),
    "tensor(bool)": (np.dtype(np.bool_), 9),
    "tensor(float16)": (np.dtype(np.float16), 10),
    "tensor(double)": (np.dtype(np.float64), 11),
    "tensor(uint32)": (np.dtype(np.uint32), 12),
    "tensor(uint64)": (np.dtype(np.uint64), 13),
    "tensor(bfloat16)": (np.dtype(ml_dtypes.bfloat16), 16),
}
ONNX_TYPES: dict[np.dtype[Any], int] = dict(_TYPES.values())


@dataclass(frozen=True, slots=True)
class OrtModel:
    """What goes into a model and comes out of it; `max_batch_size` is 0 when it has no batch dimension.

    `declares_batch`: whether its file says so.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    declares_batch: bool

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        return (*self.inputs, *self.outputs)

    @property
    def has_strings(self) -> bool:
        return any(spec.dtype.hasobject for spec in self.specs)

    @property
    def is_fixed(self) -> bool:
        return all(spec.is_fixed for spec in self.specs)


def read_model(session: ort.InferenceSession, options: EngineOptions) -> OrtModel:
    """Raises `EngineError` when the model cannot be served."""
    largest = _max_batch_size(session, options)
    return OrtModel(
        tuple(_spec(node, largest) for node in session.get_inputs()),
        tuple(_spec(node, largest) for node in session.get_outputs()),
        largest,
        MAX_BATCH_SIZE_KEY in session.get_modelmeta().custom_metadata_map,
    )


def read_numeric_model(session: ort.InferenceSession, options: EngineOptions) -> OrtModel:
    """As `read_model`; raises `EngineError` for strings as well."""
    model = read_model(session, options)
    for spec in model.specs:
        if spec.dtype.hasobject:
            raise EngineError(f"tensor '{spec.name}' holds strings, which cannot be on a GPU; --device cpu serves it")
    return model


def session_options(options: EngineOptions) -> ort.SessionOptions:
    made = ort.SessionOptions()
    # Errors alone: what ONNX Runtime warns of while it optimises a graph is nothing that a user could change.
    made.log_severity_level = 3
    made.intra_op_num_threads = options.threads or threads_per_context(options.runs or options.contexts, usable_cores())
    # Where a CPU has no VNNI, sums of products of 8 bits would saturate at 16; where it has, this changes nothing.
    made.add_session_config_entry("session.x64quantprecision", "1")
    return made


def usable_cores(quota_file: Path = _QUOTA_FILE) -> int:
    """The cores of the affinity mask, or fewer under a container's CPU quota (cgroup v2); at least 1."""
    # A container's quota takes time, not cores: the affinity mask alone would have threads throttled.
    cores = len(os.sched_getaffinity(0))
    if quota_file.is_file():
        quota, period = quota_file.read_text().split()
        if quota != "max":
            cores = min(cores, int(quota) // int(period))
    return max(1, cores)


def threads_per_context(contexts: int, cores: int) -> int:
    """CPU threads for one run such that `contexts` runs at once fit `cores`; at least 1."""
    # Rounded down: threads of several runs that fight for a core cost more than a core that idles.
    return max(1, cores // contexts)


def _max_batch_size(session: ort.InferenceSession, options: EngineOptions) -> int:
    """What the model declares, bounded by the option; a model that declares nothing batches if every tensor could."""
    declared = session.get_modelmeta().custom_metadata_map.get(MAX_BATCH_SIZE_KEY)
    nodes = (*session.get_inputs(), *session.get_outputs())
    # Fixed dimensions are int; free ones are str, or None where they have no name.
    batchable = bool(session.get_inputs()) and all(node.shape and not isinstance(node.shape[0], int) for node in nodes)
    asked = options.max_batch_size
    if declared is not None and not declared.isdecimal():
        raise EngineError(f"{MAX_BATCH_SIZE_KEY} is {declared!r}, not a number")
    if declared is not None and int(declared) > 0 and not batchable:
        raise EngineError(f"{MAX_BATCH_SIZE_KEY} is {declared}, but a tensor has a fixed first dimension")
    if declared is not None:
        return int(declared) if asked is None else min(int(declared), asked)
    if not batchable:
        return 0
    return DEFAULT_MAX_BATCH_SIZE if asked is None else asked


def _spec(node: ort.NodeArg, max_batch_size: int) -> TensorSpec:
    if node.type not in _TYPES:
        # skl2onnx makes dictionaries of a classifier's probabilities unless told otherwise.
        fix = "; convert it with options={'zipmap': False}" if node.type.startswith("seq(map") else ""
        raise EngineError(f"tensor '{node.name}' is a {node.type}, which the inference protocol cannot carry{fix}")
    shape = tuple(dim if isinstance(dim, int) else -1 for dim in node.shape)
    return TensorSpec(node.name, _TYPES[node.type][0], shape[1:] if max_batch_size else shape)
