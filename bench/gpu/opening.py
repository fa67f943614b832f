"""Engines opened on GPU 0 without a server, and the memory that they take there."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from yais.engines import Array, Context, Engine, EngineOptions, open_engine
from yais.engines.cuda.device import open_device
from yais.engines.cuda.driver import CudaDriver

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Way:
    """How an engine is run: so many contexts, with CUDA graphs or without, from memory that is page-locked or not."""

    contexts: int = 4
    graphs: bool = True
    page_locked: bool = True

    def flags(self) -> list[str]:
        """Of the programs here that take a way; `Way.of` reads them."""
        return [f"{self.contexts}", f"{self.graphs:d}", f"{self.page_locked:d}"]

    @classmethod
    def of(cls, flags: Sequence[str]) -> "Way":
        contexts, graphs, page_locked = map(int, flags)
        return cls(contexts, bool(graphs), bool(page_locked))


class Pageable(CudaDriver):
    """CUDA that is told of no memory on the host, which it then has to copy from in pieces."""

    def pin(self, pages: Array) -> None:
        pass

    def unpin(self, pages: Array) -> None:
        pass


def open_on_gpu(path: Path, way: Way) -> Engine:
    """Raises `EngineError`."""
    device = open_device(0)
    if not way.page_locked:
        device.cuda = Pageable()
    return open_engine(path, EngineOptions(way.contexts, device="cuda", graphs=way.graphs))


def filled(engine: Engine) -> Context:
    """A context whose inputs are random numbers, the same for all."""
    context = engine.create_context()
    context.fit([spec.shape for spec in engine.inputs])
    for buffer in context.inputs.values():
        buffer[:] = noise(buffer.shape, buffer.dtype)
    return context


def noise(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
    """Pixels, or floats in [0, 1)."""
    rng = np.random.default_rng(0)
    if dtype.kind in "iu":
        return rng.integers(0, 256 if dtype == np.uint8 else 100, shape, dtype)
    return rng.random(shape, np.float32).astype(dtype)


def used_mib() -> float:
    """What is taken of the memory of GPU 0, by whomever."""
    driver = import_module("pycuda.driver")
    with open_device(0):
        free, total = driver.mem_get_info()
    return float(total - free) / _MIB
