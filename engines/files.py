"""Engine files: which backend opens which, found by the file's suffix."""

from importlib import import_module
from pathlib import Path

from yais.engines.base import Engine, EngineError, EngineOptions

# suffix -> "module:function" that takes (path, options); imported only when such a file is opened.
BACKENDS = {".onnx": "yais.engines.ort:open_onnx"}


def open_engine(path: Path, options: EngineOptions | None = None) -> Engine:
    """Loads the engine in `path`.

    Raises `EngineError` when it is missing, not a regular file, of no known type, or broken.
    """
    backend = BACKENDS.get(path.suffix.lower())
    if not path.exists():
        raise EngineError(f"engine '{path}': no such file")
    if not path.is_file():
        raise EngineError(f"engine '{path}': not a regular file")
    if backend is None:
        raise EngineError(f"engine '{path}': unknown file type '{path.suffix}', known are {', '.join(BACKENDS)}")
    module, function = backend.split(":")
    engine: Engine = getattr(import_module(module), function)(path, options or EngineOptions())
    return engine
