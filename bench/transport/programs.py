"""The C++ programs, compiled when they are older than their sources; and what is needed for that."""

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.measure import NotInstalledError
from bench.transport.contract import FOLDER, PROTO

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


def program(name: str) -> Path:
    """The program made of `name`.cc; raises `NotInstalledError` when it cannot be compiled here."""
    source, compiled = Path(__file__).with_name(f"{name}.cc"), FOLDER / name
    newest = max(path.stat().st_mtime for path in (source, PROTO))
    if not compiled.exists() or compiled.stat().st_mtime < newest:
        require("c++", "pkg-config", "protoc", "grpc_cpp_plugin", *_LIBRARIES)
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            os.replace(_compile(source, Path(folder)), compiled)
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


def _compile(source: Path, folder: Path) -> Path:
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
