import gc
import importlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from yais.engines.cuda.device import CudaDevice, _opened, open_device
from yais.engines.tensorrt.library import Library, find_library

STANDINS = Path(__file__).parent / "standins"
_NAMES = {each.name for each in STANDINS.iterdir()}


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of a simulated machine with one GPU, which pycuda, cuda-bindings and TensorRT then find.

    Afterwards nothing may have been done that a GPU would not have forgiven.
    """
    with monkeypatch.context() as patched:
        patched.syspath_prepend(STANDINS)
        for name in _stood_in():
            patched.delitem(sys.modules, name)
        module = importlib.import_module("simulation")
        module.reset()
        _opened.cache_clear()
        # The collection afterwards is of what the test made, and does not go through all that there is.
        gc.freeze()
        yield module
        assert module.machine().violations == [], "\n".join(module.machine().violations)
        _opened.cache_clear()
        gc.collect()
        gc.unfreeze()
        for name in _stood_in():
            del sys.modules[name]


@pytest.fixture
def device(simulation: Any) -> CudaDevice:
    return open_device(0)


@pytest.fixture(scope="session")
def rtx() -> Library:
    """TensorRT-RTX, which builds without a GPU; there are packages of it for few platforms."""
    if find_spec("tensorrt_rtx") is None and find_spec("tensorrt_rtx_bindings") is None:
        pytest.skip("TensorRT-RTX is not installed")
    return find_library("tensorrt-rtx")


def _stood_in() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] in _NAMES]
