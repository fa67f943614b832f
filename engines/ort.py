"""ONNX models on ONNX Runtime's CPU provider.

All contexts share one session, so the weights are in memory once; a session may run from many threads at a time.
"""

from pathlib import Path

from yais.engines.base import EngineError, EngineOptions
from yais.engines.cores import threads_per_context, usable_cores
from yais.engines.ort_context import BoundContext, StringContext
from yais.engines.ort_session import DEFAULT_MAX_BATCH_SIZE, PLATFORM, Model, ort, read_model

__all__ = ["DEFAULT_MAX_BATCH_SIZE", "BoundContext", "OrtEngine", "StringContext", "open_onnx", "ort"]


def open_onnx(path: Path, options: EngineOptions) -> "OrtEngine":
    """Loads an ONNX file. Raises `EngineError` when ONNX Runtime cannot."""
    try:
        session = ort.InferenceSession(path, session_options(options), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
        raise EngineError(f"engine '{path}': not a model that ONNX Runtime can load: {error}") from error
    try:
        return OrtEngine(session, read_model(session, options))
    except EngineError as error:
        raise EngineError(f"engine '{path}': {error}") from error


def session_options(options: EngineOptions) -> ort.SessionOptions:
    made = ort.SessionOptions()
    made.log_severity_level = 3
    made.intra_op_num_threads = options.threads or threads_per_context(options.runs or options.contexts, usable_cores())
    # Where a CPU has no VNNI, sums of products of 8 bits would saturate at 16; where it has, this changes nothing.
    made.add_session_config_entry("session.x64quantprecision", "1")
    return made


class OrtEngine:
    """An ONNX model in one session."""

    platform = PLATFORM
    device = "cpu"

    def __init__(self, session: ort.InferenceSession, model: Model) -> None:
        self.session = session
        self.inputs = model.inputs
        self.outputs = model.outputs
        self.max_batch_size = model.max_batch_size
        self._model = model

    def create_context(self) -> BoundContext | StringContext:
        kind = StringContext if self._model.has_strings else BoundContext
        return kind(self.session, self._model)
