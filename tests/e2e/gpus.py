"""Servers on simulated GPUs: the real command, with stand-ins in place of pycuda, cuda-bindings and TensorRT."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from e2e.calls import Array, Outcome, mlp_request, outcome, output
from e2e.conftest import Engines
from e2e.serving import Serving, environment, run_server
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub

STANDINS = Path(__file__).parents[1] / "engines" / "standins"


def machine(path: Path = STANDINS, **facts: object) -> dict[str, str]:
    """The environment of a process on a machine with simulated GPUs, such as `gpus=2`."""
    return {"PYTHONPATH": str(path), **{f"YAIS_SIMULATED_{name.upper()}": str(fact) for name, fact in facts.items()}}


class Plans:
    """Plans of the models of the tests, each built when first asked for and kept for the whole run."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    def path(self, name: str, **facts: object) -> Path:
        """Built on such a machine."""
        model = self._engines.path(name)
        plan = model.with_name("-".join(map(str, (name, *facts.values()))) + ".engine")
        with plan.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not plan.exists():
                command = [Path(sys.executable).with_name("engine-build"), model, "-o", plan]
                variables = environment(**machine(**facts))
                subprocess.run(command, check=True, capture_output=True, timeout=60, env=variables)
        return plan


@contextmanager
def gpu_server(folder: Path, *arguments: str | Path, **facts: object) -> Iterator[tuple[Serving, list[Any]]]:
    """Serves on such a machine, and what each process reports of its GPUs when it has ended, which it does well.

    Nothing may have been done that a GPU would not have forgiven.
    """
    file, reports = folder / "report", list[Any]()
    with run_server(*arguments, **machine(report=file, **facts)) as serving:
        yield serving, reports
        if serving.process.poll() is None:
            assert serving.stop() == 0
        assert "Traceback" not in serving.log
        # It complains of each object that it cannot give back in a broken context, which ends with all of them.
        assert "PyCUDA" not in serving.log or "failure" in facts
    reports += map(json.loads, file.read_text().splitlines())
    assert [violation for report in reports for violation in report["violations"]] == []


class Answers:
    """Requests of random rows for the perceptron, and what it makes of them on the CPU."""

    def __init__(self, engines: Engines) -> None:
        self._session = onnxruntime.InferenceSession(engines.path("mlp"), providers=["CPUExecutionProvider"])
        self._chance = np.random.default_rng(11)

    def rows(self, *counts: int) -> list[Array]:
        """The rows of so many requests."""
        return [self._chance.standard_normal((count, 64)).astype(np.float32) for count in counts]

    def ask(self, stubs: Sequence[GRPCInferenceServiceStub], requests: Sequence[Array]) -> list[Outcome]:
        """Sends all at once; what became of each. Fails when one that was answered was answered wrongly."""
        calls = [
            stubs[number % len(stubs)].ModelInfer.future(mlp_request(rows), timeout=60)
            for number, rows in enumerate(requests)
        ]
        ends = [outcome(call) for call in calls]
        for call, end, rows in zip(calls, ends, requests, strict=True):
            if end.code == "OK":
                expected = self._session.run(None, {"INPUT0": rows})[0]
                np.testing.assert_allclose(output(call.result()), expected, rtol=1e-4, atol=1e-4)
        return ends
