import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NamedTuple

import pytest

from yais import __version__

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOP = [f"yais/{path.name}" for path in (ROOT / "src" / "yais").glob("*.py")]
FOLDERS = [link.name for link in (ROOT / "src" / "yais").iterdir() if link.is_symlink()]
FILES = {
    "setup.py",
    *(f"src/{name}" for name in TOP),
    "pyproject.toml",
    "MANIFEST.in",
    PROJECT["project"]["readme"],
    *PROJECT["project"]["license-files"],
}
CONTRACTS = ("grpc_service", "model_config")
WHAT_TO_DO = (
    "apt-get install libnghttp2-dev",
    "dnf install libnghttp2-devel",
    "brew install libnghttp2",
    "YAIS_WITHOUT_NATIVE=1",
)

# Prints the names of all modules that an installed `yais` has.
IMPORT_ALL = """
import importlib, pkgutil, yais
for module in sorted(each.name for each in pkgutil.walk_packages(yais.__path__, "yais.")):
    importlib.import_module(module)
    print(module)
"""
USER = """
import numpy as np
from yais.clients import AsyncClient, Client

with Client("localhost:50051") as client:
    outputs = client.infer("mlp", {"INPUT0": np.zeros((1, 64), np.float32)})
    reveal_type(outputs["OUTPUT0"])


async def main() -> None:
    async with AsyncClient("localhost:50051") as client:
        await client.infer("mlp", {"INPUT0": np.zeros((1, 64), np.float32)})
"""

pytestmark = pytest.mark.timeout(600)


class Built(NamedTuple):
    """What a build made, and of which files; `expected` are those of every wheel."""

    sdist: Path
    wheel: Path
    sources: set[str]
    expected: set[str]


def copy_sources(target: Path) -> Path:
    """What a build needs, and nothing that an earlier one has left."""
    left = shutil.ignore_patterns("*.so", "*_pb2*", "__pycache__")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, target / folder, ignore=left)
    for name in FILES:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target / name)
    for folder in FOLDERS:
        (target / "src" / "yais" / folder).symlink_to(Path("..", "..", folder))
    return target


def names(folder: Path) -> set[str]:
    """The files below `folder`; of what is linked, those where they lie."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def run(source: Path, *module: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *module]
    return subprocess.run(command, cwd=source, env=os.environ | environment, capture_output=True, text=True)


def build_wheel(source: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(source, "pip", "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", "dist", ".", **environment)


def packed(wheel: Path) -> set[str]:
    """The files of a wheel, apart from what describes it."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name and not name.endswith("/")}


def expected(source: Path) -> set[str]:
    """What every wheel of a clean `source` holds: all but what is only for building, and what protoc makes."""
    found = {f"yais/{name}" for folder in FOLDERS for name in names(source) if name.startswith(f"{folder}/")}
    made = {f"yais/proto/{name}_{kind}" for name in CONTRACTS for kind in ("pb2.py", "pb2.pyi", "pb2_grpc.py")}
    return set(TOP) | {name for name in found if not name.endswith(".pyx")} | made


def python_with(wheel: Path, folder: Path) -> Path:
    """A Python that has `wheel`, and all that this one has but its YAIS, which a .pth file of its own brings."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    return folder / "bin" / "python"


def install(requirement: str, folder: Path) -> Path:
    """The Python of a new environment in `folder` that has `requirement`, what that requires, and nothing else."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, requirement], check=True)
    return python


def module_names() -> Iterator[str]:
    """All modules and packages of `yais`, as the working copy has them: extension modules by their sources."""
    yield from (f"yais.{Path(name).stem}" for name in TOP if name != "yais/__init__.py")
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py*"):
            parts = ("yais", *path.relative_to(ROOT).with_suffix("").parts)
            if path.suffix in (".py", ".pyx"):
                yield ".".join(parts[:-1] if path.stem == "__init__" else parts)


def check_types(python: Path, folder: Path) -> None:
    """Has pyright read a user's file, with the packages of `python`."""
    (folder / "user.py").write_text(USER)
    done = run(folder, "pyright", "--pythonpath", str(python), "user.py")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "0 errors, 0 warnings, 1 information"), done.stdout
    assert 'Type of "outputs["OUTPUT0"]" is "ndarray[' in done.stdout


