import logging
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from engines.onnxruntime.standin import Runtime, check_sums, opened, run, stood_in
from engines.onnxruntime.standin_gpu import Gpu

from engines import models
from yais.engines import DeviceLostError, EngineError, InvalidInputError
from yais.engines.cuda.device import CudaDevice

REFUSED = (
    "This session cannot use the graph capture feature as requested by the user as all compute graph nodes have not "
    "been partitioned to the CUDAExecutionProvider"
)
CAPTURING = "CUDA failure 900: operation not permitted when stream is capturing ; GPU=0 ; hostname=h ; expr=e"
ILLEGAL = "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=h ; expr=e"
NO_MEMORY = [
    "CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; expr=cudaMalloc",
    "onnxruntime::BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 939524096",
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
]


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with stood_in() as made:
        yield made


@pytest.fixture
def gpu(runtime: Runtime) -> Gpu:
    return runtime.gpu


def adder(tmp_path: Path) -> Path:
    return models.add(tmp_path / "m.onnx", ("N", 3))


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_model_with_free_dimensions_runs_without_graphs(
    tmp_path: Path, runtime: Runtime, gpu: Gpu, caplog: pytest.LogCaptureFixture
) -> None:
    path = models.add(tmp_path / "m.onnx")
    context = opened(path, contexts=2).create_context()
    assert warnings_of(caplog) == [f"engine '{path}' runs without CUDA graphs: tensor 'A' has free dimensions"]
    assert [session.has_graphs for session in runtime.sessions] == [False]
    for rows, width in ((1, 3), (2, 3), (2, 5), (1, 3), (2, 0)):
        first, second = np.full((rows, width), 5, np.float32), np.full((rows, width), 2, np.float32)
        result = run(context, A=first, B=second)
        np.testing.assert_array_equal(result["SUM"], np.full((rows, width), 7, np.float32), strict=True)
    assert gpu.pinned == []


@pytest.mark.usefixtures("runtime")
def test_outputs_whose_shape_depends_on_what_the_inputs_hold(tmp_path: Path) -> None:
    context = opened(models.positives(tmp_path / "m.onnx")).create_context()
    for row, want in (([1, 1, 1], [1, 1, 1]), ([1, -1, 1], [1, 1]), ([-1, -1, -1], []), ([1, 1, 1], [1, 1, 1])):
        assert run(context, X=np.array([row], np.float32))["Y"].tolist() == [want]


@pytest.mark.parametrize("good_runs", [0, 1, 3, 5], ids="after {} good runs".format)
def test_a_run_that_cannot_be_recorded_leaves_the_engine_without_graphs(
    tmp_path: Path, runtime: Runtime, gpu: Gpu, caplog: pytest.LogCaptureFixture, good_runs: int
) -> None:
    runtime.failures = [*[None] * good_runs, CAPTURING]
    engine = opened(adder(tmp_path), contexts=2, max_batch_size=2)
    assert warnings_of(caplog) == [f"engine '{tmp_path / 'm.onnx'}' runs without CUDA graphs: {CAPTURING}"]
    assert [session.has_graphs for session in runtime.sessions] == [False]
    assert (runtime.others[-1], list(gpu.memory)) == (0, [])
    check_sums(engine.create_context(), 2)


