"""Models that do not declare batches: batched only where their rows turn out to be independent."""

from pathlib import Path

import numpy as np
import pytest

from e2e.calls import Array, output, request
from e2e.conftest import Engines
from e2e.scrape import total
from e2e.serving import run_server
from yais.proto import grpc_service_pb2 as pb

REQUESTS = 400
COLUMNS, ROWS = "column_softmax", "row_softmax"


def softmax(array: Array, axis: int) -> Array:
    powers: Array = np.exp(array)
    sums: Array = powers.sum(axis, keepdims=True)
    return powers / sums


def test_only_a_model_of_independent_rows_is_batched_and_both_give_the_right_numbers(engines: Engines) -> None:
    chance = np.random.default_rng(3)
    arrays = [chance.standard_normal((number % 3 + 1, 4)).astype(np.float32) for number in range(REQUESTS)]
    # A delay, so that requests do share batches, whatever the machine does.
    flags = ("--max-queue-delay", "20ms")
    with (
        run_server(*engines.flags(COLUMNS, ROWS), *flags) as server,
        server.stub() as stub,
        server.stub() as other,
    ):
        calls = [
            [
                (stub, other)[number % 2].ModelInfer.future(request(name, {"INPUT0": array}), timeout=60)
                for name in (COLUMNS, ROWS)
            ]
            for number, array in enumerate(arrays)
        ]
        answers = [[output(call.result()) for call in pair] for pair in calls]
        samples = server.samples()
        configs = [stub.ModelConfig(pb.ModelConfigRequest(name=name)).config for name in (COLUMNS, ROWS)]
        metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=COLUMNS))
        log = server.log
    for array, (columns, rows) in zip(arrays, answers, strict=True):
        np.testing.assert_allclose(columns, softmax(array, axis=0), rtol=1e-5)
        np.testing.assert_allclose(rows, softmax(array, axis=1), rtol=1e-5)
    assert [config.max_batch_size for config in configs] == [0, 8]
    # Clients see the same shapes as before it was found out.
    assert list(metadata.inputs[0].shape) == [-1, 4]
    assert total(samples, "nv_inference_exec_count", model=COLUMNS) == REQUESTS
    assert total(samples, "nv_inference_exec_count", model=ROWS) < REQUESTS
    assert f"Model '{COLUMNS}' is not batched, since its file declares no batches and output 'OUTPUT0' of a row" in log
    assert f"Model '{ROWS}' is run in batches of up to 8 rows: random rows gave the same together as alone" in log


def test_what_is_set_for_a_model_is_believed(engines: Engines) -> None:
    columns, rows = f"{engines.path(COLUMNS)},max-batch-size=4", f"{engines.path(ROWS)},max-batch-size=0"
    with run_server("--engine", columns, "--engine", rows) as server, server.stub() as stub:
        configs = [stub.ModelConfig(pb.ModelConfigRequest(name=name)).config for name in (COLUMNS, ROWS)]
    assert [config.max_batch_size for config in configs] == [4, 0]


@pytest.mark.parametrize("way", ["flag", "variable", "file"])
def test_each_model_may_have_settings_of_its_own(engines: Engines, tmp_path: Path, way: str) -> None:
    path = tmp_path / "a folder" / "m.onnx"
    path.parent.mkdir()
    path.write_bytes(engines.path("mlp").read_bytes())
    settings = "contexts=2,max-batch-size=16,max-queue-size=9"
    variables, arguments = {}, []
    match way:
        case "flag":
            arguments = ["--engine", f"a b={path},{settings}", "--engine", f"c={path}"]
        case "variable":
            variables = {"YAIS_ENGINE": f"'a b={path},{settings}' 'c={path}'"}
        case "file":
            config = tmp_path / "yais.toml"
            config.write_text(
                f"contexts = 3\n[[engine]]\nname = 'a b'\npath = '{path}'\ncontexts = 2\nmax-batch-size = 16\n"
                f"max-queue-size = 9\n[[engine]]\nname = 'c'\npath = '{path}'\ncontexts = 1\n"
            )
            arguments = ["--config", str(config)]
    with run_server(*arguments, **variables) as server, server.stub() as stub:
        configs = [stub.ModelConfig(pb.ModelConfigRequest(name=name)).config for name in ("a b", "c")]
        assert "--model 'a b'" in server.banner
    assert [config.instance_group[0].count for config in configs] == [2, 1]
    assert [config.max_batch_size for config in configs] == [16, 64]
    sizes = [config.dynamic_batching.default_queue_policy.max_queue_size for config in configs]
    assert sizes == [9, 1024]
