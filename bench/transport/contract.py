"""Contract of the echo service, and its programs in C++: both are compiled where they are first needed."""

import importlib
import os
import shlex
import shutil
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

_LIBRARIES = ("grpc++", "protobuf")

# What is looked for -> the package that has it on Debian.
_PACKAGES = {
    "c++": "g++",
    "pkg-config": "pkg-config",
    "protoc": "protobuf-compiler",
    "grpc_cpp_plugin": "protobuf-compiler-grpc",
    "grpc++": "libgrpc++-dev",
    "protobuf": "libprotobuf-dev",
    "h2load": "nghttp2-client",
    "valgrind": "valgrind",
    "vgdb": "valgrind",
    "setarch": "util-linux",
    "cc": "gcc",
}


class Contract(NamedTuple):
    """The two modules that are generated from `echo.proto`."""

    messages: Any
    service: Any


def contract() -> Contract:
    """Imports the modules, and compiles them before when they are not as new as the contract."""
    # The last that `_compile_contract` puts there: when it is new, so is the other.
    newest = FOLDER / "echo_pb2_grpc.py"
    if not newest.exists() or newest.stat().st_mtime < PROTO.stat().st_mtime:
        _compile_contract()
    if str(FOLDER) not in sys.path:
        # echo_pb2_grpc imports echo_pb2 by its bare name.
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
    # The first byte says that it is not compressed.
    return b"\0" + len(message).to_bytes(4, "big") + message


def _compile_contract() -> None:
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


def program(name: str) -> Path:
    """The program made of `name`.cc; raises `NotInstalledError` when it cannot be compiled here."""
    source, compiled = Path(__file__).with_name(f"{name}.cc"), FOLDER / name
    newest = max(path.stat().st_mtime for path in (source, PROTO))
    if not compiled.exists() or compiled.stat().st_mtime < newest:
        require("c++", "pkg-config", "protoc", "grpc_cpp_plugin", *_LIBRARIES)
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            # A server that runs the old program keeps it: a rename does not touch its file.
            os.replace(_compile_program(source, Path(folder)), compiled)
    return compiled


def require(*names: str) -> None:
    """Raises `NotInstalledError`, which names all of the tools and libraries `names` that are not installed."""
    if missing := [name for name in names if not _is_installed(name)]:
        packages = " ".join(dict.fromkeys(_PACKAGES[name] for name in missing))
        raise NotInstalledError(f"{', '.join(missing)}: not installed (on Debian: apt-get install {packages})")


def _is_installed(name: str) -> bool:
    if name not in _LIBRARIES:
        return shutil.which(name) is not None
    return shutil.which("pkg-config") is not None and not subprocess.run(["pkg-config", "--exists", name]).returncode


def _compile_program(source: Path, folder: Path) -> Path:
    plugin = f"--plugin=protoc-gen-grpc={shutil.which('grpc_cpp_plugin')}"
    _run("protoc", f"-I{PROTO.parent}", f"--cpp_out={folder}", f"--grpc_out={folder}", plugin, str(PROTO))
    flags = shlex.split(_run("pkg-config", "--cflags", "--libs", *_LIBRARIES))
    generated = [str(folder / "echo.pb.cc"), str(folder / "echo.grpc.pb.cc")]
    _run("c++", "-O2", "-std=c++17", f"-I{folder}", "-o", str(folder / "program"), str(source), *generated, *flags)
    return folder / "program"


def _run(*command: str) -> str:
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        raise NotInstalledError(f"{shlex.join(command)} failed:\n{finished.stderr}")
    return finished.stdout
