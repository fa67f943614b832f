"""Servers of the protocol that are compared, as many as can run here; `make_peers.sh` installs Triton and MLServer."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from bench.measure import (
    BUILD,
    PEERS_FOLDER,
    Cores,
    NotInstalledError,
    Subject,
    engine,
    free_port,
    launched,
    pinned,
    yais,
)
from bench.service.questions import ModelRequest, Question, echo, infer, reflect, wait_until_answered
from bench.transport.contract import require
from bench.transport.peers import ECHO_SERVERS, available

Backend = Literal["python", "bare"]

_BACKENDS = Path(__file__).with_name("models")
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

_MLSERVER_RUNTIME = Path(__file__).with_name("models") / "mlserver_identity.py"
_MLSERVER = BUILD / "mlserver"

# All in one process, and without a line of log for each request, which is MLServer's default.
_MLSERVER_SETTINGS = {"HOST": "127.0.0.1", "PARALLEL_WORKERS": 0, "DEBUG": "false"}

ServerName = Literal[
    "C++",
    "C++, keeping memory",
    "YAIS",
    "YAIS, grpcio",
    "grpc.aio",
    "Triton, C++ backend",
    "Triton, Python backend",
    "MLServer",
]

YARDSTICK: ServerName = "C++"

_MODELS = ("identity", "mlp")


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
        # The metrics stay on, as they do for YAIS.
        *("--grpc-address=127.0.0.1", f"--grpc-port={port}", "--allow-http=false", "--allow-metrics=true"),
        *("--metrics-address=127.0.0.1", f"--metrics-port={free_port()}"),
    ]


def environment(name: str) -> Path:
    """The folder of one of the environments that `make_peers.sh` makes."""
    folder = PEERS_FOLDER / name
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
            shutil.copy(_BACKENDS / f"triton_{model}.py", version / "model.py")
        else:
            shutil.copy(_bare_backend(), version)
        if model == "mlp":
            _write_weights(version)
    return folder


def _write_weights(folder: Path) -> None:
    import onnx

    model = onnx.load(engine("mlp"))
    # In the order in which the nodes take them.
    hidden, hidden_bias, output, output_bias = map(onnx.numpy_helper.to_array, model.graph.initializer)
    weights = (hidden.T, hidden_bias, output.T, output_bias)
    np.savez(folder / "weights.npz", *weights)
    (folder / "weights.bin").write_bytes(b"".join(each.astype("<f4").tobytes() for each in weights))


def _bare_backend() -> Path:
    """`triton_bare.cc`, compiled when it is older than its source."""
    source, compiled = _BACKENDS / "triton_bare.cc", _REPOSITORIES / "libtriton_bare.so"
    if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
        require("c++")
        _REPOSITORIES.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_REPOSITORIES) as folder:
            made = Path(folder, compiled.name)
            # It multiplies the matrices by hand, and should have all instructions that the core has.
            flags = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC")
            finished = subprocess.run(["c++", *flags, "-o", str(made), str(source)], capture_output=True, text=True)
            if finished.returncode:
                raise NotInstalledError(f"{source.name} could not be compiled:\n{finished.stderr}")
            # At once, so that Triton never loads a part of it.
            os.replace(made, compiled)
    return compiled


def mlserver(port: int) -> list[str]:
    """The command of an MLServer that serves identity on `port`, with its metrics on."""
    folder = environment("mlserver-1.7")
    _MLSERVER.mkdir(parents=True, exist_ok=True)
    shutil.copy(_MLSERVER_RUNTIME, _MLSERVER)
    settings = {"name": "identity", "implementation": "mlserver_identity.Identity"}
    (_MLSERVER / "model-settings.json").write_text(json.dumps(settings))
    ports = {"GRPC_PORT": port, "HTTP_PORT": free_port(), "METRICS_PORT": free_port()}
    variables = [f"MLSERVER_{name}={value}" for name, value in {**_MLSERVER_SETTINGS, **ports}.items()]
    return ["env", *variables, str(folder / "bin" / "mlserver"), "start", str(_MLSERVER)]


@dataclass(frozen=True, slots=True)
class InferenceServer:
    """A server: its command for a port, which raises `NotInstalledError` where it cannot run, and what to ask of it.

    `part` is that of a round's requests: it keeps the rounds of a slow server from taking all the time there is.
    """

    command: Callable[[int], list[str]]
    question: Callable[[ModelRequest], Question] = infer
    part: float = 1
    models: tuple[str, ...] = _MODELS


def _yais(port: int, *flags: str) -> list[str]:
    return [*yais(*map(engine, _MODELS), port=port), *flags]


def _echo(name: Literal["C++", "C++, keeping memory"], port: int) -> list[str]:
    return [*ECHO_SERVERS[name].command(), str(port)]


SERVERS: dict[ServerName, InferenceServer] = {
    "C++": InferenceServer(partial(_echo, "C++"), echo),
    "C++, keeping memory": InferenceServer(partial(_echo, "C++, keeping memory"), echo),
    "YAIS": InferenceServer(_yais),
    "YAIS, grpcio": InferenceServer(lambda port: _yais(port, "--transport", "grpcio"), part=0.1),
    "grpc.aio": InferenceServer(
        lambda port: [sys.executable, "-m", "bench.service.aio_echo", str(port)], reflect, part=0.1
    ),
    "Triton, C++ backend": InferenceServer(lambda port: triton(port, "bare", _MODELS), part=0.3),
    "Triton, Python backend": InferenceServer(lambda port: triton(port, "python", _MODELS), part=0.1),
    "MLServer": InferenceServer(mlserver, part=0.04, models=("identity",)),
}


@contextmanager
def serving(names: Sequence[ServerName], cores: Cores) -> Iterator[dict[ServerName, Subject]]:
    """All of the servers that can run here, on their core, while this process keeps to the load's."""
    ports = {name: free_port() for name in names}
    with ExitStack() as stack:
        commands = available({name: partial(SERVERS[name].command, ports[name]) for name in names})
        stack.enter_context(pinned(cores.load))
        # All are started before the first is measured, and sleep on their core while another has its turn.
        yield {
            name: stack.enter_context(_served(name, command, ports[name], cores.server))
            for name, command in commands.items()
        }


@contextmanager
def _served(name: ServerName, command: list[str], port: int, core: int) -> Iterator[Subject]:
    """A server that has answered."""
    with launched(name, command, core, heard=False) as child:
        wait_until_answered(child, port, [SERVERS[name].question(ModelRequest("identity", (1,)))])
        yield child.subject(port)
