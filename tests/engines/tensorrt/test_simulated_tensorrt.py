"""Simulated TensorRT: it refuses what the real one does, in its words, and computes the same."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from engines import models


@pytest.fixture
def cuda(simulation: Any) -> Iterator[Any]:
    from pycuda import driver

    driver.init()
    context = driver.Device(0).retain_primary_context()
    context.push()
    yield driver
    driver.Context.pop()


@pytest.fixture
def trt(cuda: Any) -> Any:
    import tensorrt

    return tensorrt


@pytest.fixture
def logged() -> list[str]:
    return []


@pytest.fixture
def logger(trt: Any, logged: list[str]) -> Any:
    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity is trt.ILogger.ERROR:
                logged.append(msg)

    return Logger()


@pytest.fixture
def plan(simulation: Any, tmp_path: Path) -> bytes:
    """Y is X, of up to 4 rows of 64."""
    model = onnx.load(models.identity(tmp_path / "identity.onnx", dims=("N", 64)))
    return simulation.make_plan(model, [{"X": ((1, 64), (2, 64), (4, 64))}])


@pytest.fixture
def make(cuda: Any, trt: Any, logger: Any, plan: bytes) -> Callable[[], Any]:
    """Makes contexts of one engine, each with memory of its own for X, Y and activations."""
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)

    def made() -> Any:
        context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        memory = [cuda.mem_alloc(1024), cuda.mem_alloc(1024), cuda.mem_alloc(engine.device_memory_size_v2)]
        assert context.set_tensor_address("X", int(memory[0]))
        assert context.set_tensor_address("Y", int(memory[1]))
        context.set_device_memory(int(memory[2]), engine.device_memory_size_v2)
        context.memory = memory
        return context

    return made


def locked(cuda: Any, rows: int, value: float) -> Any:
    array = cuda.pagelocked_empty((rows, 64), np.float32)
    array.fill(value)
    return array


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda plan: b"none" + plan[4:], "Magic tag does not match"),
        (lambda plan: plan[:-1], "Size specified in header does not match archive size"),
        (lambda plan: plan[:-1] + b"\0" if plan[-1] else plan[:-1] + b"\1", "Checksum does not match"),
        (lambda plan: plan[:25] + b"\3" + plan[26:], "expecting library version 10.13.0.35 got 10.3.0.35"),
    ],
    ids=["other bytes", "truncated", "damaged", "another version"],
)
def test_what_is_no_plan_of_this_version_is_refused(
    trt: Any, logger: Any, logged: list[str], plan: bytes, change: Callable[[bytes], bytes], text: str
) -> None:
    assert trt.Runtime(logger).deserialize_cuda_engine(change(plan)) is None
    assert text in logged[-1]


def test_a_plan_for_another_gpu_is_refused(
    simulation: Any, trt: Any, logger: Any, logged: list[str], tmp_path: Path
) -> None:
    model = onnx.load(models.identity(tmp_path / "m.onnx", dims=(2, 2)))
    plan = simulation.make_plan(model, capability=(7, 5))
    assert trt.Runtime(logger).deserialize_cuda_engine(plan) is None
    assert "expecting compute 8.0 got compute 7.5, please rebuild" in logged[-1]


def test_a_run_computes_what_the_model_says(cuda: Any, make: Callable[[], Any]) -> None:
    context, stream = make(), cuda.Stream()
    source, target = locked(cuda, 3, 7), locked(cuda, 3, 0)
    assert context.set_input_shape("X", (3, 64))
    assert tuple(context.get_tensor_shape("Y")) == (3, 64)
    cuda.memcpy_htod_async(context.memory[0], source, stream)
    assert context.execute_async_v3(stream.handle)
    cuda.memcpy_dtoh_async(target, context.memory[1], stream)
    assert not target.any()
    stream.synchronize()
    assert (target == 7).all()


def test_shapes_outside_the_profile_are_refused(make: Callable[[], Any], logged: list[str]) -> None:
    context = make()
    assert not context.set_input_shape("X", (5, 64))
    assert "Valid range for profile 0: [1, 64]..[4, 64]" in logged[-1]
    assert not context.set_input_shape("X", (2, 32))
    assert "Static dimension mismatch" in logged[-1]


def test_a_run_needs_shapes_addresses_and_memory(
    cuda: Any, trt: Any, make: Callable[[], Any], logged: list[str]
) -> None:
    stream, whole = cuda.Stream(), make()
    assert not whole.execute_async_v3(stream.handle)
    assert "allInputDimensionsSpecified" in logged[-1]
    bare = whole.engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    bare.set_input_shape("X", (1, 64))
    assert not bare.execute_async_v3(stream.handle)
    assert "Neither address or allocator is set for tensor X" in logged[-1]
    bare.set_tensor_address("X", int(whole.memory[0]))
    bare.set_tensor_address("Y", int(whole.memory[1]))
    assert not bare.execute_async_v3(stream.handle)
    assert "memory for activations is missing" in logged[-1]


def test_memory_that_is_too_small_for_an_output_is_an_illegal_address(cuda: Any, make: Callable[[], Any]) -> None:
    context, stream, small = make(), cuda.Stream(), cuda.mem_alloc(512)
    context.set_tensor_address("Y", int(small))
    context.set_input_shape("X", (4, 64))
    assert context.execute_async_v3(stream.handle)
    with pytest.raises(cuda.LogicError, match="illegal memory access"):
        stream.synchronize()


def test_contexts_that_share_memory_for_activations_have_to_wait_for_one_another(
    simulation: Any, cuda: Any, make: Callable[[], Any]
) -> None:
    one, two, first, second, event = make(), make(), cuda.Stream(), cuda.Stream(), cuda.Event()
    two.set_device_memory(int(one.memory[2]), one.engine.device_memory_size_v2)
    for context in (one, two):
        context.set_input_shape("X", (1, 64))
    one.execute_async_v3(first.handle)
    event.record(first)
    second.wait_for_event(event)
    two.execute_async_v3(second.handle)
    assert simulation.machine().violations == []
    one.execute_async_v3(first.handle)
    assert "use the same memory at the same time" in simulation.machine().violations.pop()
    first.synchronize()
    second.synchronize()


def captured(cuda: Any, context: Any, stream: Any) -> tuple[bool, Any, Any]:
    from cuda.bindings import driver as bindings

    mode = bindings.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    bindings.cuStreamBeginCapture(stream.handle, mode)
    succeeded = context.execute_async_v3(stream.handle)
    result, graph = bindings.cuStreamEndCapture(stream.handle)
    return succeeded, result, graph


def test_a_context_is_captured_only_after_a_run_of_the_same_shapes(
    cuda: Any, make: Callable[[], Any], logged: list[str]
) -> None:
    context, stream = make(), cuda.Stream()
    context.set_input_shape("X", (2, 64))
    succeeded, result, _ = captured(cuda, context, stream)
    assert not succeeded
    assert result.name == "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"
    assert "operation not permitted when stream is capturing" in logged[-1]
    context.execute_async_v3(stream.handle)
    stream.synchronize()
    assert captured(cuda, context, stream)[:2] == (True, 0)


def test_a_graph_of_a_context_that_was_changed_is_found_out(
    simulation: Any, cuda: Any, make: Callable[[], Any]
) -> None:
    from cuda.bindings import driver as bindings

    context, stream = make(), cuda.Stream()
    context.set_input_shape("X", (2, 64))
    context.execute_async_v3(stream.handle)
    stream.synchronize()
    _, executable = bindings.cuGraphInstantiate(captured(cuda, context, stream)[2], 0)
    bindings.cuGraphLaunch(executable, stream.handle)
    stream.synchronize()
    assert simulation.machine().violations == []
    context.set_input_shape("X", (1, 64))
    bindings.cuGraphLaunch(executable, stream.handle)
    stream.synchronize()
    assert "was changed after its run was captured" in simulation.machine().violations.pop()


def test_an_allocator_gets_the_size_and_shape_that_the_data_decide(
    simulation: Any, cuda: Any, trt: Any, logger: Any, tmp_path: Path
) -> None:
    asked: list[tuple[int, tuple[int, ...]]] = []
    output = cuda.mem_alloc(1024)

    class Allocator(trt.IOutputAllocator):
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)

        def reallocate_output(self, name: str, memory: int, size: int, alignment: int) -> int:
            asked.append((size, ()))
            return int(output)

        def notify_shape(self, name: str, shape: Any) -> None:
            asked.append((0, tuple(shape)))

    plan = simulation.make_plan(onnx.load(models.non_zero(tmp_path / "m.onnx")), [{"X": ((1,), (4,), (8,))}])
    context = trt.Runtime(logger).deserialize_cuda_engine(plan).create_execution_context()
    source, target, x, stream = (
        cuda.pagelocked_zeros(5, np.float32),
        np.zeros(2, np.int64),
        cuda.mem_alloc(64),
        cuda.Stream(),
    )
    source[[1, 4]] = 1
    context.set_tensor_address("X", int(x))
    context.set_output_allocator("Y", Allocator())
    context.set_input_shape("X", (5,))
    assert tuple(context.get_tensor_shape("Y")) == (1, -1)
    assert context.get_max_output_size("Y") == 40
    cuda.memcpy_htod_async(x, source, stream)
    assert context.execute_async_v3(stream.handle)
    assert asked == [(16, ()), (0, (1, 2))]
    cuda.memcpy_dtoh_async(target, output, stream)
    assert target.tolist() == [1, 4]


def test_a_derived_class_that_does_not_call_its_base_is_refused(trt: Any) -> None:
    class Careless(trt.ILogger):
        def __init__(self) -> None:
            pass

    with pytest.raises(TypeError, match="must be called when overriding __init__"):
        Careless()


def test_memory_that_runs_out_is_told(simulation: Any, trt: Any, logger: Any, logged: list[str], plan: bytes) -> None:
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    simulation.fail("cudaMalloc", 2)
    assert engine.create_execution_context() is None
    assert "OutOfMemory" in logged[-1]
    assert engine.create_execution_context() is not None


def build(trt: Any, logger: Any, model: Path, *bounds: tuple[int, ...]) -> Any:
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(model)):
        return parser.get_error(0)
    config = builder.create_builder_config()
    if bounds:
        profile = builder.create_optimization_profile()
        profile.set_shape("X", *bounds)
        assert config.add_optimization_profile(profile) == 0
    return builder.build_serialized_network(network, config)


def test_what_is_built_can_be_loaded(trt: Any, logger: Any, tmp_path: Path) -> None:
    plan = build(trt, logger, models.identity(tmp_path / "m.onnx"), (1, 2), (2, 2), (4, 2))
    assert bytes(plan)[:4] == b"ftrt"
    assert len(bytes(plan)) == plan.nbytes
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    assert [tuple(shape) for shape in engine.get_tensor_profile_shape("X", 0)] == [(1, 2), (2, 2), (4, 2)]
    assert tuple(engine.get_tensor_shape("Y")) == (-1, 2)


def test_free_dimensions_need_a_profile(trt: Any, logger: Any, logged: list[str], tmp_path: Path) -> None:
    assert build(trt, logger, models.identity(tmp_path / "m.onnx")) is None
    assert "no optimization profile has been defined" in logged[-1]


def test_the_parser_says_what_it_does_not_take(trt: Any, logger: Any, tmp_path: Path) -> None:
    error = build(trt, logger, models.positives(tmp_path / "m.onnx"))
    assert (error.code().name, error.node(), error.node_operator()) == ("UNSUPPORTED_NODE", 2, "Compress")
