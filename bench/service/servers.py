"""Triton as `make_peers.sh` installs it: its command, and repositories of models for two of its backends."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from bench.closed_loop import Array
from bench.measure import BUILD, PEERS, NotInstalledError, engine, free_port
from bench.transport.programs import require

Backend = Literal["python", "bare"]

_MODELS = Path(__file__).with_name("models")
_REPOSITORIES = BUILD / "triton"

# Triton's own defaults, except that mlp batches.
_CONFIGS = {
    "identity": """\
max_batch_size: 0
input [{ name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }]
output [{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }]
""",
    "mlp": """\
max_batch_size: 64
input [{ name: "INPUT0" data_type: TYPE_FP32 dims: [ 64 ] }]
output [{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 10 ] }]
dynamic_batching { }
""",
}


def triton(port: int, backend: Backend, models: Sequence[str]) -> list[str]:
    """The command of a Triton that serves `models` on `port`, with its metrics on."""
    folder = environment("triton-2.51")
    (packages,) = folder.glob("lib/python3*/site-packages")
    server = packages / "pytriton" / "tritonserver"
    return [
        # The processes of the Python backend look for numpy where these two say.
        *("env", f"PATH={folder / 'bin'}:/usr/bin:/bin", f"PYTHONPATH={packages}"),
        str(server / "bin" / "tritonserver"),
        f"--model-repository={_repository(backend, models)}",
        f"--backend-directory={server / 'backends'}",
        f"--cache-directory={server / 'caches'}",
        *("--grpc-address=127.0.0.1", f"--grpc-port={port}", "--allow-http=false", "--allow-metrics=true"),
        *("--metrics-address=127.0.0.1", f"--metrics-port={free_port()}"),
    ]


def environment(name: str) -> Path:
    """The folder of one of the environments that `make_peers.sh` makes."""
    folder = PEERS / name
    if not (folder / ".complete").exists():
        raise NotInstalledError(f"{name}: not installed (bench/service/make_peers.sh)")
    return folder


def _repository(backend: Backend, models: Sequence[str]) -> Path:
    folder = _REPOSITORIES / "-".join((backend, *models))
    for model in models:
        version = folder / model / "1"
        version.mkdir(parents=True, exist_ok=True)
        (folder / model / "config.pbtxt").write_text(f'name: "{model}"\nbackend: "{backend}"\n{_CONFIGS[model]}')
        if backend == "python":
            shutil.copy(_MODELS / f"triton_{model}.py", version / "model.py")
        else:
            shutil.copy(_bare_backend(), version)
        if model == "mlp":
            _write_weights(version)
    return folder


def _write_weights(folder: Path) -> None:
    hidden, hidden_bias, output, output_bias = _weights(engine("mlp"))
    weights = (hidden.T, hidden_bias, output.T, output_bias)
    np.savez(folder / "weights.npz", *weights)
    (folder / "weights.bin").write_bytes(b"".join(each.astype("<f4").tobytes() for each in weights))


def _weights(path: Path) -> list[Array]:
    """The weights of an engine, in the order in which its nodes take them."""
    import onnx

    return [onnx.numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer]


def _bare_backend() -> Path:
    """`triton_bare.cc`, compiled when it is older than its source."""
    source, compiled = _MODELS / "triton_bare.cc", _REPOSITORIES / "libtriton_bare.so"
    if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
        require("c++")
        _REPOSITORIES.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_REPOSITORIES) as folder:
            made = Path(folder, compiled.name)
            flags = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC")
            finished = subprocess.run(["c++", *flags, "-o", str(made), str(source)], capture_output=True, text=True)
            if finished.returncode:
                raise NotInstalledError(f"{source.name} could not be compiled:\n{finished.stderr}")
            os.replace(made, compiled)
    return compiled
