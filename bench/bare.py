"""The other yardstick: ONNX Runtime alone, which runs a model again and again on buffers bound once."""

import json
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_WARM_UP = 3


def open_session(path: Path) -> Any:
    """A session of one thread on the CPU, which is what the server opens on one core."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # Read when the library is loaded, hence no import above.
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_once(path: Path, value: Array) -> Array:
    """What the only output of a model should be."""
    session = open_session(path)
    output: Array
    (output,) = session.run(None, {session.get_inputs()[0].name: value})
    return output


def images_per_second(path: Path, count: int) -> float:
    """How fast `count` runs of the model go, one picture each."""
    session = open_session(path)
    binding = session.io_binding()
    name, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape
    binding.bind_cpu_input(name, np.random.default_rng(0).random((1, *shape[1:]), np.float32))
    binding.bind_output(session.get_outputs()[0].name, "cpu")
    for _ in range(_WARM_UP):
        session.run_with_iobinding(binding)
    started = perf_counter()
    for _ in range(count):
        session.run_with_iobinding(binding)
    return count / (perf_counter() - started)


if __name__ == "__main__":
    print(json.dumps(images_per_second(Path(sys.argv[1]), int(sys.argv[2]))))
