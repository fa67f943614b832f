"""Engine files: which backend opens which, found by the file's suffix."""

from importlib import import_module
from pathlib import Path

from yais.engines.base import Device, Engine, EngineError, EngineOptions

# (suffix, device) -> "module:function" that takes (path, options); imported only when such a file is opened. A plan is
# run on a GPU whatever is asked for.
_BACKENDS: dict[tuple[str, Device], str] = {
    (".onnx", "cpu"): "yais.engines.ort:open_onnx",
    (".onnx", "cuda"): "yais.engines.gpu:open_onnx_on_gpu",
    (".engine", "cpu"): "yais.engines.gpu:open_plan",
    (".engine", "cuda"): "yais.engines.gpu:open_plan",
    (".plan", "cpu"): "yais.engines.gpu:open_plan",
    (".plan", "cuda"): "yais.engines.gpu:open_plan",
}


def open_engine(path: Path, options: EngineOptions | None = None) -> Engine:
    """Loads the engine in `path`.

    Raises `EngineError` when it is missing, not a regular file, of no known type, or broken.
    """
    options = options or EngineOptions()
    backend = _BACKENDS.get((path.suffix.lower(), options.device))
    if not path.exists():
        raise EngineError(f"engine '{path}': no such file")
    if not path.is_file():
        raise EngineError(f"engine '{path}': not a regular file")
    if backend is None:
        raise EngineError(f"engine '{path}': unknown file type '{path.suffix}', known are {_known()}")
    module, function = backend.split(":")
    engine: Engine = getattr(import_module(module), function)(path, options)
    return engine


def _known() -> str:
    return ", ".join(dict.fromkeys(suffix for suffix, _ in _BACKENDS))
