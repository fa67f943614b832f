"""ONNX Runtime alone, the other yardstick: it runs a model again and again on buffers bound once."""

import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray


def open_session(path: Path) -> Any:
    """A session of one thread on the CPU, which is what the server opens on one core."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # Read when the library is loaded, hence no import above.
    import onnxruntime as ort

    options = ort.SessionOptions()
    # Errors only.
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_once(path: Path, value: NDArray[Any]) -> NDArray[Any]:
    """What the only output of a model should be."""
    session = open_session(path)
    output: NDArray[Any]
    (output,) = session.run(None, {session.get_inputs()[0].name: value})
    return output


def bound(session: Any, batch: int) -> Any:
    """Buffers for `batch` rows of the only input, filled, and for the only output."""
    binding, (source,), (result,) = session.io_binding(), session.get_inputs(), session.get_outputs()
    binding.bind_cpu_input(source.name, np.random.default_rng(0).random((batch, *source.shape[1:]), np.float32))
    binding.bind_output(result.name, "cpu")
    return binding


def main(path: Path, batch: int) -> None:
    """Reads lines of COUNT, and answers each, once the model has run so often, with the seconds that this took."""
    session = open_session(path)
    binding = bound(session, batch)
    print("ready", flush=True)
    while line := sys.stdin.readline():
        # Timed here, so that the pipe to the parent is not in the figure.
        started = perf_counter()
        for _ in range(int(line)):
            session.run_with_iobinding(binding)
        print(perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
