"""The contract of the echo service, compiled where it is first needed, and the bytes of its messages."""

import importlib
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

from bench.measure import BUILD, BenchError, NotInstalledError

PROTO = Path(__file__).with_name("echo.proto")
FOLDER = BUILD / "transport"
METHOD = "/bench.Echo/Do"


Transport = Literal["native", "grpcio"]


class Contract(NamedTuple):
    """The two modules that are generated from `echo.proto`."""

    messages: Any
    service: Any


def contract() -> Contract:
    """Imports the modules, and compiles them before when they are not as new as the contract."""
    newest = FOLDER / "echo_pb2_grpc.py"
    if not newest.exists() or newest.stat().st_mtime < PROTO.stat().st_mtime:
        _compile()
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return Contract(importlib.import_module("echo_pb2"), importlib.import_module("echo_pb2_grpc"))


def interface(transport: Transport) -> Any:
    """The module with `server` and `insecure_channel`, which both transports have."""
    return importlib.import_module({"native": "yais.transport", "grpcio": "grpc.aio"}[transport])


def message(size: int) -> Any:
    """A message that carries `size` bytes, always the same ones."""
    return contract().messages.Message(id=7, raw=Random(size).randbytes(size))


def body(message: bytes) -> bytes:
    """A message as it goes through HTTP/2, behind its length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def _compile() -> None:
    """Compiles into a folder of its own first, since a process beside this one may be reading or compiling as well."""
    if not find_spec("grpc_tools"):
        raise NotInstalledError("grpcio-tools: not installed (pip install 'yais[bench]')")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        arguments = [f"-I{PROTO.parent}", f"--python_out={folder}", f"--grpc_python_out={folder}", str(PROTO)]
        if subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments]).returncode:
            raise BenchError(f"protoc could not compile {PROTO}")
        for name in ("echo_pb2.py", "echo_pb2_grpc.py"):
            os.replace(Path(folder, name), FOLDER / name)
