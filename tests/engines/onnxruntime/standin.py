"""ONNX Runtime with a CUDA provider, on a machine without a GPU: it notes what is asked of it, and has the CPU compute.

A GPU's memory is memory of the host here, so what is bound to an address is really read and written there.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from engines.onnxruntime.standin_gpu import Gpu, WatchedLock

from yais.engines import Array, Context, EngineOptions
from yais.engines.onnxruntime.cuda import OrtCudaEngine, open_onnx_on_ort_cuda

PROVIDERS = ["CUDAExecutionProvider", "CPUExecutionProvider"]


@contextmanager
def stood_in() -> Iterator["Runtime"]:
    """Has engines find the stand-in. Afterwards nothing may have been done that a GPU would not have forgiven."""
    lock = WatchedLock()
    runtime = Runtime(lock, Gpu(lock))
    with pytest.MonkeyPatch.context() as patched:
        for module in ("cuda", "graphs"):
            patched.setattr(f"yais.engines.onnxruntime.{module}.CAPTURE_LOCK", lock)
        patched.setattr("yais.engines.onnxruntime.cuda.ort", runtime)
        patched.setattr("yais.engines.onnxruntime.cuda.open_device", lambda index: runtime.gpu)
        yield runtime
    assert runtime.violations == []


def opened(path: Path, device: int = 0, **options: Any) -> OrtCudaEngine:
    return open_onnx_on_ort_cuda(path, EngineOptions(threads=1, device="cuda", **options), device)


def run(context: Context, **inputs: Array) -> dict[str, Array]:
    """Runs rows, and gives those of the outputs."""
    rows = len(next(iter(inputs.values())))
    context.fit(tuple(array.shape[1:] for array in inputs.values()))
    for name, array in inputs.items():
        context.inputs[name][:rows] = array
    assert context.execute(rows).infer_ns > 0
    return {name: array[:rows].copy() for name, array in context.outputs.items()}


def check_sums(context: Context, rows: int, start: int = 0) -> None:
    """Of the model that adds and subtracts."""
    first = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3) + start
    result = run(context, A=first, B=2 * first)
    np.testing.assert_array_equal(result["SUM"], 3 * first, strict=True)
    np.testing.assert_array_equal(result["DIFF"], -first, strict=True)


@dataclass(frozen=True, slots=True)
class Ran:
    """A run: the number of its graph, none without graphs, and whether it was recorded in it, or replayed."""

    session: int
    thread: int
    graph: str | None = None
    is_recording: bool = False


@dataclass
class Runtime:
    """The module. `refusals`: what is raised by sessions when they are made, `failures`: by runs; None raises nothing.

    `sessions`: those that are alive. For each session, in the order in which they were made, `options`: those of the
    CUDA provider, and `others`: how many there were besides.
    """

    lock: WatchedLock
    gpu: Gpu
    loaded: list[str] = field(default_factory=lambda: list(PROVIDERS))
    available: list[str] = field(default_factory=lambda: list(PROVIDERS))
    refusals: list[str | None] = field(default_factory=list)
    failures: list[str | None] = field(default_factory=list)
    ran: list[Ran] = field(default_factory=list)
    bound: list[tuple[Any, ...]] = field(default_factory=list)
    options: list[dict[str, str]] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    sessions: "weakref.WeakSet[Session]" = field(default_factory=weakref.WeakSet)
    preloaded: int = 0
    __file__: str = ort.__file__
    violations: list[str] = field(default_factory=list)

    def get_available_providers(self) -> list[str]:
        return self.available

    def preload_dlls(self) -> None:
        print("Failed to load libcufft.so.12")
        self.preloaded += 1

    def InferenceSession(
        self, path: Path, options: ort.SessionOptions, providers: list[Any], enable_fallback: int
    ) -> "Session":
        assert not enable_fallback
        (name, provider_options), last = providers
        assert [name, last] == PROVIDERS
        self.require(self.lock.mode is not None, "a session was made outside of the lock")
        _raise_next(self.refusals)
        self.options.append(provider_options)
        self.others.append(len(self.sessions))
        made = Session(self, len(self.options), path, options, provider_options["enable_cuda_graph"] == "1")
        self.sessions.add(made)
        return made

    def require(self, is_so: bool, otherwise: str) -> None:
        if not is_so:
            self.violations.append(otherwise)


class Session:
    """With graphs, a run is recorded for its thread and number, and from then on always done as it was recorded."""

    def __init__(
        self, runtime: Runtime, number: int, path: Path, options: ort.SessionOptions, has_graphs: bool
    ) -> None:
        self.runtime = runtime
        self._lock, self._require = runtime.lock, runtime.require
        self.number = number
        self.recorded: dict[tuple[int, str], ort.IOBinding] = {}
        self.real = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.has_graphs = has_graphs

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    @property
    def _sess(self) -> "Session":
        return self

    def get_providers(self) -> list[str]:
        return self.runtime.loaded

    def io_binding(self) -> "Binding":
        return Binding(self)

    def run_with_iobinding(self, binding: "Binding", options: ort.RunOptions) -> None:
        if self.has_graphs:
            self._run_graph(binding, options.get_run_config_entry("gpu_graph_id"))
        else:
            self._run(binding.real, Ran(self.number, get_ident()))

    def _run_graph(self, binding: "Binding", graph: str) -> None:
        key = get_ident(), graph
        is_recording = key not in self.recorded
        self._run(self.recorded.get(key, binding.real), Ran(self.number, get_ident(), graph, is_recording))
        if is_recording:
            self._require(self._lock.mode == "exclusive", "a graph was recorded while others may have used the GPU")
            self._require(all(device == "cuda" for _, _, device, *_ in binding.calls), "a graph has no fixed memory")
            self.recorded[key] = _bound(self.real, binding.calls)

    def __del__(self) -> None:
        self._require(not self.recorded or self._lock.mode is not None, "graphs ended outside of the lock")

    def _run(self, binding: ort.IOBinding, ran: Ran) -> None:
        self._require(self._lock.mode is not None, "a run was made outside of the lock")
        self.runtime.ran.append(ran)
        _raise_next(self.runtime.failures)
        self.real._sess.run_with_iobinding(binding._iobinding, None)


class Binding:
    """The addresses of a GPU are the host's."""

    def __init__(self, session: Session) -> None:
        self.runtime, self.number = session.runtime, session.number
        self.real = session.real.io_binding()
        self.calls: list[tuple[Any, ...]] = []

    @property
    def _iobinding(self) -> "Binding":
        return self

    def bind_input(self, name: str, device: str, *rest: Any) -> None:
        self._bind("bind_input", name, device, *rest)

    def bind_output(self, name: str, device: str, *rest: Any) -> None:
        self._bind("bind_output", name, device, *rest)

    def get_outputs(self) -> Any:
        return self.real.get_outputs()

    def _bind(self, *call: Any) -> None:
        self.calls.append(call)
        self.runtime.bound.append((self.number, *call))
        _bind(self.real, *call)


def _bound(session: ort.InferenceSession, calls: list[tuple[Any, ...]]) -> ort.IOBinding:
    made = session.io_binding()
    for call in calls:
        _bind(made, *call)
    return made


def _bind(binding: ort.IOBinding, method: str, name: str, device: str, *rest: Any) -> None:
    getattr(binding, method)(name, "cpu", *((0, *rest[1:]) if rest else ()))


def _raise_next(texts: list[str | None]) -> None:
    text = texts.pop(0) if texts else None
    if text is not None:
        raise ort.capi.onnxruntime_pybind11_state.RuntimeException(text)