def serve(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [python, "-c", "from yais.server.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The source distribution of what an earlier build has left files in, and the wheel that is made of it."""
    source = copy_sources(tmp_path_factory.mktemp("source"))
    sources, everything = names(source), expected(source)
    (source / "proto" / "grpc_service_pb2.py").touch()
    (source / "transport" / "wire.so").touch()
    done = run(source, "build", "--no-isolation")
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,) = (source / "dist").glob("yais-*.tar.gz")
    (wheel,) = (source / "dist").glob("yais-*.whl")
    return Built(sdist, wheel, sources, everything)


def test_a_build_without_nghttp2_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = build_wheel(copy_sources(tmp_path / "source"), PKG_CONFIG_LIBDIR=str(tmp_path / "empty"), PKG_CONFIG_PATH="")
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "needs libnghttp2, which pkg-config does not find" in said
    assert [line for line in WHAT_TO_DO if line not in said] == []
    assert "Traceback" not in said


def test_a_build_without_pkg_config_says_what_to_install(tmp_path: Path) -> None:
    done = run(copy_sources(tmp_path), "setup", "build_ext", PKG_CONFIG=str(tmp_path / "absent"))
    assert (done.returncode, "which pkg-config does not find" in done.stderr) == (1, True)


def test_an_nghttp2_without_its_protections_is_refused(tmp_path: Path) -> None:
    headers = tmp_path / "include" / "nghttp2"
    headers.mkdir(parents=True)
    (headers / "nghttp2.h").write_text("void nghttp2_option_set_stream_reset_rate_limit(void);\n")
    (tmp_path / "libnghttp2.pc").write_text(
        f"Name: libnghttp2\nDescription: old\nVersion: 1.57.0\nCflags: -I{tmp_path}/include\nLibs: -lnghttp2\n"
    )
    done = run(copy_sources(tmp_path / "source"), "setup", "build_ext", PKG_CONFIG_LIBDIR=str(tmp_path))
    assert (done.returncode, "needs libnghttp2 1.61" in done.stderr) == (1, True)
    assert [line for line in WHAT_TO_DO if line not in done.stderr] == []


def test_a_build_without_a_compiler_names_it(tmp_path: Path) -> None:
    done = run(copy_sources(tmp_path), "setup", "build_ext", CC="no-such-compiler")
    assert (done.returncode, "there is no no-such-compiler" in done.stderr) == (1, True)


def test_without_native_the_wheel_is_pure_and_the_server_speaks_grpcio(tmp_path: Path) -> None:
    source = copy_sources(tmp_path / "source")
    everything = expected(source)
    done = build_wheel(source, YAIS_WITHOUT_NATIVE="1", PKG_CONFIG_LIBDIR=str(tmp_path), PKG_CONFIG_PATH="")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (source / "dist").glob("yais-*-py3-none-any.whl")
    assert packed(wheel) == everything
    python = python_with(wheel, tmp_path / "environment")
    assert serve(python, "--help").returncode == 0
    refused = serve(python, "--transport", "native", "--engine", "absent.onnx")
    assert (refused.returncode, "--transport: 'native' was not built" in refused.stderr) == (2, True)


def test_the_source_distribution_holds_the_sources_and_nothing_made_of_them(built: Built) -> None:
    with tarfile.open(built.sdist) as files:
        inside = {name.partition("/")[2] for name in files.getnames()}
    assert {f"src/yais/{name}" if name.partition("/")[0] in FOLDERS else name for name in built.sources} <= inside
    assert not [name for name in inside if "_pb2" in name or name.endswith((".so", ".c"))]


def test_a_build_from_a_checkout_knows_its_commit(tmp_path: Path) -> None:
    source = copy_sources(tmp_path / "source")
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@localhost"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run(
        [*git, "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True
    ).stdout
    # The wheel is made of the source distribution.
    done = run(source, "build", "--no-isolation", YAIS_WITHOUT_NATIVE="1")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (source / "dist").glob("yais-*.whl")
    python = python_with(wheel, tmp_path / "environment")
    ask = [python, "-c", "from yais.version import version_text; print(version_text())"]
    said = subprocess.run(ask, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said == f"{__version__} (commit {commit.strip()})\n"


def test_a_wheel_made_of_the_source_distribution_is_whole(built: Built, tmp_path: Path) -> None:
    suffix = EXTENSION_SUFFIXES[0]
    modules = [path.relative_to(ROOT).with_suffix("") for folder in FOLDERS for path in (ROOT / folder).rglob("*.pyx")]
    extensions = {f"yais/{module}{suffix}" for module in modules}
    assert packed(built.wheel) == built.expected | extensions
    assert extensions
    with zipfile.ZipFile(built.wheel) as contents:
        linked = {name for name in extensions if b"libnghttp2.so" in contents.read(name)}
    assert f"yais/transport/fields{suffix}" not in linked
    assert f"yais/transport/connection{suffix}" in linked
    python = python_with(built.wheel, tmp_path / "environment")
    subprocess.run([python, "-c", "from yais import transport; transport.server()"], check=True)


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_an_empty_environment_imports_every_module_and_pyright_knows_its_types(
    built: Built, kind: str, tmp_path: Path
) -> None:
    python = install(f"{getattr(built, kind)}[build,picture,plot]", tmp_path / "environment")
    command = [python, "-I", "-W", "error", "-c", IMPORT_ALL]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, sorted(module_names())), done.stderr
    check_types(python, tmp_path)


def test_pyright_knows_the_types_of_an_editable_install(tmp_path: Path) -> None:
    check_types(Path(sys.executable), tmp_path)
