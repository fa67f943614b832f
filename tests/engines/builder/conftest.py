from importlib.util import find_spec

import pytest

from yais.engines.tensorrt.library import Library, find_library


@pytest.fixture(scope="session")
def rtx() -> Library:
    """TensorRT-RTX, which builds without a GPU; there are packages of it for few platforms."""
    if find_spec("tensorrt_rtx") is None and find_spec("tensorrt_rtx_bindings") is None:
        pytest.skip("TensorRT-RTX is not installed")
    return find_library("tensorrt-rtx")
