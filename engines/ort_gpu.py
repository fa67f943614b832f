"""ONNX Runtime on a GPU: whether it can be used there, its sessions, and what its errors mean."""

import ctypes
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from yais.engines.base import DeviceLostError, EngineError, EngineOptions
from yais.engines.cuda.device import Device
from yais.engines.ort import session_options
from yais.engines.ort_gate import GATE
from yais.engines.ort_session import Model, ort, read_model

_PROVIDER = "CUDAExecutionProvider"
# What an error says when there is no memory: CUDA's own words, those of ONNX Runtime's arena, of cuBLAS and of cuDNN.
_NO_MEMORY = ("out of memory", "Failed to allocate memory", "ALLOC_FAILED")
# What it says of a model that has control flow, or nodes that only the CPU can run.
_NO_GRAPHS = ("graph capture feature", "CUDA Graph feature")


class NoGraphsError(EngineError):
    """Runs that cannot be recorded as CUDA graphs, while they may well be possible otherwise."""


def require_provider() -> None:
    """Raises `EngineError` when the installed ONNX Runtime is one for CPUs."""
    if _PROVIDER not in ort.get_available_providers():
        raise EngineError("this onnxruntime cannot use a GPU: pip install onnxruntime-gpu instead of onnxruntime")


def open_session(path: Path, options: EngineOptions, gpu: Device, graphs: bool) -> ort.InferenceSession:
    """A session that runs on `gpu`, and on the CPU what the provider cannot. Raises `EngineError`.

    `graphs`: whether it records its runs, which it then does one at a time.
    """
    _preload()
    providers = [(_PROVIDER, _provider_options(gpu, graphs)), "CPUExecutionProvider"]
    with GATE.together(), gpu:
        try:
            # Without the fallback, which prints what went wrong, and goes on with the CPU alone.
            session = ort.InferenceSession(path, session_options(options), providers=providers, enable_fallback=0)
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
            raise _refusal(gpu, error) from error
    if _PROVIDER not in session.get_providers():
        raise EngineError(f"ONNX Runtime's CUDA provider cannot be loaded: {_why_not_loaded()}")
    return session


def read_numbers(session: ort.InferenceSession, options: EngineOptions) -> Model:
    """As `read_model`; raises `EngineError` for strings as well."""
    model = read_model(session, options)
    for spec in model.specs:
        if spec.dtype.hasobject:
            raise EngineError(f"tensor '{spec.name}' holds strings, which cannot be on a GPU; --device cpu serves it")
    return model


def failure(gpu: Device, error: Exception) -> EngineError:
    """What the error of a run comes to. `gpu` is to be current."""
    if not gpu.is_healthy():
        return DeviceLostError(f"GPU {gpu.index} is lost to this process: {error}")
    if any(words in str(error) for words in _NO_MEMORY):
        return EngineError(f"no memory on GPU {gpu.index}: {error}; fewer --contexts, --workspaces or rows need less")
    return EngineError(str(error))


def _refusal(gpu: Device, error: Exception) -> EngineError:
    if any(words in str(error) for words in _NO_GRAPHS):
        return NoGraphsError(str(error))
    found = failure(gpu, error)
    return type(found)(f"ONNX Runtime cannot load it on GPU {gpu.index}: {found}")


def _provider_options(gpu: Device, graphs: bool) -> dict[str, str]:
    """Memory is taken as needed, not doubled, since sessions share the GPU.

    Algorithms of convolutions are not measured: that would be done anew, for seconds, with each size of batch.
    """
    return {
        "device_id": str(gpu.index),
        "enable_cuda_graph": str(int(graphs)),
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
    }


def _preload() -> None:
    """Loads CUDA's libraries from NVIDIA's Python packages, where the provider itself does not look for them.

    It prints what it does not find, of which the provider may need nothing.
    """
    if hasattr(ort, "preload_dlls"):
        with redirect_stdout(StringIO()):
            ort.preload_dlls()


def _why_not_loaded() -> str:
    """ONNX Runtime only prints it."""
    library = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"{error}; pip install 'onnxruntime-gpu[cuda,cudnn]'"
    return "it does not say why"