def test_a_model_that_the_provider_refuses_to_record_runs_without_graphs(
    tmp_path: Path, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    runtime.refusals = [REFUSED]
    engine = opened(adder(tmp_path), contexts=2)
    assert warnings_of(caplog) == [f"engine '{tmp_path / 'm.onnx'}' runs without CUDA graphs: {REFUSED}"]
    check_sums(engine.create_context(), 2)


def test_no_memory_for_graphs_leaves_the_engine_without_them(
    tmp_path: Path, runtime: Runtime, gpu: Gpu, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.room = 10
    check_sums(opened(adder(tmp_path)).create_context(), 2)
    assert warnings_of(caplog)[0].endswith("runs without CUDA graphs: no memory on GPU 0 for 96 bytes")
    assert runtime.others == [0, 0]


def refusal(path: Path, **options: bool) -> str:
    with pytest.raises(EngineError) as caught:
        opened(path, **options)
    assert type(caught.value) is EngineError
    text = str(caught.value)
    assert text.startswith(f"engine '{path}': ")
    return text.removeprefix(f"engine '{path}': ")


def test_an_onnxruntime_for_cpus_is_told(tmp_path: Path, runtime: Runtime) -> None:
    runtime.available = ["AzureExecutionProvider", "CPUExecutionProvider"]
    want = "this onnxruntime cannot use a GPU: pip install onnxruntime-gpu instead of onnxruntime"
    assert refusal(adder(tmp_path)) == want


@pytest.mark.parametrize("graphs", [True, False])
def test_a_provider_that_is_silently_left_out_is_told_with_the_reason(
    tmp_path: Path, runtime: Runtime, graphs: bool
) -> None:
    runtime.loaded = ["CPUExecutionProvider"]
    runtime.__file__ = str(tmp_path / "__init__.py")
    text = refusal(adder(tmp_path), graphs=graphs)
    library = tmp_path / "capi" / "libonnxruntime_providers_cuda.so"
    assert text.startswith(f"ONNX Runtime's CUDA provider cannot be loaded: {library}: cannot open shared object file")
    assert text.endswith("; pip install 'onnxruntime-gpu[cuda,cudnn]'")


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize("text", ["--devices: GPU 3 does not exist; CUDA sees 1", "CUDA cannot be used: no driver"])
def test_what_is_wrong_with_the_gpu_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def refuse(index: int) -> Gpu:
        raise EngineError(text)

    monkeypatch.setattr("yais.engines.onnxruntime.cuda.open_device", refuse)
    assert refusal(adder(tmp_path)) == text


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize(("source", "target", "name"), [("STRING", "FLOAT", "X"), ("FLOAT", "STRING", "Y")])
def test_strings_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, source: str, target: str, name: str
) -> None:
    path = models.cast(tmp_path / "m.onnx", getattr(models, source), getattr(models, target))
    assert refusal(path) == f"tensor '{name}' holds strings, which cannot be on a GPU; --device cpu serves it"
    assert warnings_of(caplog) == []


@pytest.mark.usefixtures("runtime")
def test_a_file_that_is_no_model_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not a model")
    assert refusal(path).startswith("ONNX Runtime cannot load it on GPU 0: ")
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("text", NO_MEMORY)
def test_no_memory_at_the_start_tells_what_to_reduce(tmp_path: Path, runtime: Runtime, text: str, graphs: bool) -> None:
    runtime.refusals = [text]
    want = f"ONNX Runtime cannot load it on GPU 0: no memory on GPU 0: {text}; fewer --contexts, --workspaces or rows"
    assert refusal(adder(tmp_path), graphs=graphs) == f"{want} need less"


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("text", NO_MEMORY)
def test_no_memory_in_a_run_tells_what_to_reduce_and_the_context_goes_on(
    tmp_path: Path, runtime: Runtime, text: str, graphs: bool
) -> None:
    context = opened(adder(tmp_path), graphs=graphs).create_context()
    check_sums(context, 1)
    runtime.failures = [text]
    with pytest.raises(EngineError) as caught:
        context.execute(1)
    assert type(caught.value) is EngineError
    assert str(caught.value) == f"no memory on GPU 0: {text}; fewer --contexts, --workspaces or rows need less"
    check_sums(context, 1)


@pytest.mark.parametrize("graphs", [True, False])
def test_a_run_that_fails_leaves_the_context_usable(tmp_path: Path, runtime: Runtime, graphs: bool) -> None:
    context = opened(adder(tmp_path), graphs=graphs).create_context()
    runtime.failures = ["Non-zero status code returned while running Add node"]
    with pytest.raises(EngineError, match=r"^Non-zero status code returned while running Add node$") as caught:
        context.execute(2)
    assert type(caught.value) is EngineError
    check_sums(context, 2)


@pytest.mark.parametrize("graphs", [True, False])
def test_an_error_that_stays_with_the_gpu_is_its_loss(tmp_path: Path, runtime: Runtime, gpu: Gpu, graphs: bool) -> None:
    context = opened(adder(tmp_path), graphs=graphs).create_context()
    check_sums(context, 2)
    runtime.failures, gpu.is_working = [ILLEGAL, ILLEGAL], False
    for _ in range(2):
        with pytest.raises(DeviceLostError, match=r"^GPU 0 is lost to this process: .*an illegal memory access"):
            context.execute(2)


def test_a_gpu_that_is_lost_while_an_engine_is_opened_is_told(tmp_path: Path, runtime: Runtime, gpu: Gpu) -> None:
    gpu.is_working = False
    runtime.refusals = [ILLEGAL]
    with pytest.raises(DeviceLostError, match=r"m\.onnx': ONNX Runtime cannot load it on GPU 0: GPU 0 is lost"):
        opened(adder(tmp_path))


@pytest.mark.usefixtures("runtime")
def test_shapes_that_are_not_the_models_are_refused(tmp_path: Path) -> None:
    context = opened(adder(tmp_path)).create_context()
    with pytest.raises(InvalidInputError, match=r"shapes \[\(3,\), \(2,\)\], the model's are \[\(3,\), \(3,\)\]"):
        context.fit(((3,), (2,)))
    context.fit([(3,), (3,)])


@pytest.mark.parametrize("name", ["allocate", "stream", "copy_in", "copy_out", "host_memory", "give_back"])
def test_the_stand_in_of_a_gpu_is_called_as_a_device_is(name: str) -> None:
    assert list(signature(getattr(Gpu, name)).parameters) == list(signature(getattr(CudaDevice, name)).parameters)
