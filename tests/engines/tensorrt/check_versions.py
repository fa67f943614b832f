"""Checks the types of what uses TensorRT against the real modules of its versions 10 and 11.

    python check_versions.py

Their bindings are small and can be had from anywhere; the libraries behind them, which cannot, are empty ones here.
That shows which classes and methods there are, and what they take.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

BINDINGS = (
    "tensorrt-cu12-bindings==10.3.0",
    "tensorrt-cu13-bindings==10.16.1.11",
    "tensorrt-cu13-bindings==11.4.0.106",
)
# What not all of them have, and is used only where `Features` says so: the first is TensorRT 10.16's, others are RTX's.
GUARDED = (
    "get_engine_stat",
    "ComputeCapability",
    "num_compute_capabilities",
    "set_compute_capability",
    "get_engine_validity",
    "REQUIRE_USER_ALLOCATION",
    "create_runtime_cache",
    "set_runtime_cache",
    "create_runtime_config",
    "DynamicShapesKernelSpecializationStrategy",
    "dynamic_shapes_kernel_specialization_strategy",
    "set_execution_context_allocation_strategy",
    "is_stream_capturable",
)

HERE = Path(__file__).parent
BUILD = Path("build/tensorrt")
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getInferLibVersion",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)


def main() -> None:
    folders = {bindings: BUILD / bindings.rpartition("==")[2] for bindings in BINDINGS}
    unexpected = [error for bindings, folder in folders.items() for error in check(bindings, folder)]
    print("\n".join(unexpected) or f"Types agree with {', '.join(BINDINGS)}")
    sys.exit(bool(unexpected))


def check(bindings: str, folder: Path) -> list[str]:
    """The errors of type in engines/, but for what is guarded."""
    stubs = folder / "typing"
    if not stubs.is_dir():
        install(bindings, folder)
        make_empty_libraries(folder, bindings.rpartition("==")[2].partition(".")[0])
        make_stubs(folder, stubs)
    command = [sys.executable, "-m", "mypy", "--cache-dir", folder / "mypy", "-p", "yais.engines", "--no-error-summary"]
    done = subprocess.run(command, env={**os.environ, "MYPYPATH": str(stubs)}, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stdout + done.stderr)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    return [f"{bindings}: {line}" for line in errors if not any(name in line for name in GUARDED)]


def install(bindings: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, bindings)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)


def make_empty_libraries(folder: Path, major: str) -> None:
    source = folder / "empty.c"
    source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in SYMBOLS))
    for library in ("nvinfer", "nvonnxparser", "nvinfer_plugin"):
        name = f"lib{library}.so.{major}"
        run("gcc", "-shared", "-fPIC", "-o", folder / name, f"-Wl,-soname,{name}", source)


def make_stubs(folder: Path, stubs: Path) -> None:
    paths = {"LD_LIBRARY_PATH": str(folder.absolute()), "PYTHONPATH": str(folder.absolute())}
    target = stubs / "tensorrt" / "__init__.pyi"
    run(sys.executable, HERE / "make_stubs.py", target, "tensorrt_bindings.tensorrt", **paths)


def run(*command: str | Path, **variables: str) -> None:
    subprocess.run(command, env={**os.environ, **variables}, check=True)


if __name__ == "__main__":
    main()
