"""`yais` beside releases of tritonclient whose contracts differ from ours: neither minds the other."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.conftest import Engines
from e2e.peers import DRIVERS, TRITON_CLIENTS, require
from e2e.serving import environment
from yais.proto.model_config_pb2 import ModelConfig

ANSWERED = {"OUTPUT0": [0, 1, 2, 3], "platform": "onnxruntime_onnx"}


@pytest.mark.parametrize("first", ["yais", "tritonclient"])
@pytest.mark.parametrize("version", ["2.41", "2.51", "2.73"])
def test_server_and_both_clients_work_in_one_process(version: str, first: str, engines: Engines) -> None:
    client = require(TRITON_CLIENTS / version)
    command: list[str | Path] = [sys.executable, DRIVERS / "one_process.py", first, engines.path("identity")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=90, env=environment(PYTHONPATH=str(client)), check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "ask_with_yais": ANSWERED,
        "ask_with_tritonclient": ANSWERED,
        "ask_by_reflection": {
            "methods": {
                "inference.GRPCInferenceService": 20,
                "grpc.health.v1.Health": 2,
                "grpc.reflection.v1alpha.ServerReflection": 1,
            },
            "fields of ModelConfig": [field.name for field in ModelConfig.DESCRIPTOR.fields],
        },
        "exit code": 0,
    }
