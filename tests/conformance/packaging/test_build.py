import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = [link.name for link in (ROOT / "src" / "yais").iterdir() if link.is_symlink()]
FILES = {
    "setup.py",
    "src/yais/__init__.py",
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

pytestmark = pytest.mark.timeout(600)


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
    return {"yais/__init__.py"} | {name for name in found if not name.endswith(".pyx")} | made


def python_with(wheel: Path, folder: Path) -> Path:
    """A Python that has `wheel`, and all that this one has but its YAIS, which a .pth file of its own brings."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    return folder / "bin" / "python"


def serve(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [python, "-c", "from yais.server.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


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


def test_the_source_distribution_is_all_that_a_whole_wheel_needs(tmp_path: Path) -> None:
    source = copy_sources(tmp_path / "source")
    sources, everything = names(source), expected(source)
    (source / "proto" / "grpc_service_pb2.py").touch()
    (source / "transport" / "wire.so").touch()
    done = run(source, "build", "--no-isolation")
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = (source / "dist").glob("yais-*.tar.gz")
    with tarfile.open(archive) as files:
        inside = {name.partition("/")[2] for name in files.getnames()}
    assert {f"src/yais/{name}" if name.partition("/")[0] in FOLDERS else name for name in sources} <= inside
    assert not [name for name in inside if "_pb2" in name or name.endswith((".so", ".c"))]

    (wheel,) = (source / "dist").glob("yais-*.whl")
    suffix = EXTENSION_SUFFIXES[0]
    modules = [
        path.relative_to(source).with_suffix("") for folder in FOLDERS for path in (source / folder).rglob("*.pyx")
    ]
    extensions = {f"yais/{module}{suffix}" for module in modules}
    assert packed(wheel) == everything | extensions
    assert extensions
    with zipfile.ZipFile(wheel) as contents:
        linked = {name for name in extensions if b"libnghttp2.so" in contents.read(name)}
    assert f"yais/transport/fields{suffix}" not in linked
    assert f"yais/transport/connection{suffix}" in linked
    python = python_with(wheel, tmp_path / "environment")
    subprocess.run([python, "-c", "from yais import transport; transport.server()"], check=True)
