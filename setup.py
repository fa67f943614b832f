"""Compiles the wire contracts of `proto/` and the extension modules of `transport/`; all else is in pyproject.toml."""

import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from Cython.Build import cythonize
from grpc_tools import protoc
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PROTO = ROOT / "proto"
TRANSPORT = ROOT / "transport"
CONTRACTS = ("model_config", "grpc_service")

WITHOUT_NGHTTP2 = """
YAIS's native transport is built on libnghttp2 (1.52 or newer), which pkg-config does not find. Install it with
    Debian, Ubuntu:  apt-get install libnghttp2-dev pkg-config
    Fedora, RHEL:    dnf install libnghttp2-devel pkgconf-pkg-config
    macOS:           brew install libnghttp2 pkg-config
"""


def compile_contracts() -> None:
    """Writes the modules of each contract, with their stubs, beside it.

    protoc imports a sibling by its bare name, which only works on `sys.path`; as part of a package it must be relative.
    """
    includes = [f"-I{PROTO}", f"-I{files('grpc_tools') / '_proto'}"]
    outputs = [f"--{kind}_out={PROTO}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", *includes, *outputs, *(f"{name}.proto" for name in CONTRACTS)]):
        raise SystemExit("protoc could not compile proto/*.proto")
    for generated in PROTO.glob("*_pb2*.py*"):
        text = generated.read_text()
        generated.write_text(re.sub(r"^import (\w+_pb2) as", r"from . import \1 as", text, flags=re.MULTILINE))


class BuildPy(build_py):
    """`build_py` after the contracts, for wheels and for editable installs alike."""

    def run(self) -> None:
        compile_contracts()
        super().run()


def extensions() -> list[Extension]:
    """Each `transport/X.pyx` as `yais.transport.X`, its C written under `build/`.

    Cython looks for `yais.transport` in folders of those names, so it is shown the sources through a link.
    """
    package = ROOT / "build" / "cython" / "yais"
    package.mkdir(parents=True, exist_ok=True)
    link = package / "transport"
    if not link.is_symlink():
        link.symlink_to(TRANSPORT)
    modules = [
        Extension(f"yais.transport.{source.stem}", [f"transport/{source.name}"], **nghttp2())
        for source in sorted(TRANSPORT.glob("*.pyx"))
    ]
    return cythonize(
        modules,
        include_path=[str(package.parent)],
        build_dir="build/cython/c",
        compiler_directives={"language_level": 3, "boundscheck": False, "wraparound": False},
    )


def nghttp2() -> dict[str, list[str]]:
    return {"libraries": ["nghttp2"], "extra_compile_args": ["-O2"]}


setup(cmdclass={"build_py": BuildPy}, ext_modules=extensions())
