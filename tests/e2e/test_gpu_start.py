"""Servers that cannot start on a simulated GPU: they say why in a line, and end with an exit code of their own."""

import json
import re
from pathlib import Path

import pytest

from e2e.conftest import Engines
from e2e.gpus import STANDINS, Plans, machine
from e2e.serving import TRANSPORT, run_command

pytestmark = pytest.mark.skipif(TRANSPORT == "grpcio", reason="no transport has a part in it")

PORTS = ("--port", "0", "--metrics", "0")
FAILED_START = 3
# Machines on which the plan cannot be served, and what is said of them.
MACHINES: dict[str, tuple[dict[str, object], str]] = {
    "no GPU": ({"gpus": 0}, "CUDA cannot be used: cuInit failed: no CUDA-capable device is detected"),
    "no driver": ({"driver": 0}, "pycuda is installed, but finds no CUDA driver: libcuda.so.1"),
    "an old driver": ({"driver": 11040}, "there is no GPU with a new enough driver"),
    "another GPU": ({"capability": "9.0"}, "it was built for another GPU"),
    "little memory": ({"memory": 100_000}, "no memory on GPU 0 for "),
    "no memory": ({"memory": 10_000}, "the GPU has not enough memory left"),
    "no page-locked memory": ({"failure": "cuMemHostRegister:2"}, "cuMemHostRegister failed: out of memory"),
}


@pytest.fixture(scope="module")
def plans(engines: Engines) -> Plans:
    return Plans(engines)


def refusal(engine: Path, *flags: str, standins: Path = STANDINS, **facts: object) -> str:
    """The only line that a server logs of why it cannot start with this engine."""
    done = run_command("--engine", engine, *flags, *PORTS, **machine(standins, **facts))
    assert (done.returncode, done.stdout) == (FAILED_START, "")
    (message,) = [json.loads(quoted) for quoted in re.findall(r"^E\d{4} .*?\] (.*)", done.stderr, re.MULTILINE)]
    assert "Traceback" not in done.stderr
    assert message.startswith(f"engine '{engine}': ")
    return str(message)


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_that_cannot_run_the_plan_is_told(plans: Plans, name: str) -> None:
    facts, told = MACHINES[name]
    assert told in refusal(plans.path("mlp"), "--contexts", "4", **facts)


def test_several_workers_tell_it_once(plans: Plans) -> None:
    assert "finds no CUDA driver" in refusal(plans.path("mlp"), "--workers", "2", driver=0)


def test_a_gpu_that_does_not_exist_is_named_with_the_flag(plans: Plans) -> None:
    told = refusal(plans.path("mlp"), "--devices", "0,4", "--contexts", "2", gpus=2)
    assert told.endswith("--devices: GPU 4 does not exist; CUDA sees 2")


def test_a_plan_of_another_tensorrt_is_told_with_both_versions(plans: Plans) -> None:
    told = refusal(plans.path("mlp", tensorrt="10.3.0.26"))
    assert "another version of TensorRT made it (built by TensorRT 10.3.0.26, loaded by TensorRT 10.13.0.35)" in told


@pytest.mark.parametrize(("size", "told"), [(20, "not a whole TensorRT plan"), (5000, "it is damaged")])
def test_a_truncated_plan_is_told(plans: Plans, tmp_path: Path, size: int, told: str) -> None:
    path = tmp_path / "short.engine"
    path.write_bytes(plans.path("mlp").read_bytes()[:size])
    assert told in refusal(path)


def test_what_pip_is_to_install_is_told(plans: Plans, tmp_path: Path) -> None:
    for package in ("cuda", "tensorrt", "simulation"):
        (tmp_path / package).symlink_to(STANDINS / package)
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").touch()
    told = refusal(plans.path("mlp"), standins=tmp_path)
    assert told.endswith("a GPU needs pycuda: pip install 'yais[gpu]'")


def test_an_onnx_file_that_tensorrt_does_not_take_is_told(engines: Engines, tmp_path: Path) -> None:
    told = refusal(engines.path("strings"), "--device", "cuda", "--plan-cache", str(tmp_path / "plans"))
    assert "TensorRT 10.13.0.35 does not take the model" in told
