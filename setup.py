"""Compiles the wire contracts of `proto/` whenever the package is built; all else is in pyproject.toml."""

import re
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc
from setuptools import setup
from setuptools.command.build_py import build_py

PROTO = Path(__file__).parent / "proto"
CONTRACTS = ("model_config", "grpc_service")


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


setup(cmdclass={"build_py": BuildPy})
