import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from engines.onnxruntime.standin import Runtime, check_sums, opened, run, stood_in
from engines.onnxruntime.standin_gpu import Gpu
from onnx import TensorProto

from engines import models
from yais.engines import Context, EngineOptions
from yais.engines.onnxruntime.cpu import open_onnx
from yais.engines.onnxruntime.cuda import GraphContext
from yais.proto.tensors import DTYPES


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with stood_in() as made:
        yield made


@pytest.fixture
def gpu(runtime: Runtime) -> Gpu:
    return runtime.gpu


def adder(tmp_path: Path) -> Path:
    return models.add(tmp_path / "m.onnx", ("N", 3))


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize("graphs", [True, False])
def test_an_engine_says_what_it_is_and_where(tmp_path: Path, gpu: Gpu, graphs: bool) -> None:
    gpu.index = 3
    engine = opened(adder(tmp_path), 3, graphs=graphs, max_batch_size=5)
    assert (engine.platform, engine.device, engine.max_batch_size) == ("onnxruntime_onnx", "cuda:3", 5)
    reference = open_onnx(tmp_path / "m.onnx", EngineOptions(max_batch_size=5))
    assert (engine.inputs, engine.outputs) == (reference.inputs, reference.outputs)


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize("graphs", [True, False])
def test_every_size_of_batch_gives_its_own_results(tmp_path: Path, graphs: bool) -> None:
    context = opened(adder(tmp_path), graphs=graphs, max_batch_size=6).create_context()
    for start, rows in enumerate([1, 2, 3, 4, 5, 6, 6, 1, 3, 0, 2]):
        check_sums(context, rows, start)


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("datatype", sorted(DTYPES.keys() - {"BYTES"}))
def test_every_datatype_of_numbers_goes_in_and_comes_out(tmp_path: Path, datatype: str, graphs: bool) -> None:
    names = {"FP32": "FLOAT", "FP64": "DOUBLE", "FP16": "FLOAT16", "BF16": "BFLOAT16"}
    elem_type = getattr(TensorProto, names.get(datatype, datatype))
    context = opened(models.identity(tmp_path / "m.onnx", elem_type), graphs=graphs).create_context()
    for rows in (3, 1, 8):
        values = np.arange(1, 2 * rows + 1).reshape(rows, 2).astype(DTYPES[datatype])
        np.testing.assert_array_equal(run(context, X=values)["Y"], values, strict=True)


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("dims", [(2,), ()])
def test_a_model_without_a_batch_dimension_has_one_row(tmp_path: Path, dims: tuple[int, ...], graphs: bool) -> None:
    engine = opened(models.identity(tmp_path / "m.onnx", dims=dims), graphs=graphs)
    assert engine.max_batch_size == 0
    assert isinstance(engine.create_context(), GraphContext) == graphs
    values = np.full((1, *dims), 2.5, np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(run(engine.create_context(), X=values)["Y"], values, strict=True)


def test_a_graph_is_recorded_for_each_size_of_the_ladder_before_the_first_request(
    tmp_path: Path, runtime: Runtime
) -> None:
    context = opened(adder(tmp_path), max_batch_size=6).create_context()
    assert [ran.graph for ran in runtime.ran if ran.is_recording] == ["6", "4", "2", "1"]
    assert [ran.graph for ran in runtime.ran if not ran.is_recording] == ["6", "4", "2", "1"]
    runtime.ran.clear()
    paddings = []
    for rows in (1, 2, 3, 4, 5, 6):
        context.fit(((3,), (3,)))
        paddings.append(context.execute(rows).padding)
    assert [(ran.graph, ran.is_recording) for ran in runtime.ran] == [(size, False) for size in "124466"]
    assert paddings == [0, 0, 1, 0, 1, 0]


def test_each_size_is_bound_once_to_the_same_memory_of_the_gpu(tmp_path: Path, gpu: Gpu, runtime: Runtime) -> None:
    context = opened(adder(tmp_path), max_batch_size=4).create_context()
    assert len(runtime.bound) == 3 * 4
    for name in ("A", "B", "SUM", "DIFF"):
        calls = [call for call in runtime.bound if call[2] == name]
        assert {call[3:5] for call in calls} == {("cuda", 0)}
        assert [call[6] for call in calls] == [(4, 3), (2, 3), (1, 3)]
        assert len({call[7] for call in calls}) == 1
    held, bound = set(gpu.memory), list(runtime.bound)
    for rows in (4, 1, 3):
        check_sums(context, rows)
    assert set(gpu.memory) == held
    assert runtime.bound == bound


@pytest.mark.usefixtures("runtime")
def test_only_the_rows_that_are_asked_for_are_copied(tmp_path: Path, gpu: Gpu) -> None:
    context = opened(adder(tmp_path), max_batch_size=8).create_context()
    for sizes in gpu.copied.values():
        sizes.clear()
    check_sums(context, 5)
    assert gpu.copied == {"in": [5 * 12, 5 * 12], "out": [5 * 12, 5 * 12]}


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize("graphs", [True, False])
def test_rows_beyond_those_that_are_run_are_left_alone(tmp_path: Path, graphs: bool) -> None:
    context = opened(models.identity(tmp_path / "m.onnx"), graphs=graphs, max_batch_size=4).create_context()
    run(context, X=np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.float32))
    run(context, X=np.array([[9, 9], [9, 9], [9, 9]], np.float32))
    assert context.outputs["Y"].tolist() == [[9, 9], [9, 9], [9, 9], [7, 8]]


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize("graphs", [True, False])
def test_buffers_are_page_locked_and_allocated_once(tmp_path: Path, gpu: Gpu, graphs: bool) -> None:
    context = opened(adder(tmp_path), graphs=graphs, max_batch_size=4).create_context()
    for rows in (4, 1, 3, 4):
        check_sums(context, rows)
    for array in (*context.inputs.values(), *context.outputs.values()):
        assert array.shape == (4, 3)
        assert gpu.is_pinned(array)
    assert [memory.nbytes for memory in gpu.pinned] == [4 * 12] * 4


@pytest.mark.usefixtures("runtime")
def test_the_stages_of_a_recorded_run_are_told_apart(tmp_path: Path) -> None:
    context = opened(adder(tmp_path)).create_context()
    run_ns = context.execute(3)
    assert min(run_ns.infer_ns, run_ns.input_ns, run_ns.output_ns) > 0


def test_a_recorded_run_never_reads_what_nobody_wrote(tmp_path: Path, runtime: Runtime) -> None:
    """An index that is out of the table would fail the run on a CPU, and read anywhere on a GPU."""
    context = opened(models.look_up(tmp_path / "m.onnx"), max_batch_size=4).create_context()
    assert runtime.options[-1]["enable_cuda_graph"] == "1"
    assert run(context, X=np.array([[0], [2], [1]]))["Y"].tolist() == [[10], [30], [20]]


@pytest.mark.parametrize(("workspaces", "lanes"), [(None, 3), (1, 1), (2, 2), (5, 5)])
def test_there_is_a_session_for_each_run_that_goes_on_at_once(
    tmp_path: Path, runtime: Runtime, workspaces: int | None, lanes: int
) -> None:
    engine = opened(adder(tmp_path), contexts=3, workspaces=workspaces, max_batch_size=1)
    contexts = [engine.create_context() for _ in range(4)]
    assert len(runtime.sessions) == lanes
    for start, context in enumerate(contexts):
        check_sums(context, 1, start)
    assert len({ran.session for ran in runtime.ran}) == lanes
    assert len({ran.thread for ran in runtime.ran}) == lanes
    assert len([ran for ran in runtime.ran if ran.is_recording]) == lanes


def test_any_thread_may_run_any_context_and_no_graph_is_recorded_anew(tmp_path: Path, runtime: Runtime) -> None:
    engine = opened(adder(tmp_path), contexts=2, max_batch_size=4)
    contexts = [engine.create_context() for _ in range(4)]
    recorded = [ran for ran in runtime.ran if ran.is_recording]

    def work(number: int) -> None:
        for turn in range(20):
            check_sums(contexts[number], 1 + turn % 4, 1000 * number + turn)

    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
    assert [ran for ran in runtime.ran if ran.is_recording] == recorded


@pytest.mark.usefixtures("runtime")
def test_engines_that_are_opened_while_others_run_do_not_disturb_them(tmp_path: Path) -> None:
    busy = opened(adder(tmp_path), contexts=2, max_batch_size=2)
    is_over, failed = threading.Event(), []

    def work(context: Context) -> None:
        try:
            while not is_over.is_set():
                check_sums(context, 2)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(busy.create_context(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for graphs in (True, False) * 5:
        check_sums(opened(adder(tmp_path), graphs=graphs, max_batch_size=2).create_context(), 1)
    is_over.set()
    for thread in threads:
        thread.join()
    assert failed == []


def test_without_graphs_contexts_share_a_session_that_is_bound_to_their_own_buffers(
    tmp_path: Path, runtime: Runtime
) -> None:
    engine = opened(adder(tmp_path), contexts=2, graphs=False, max_batch_size=4)
    contexts = [engine.create_context() for _ in range(2)]
    for context in contexts:
        check_sums(context, 3)
        check_sums(context, 3, 1)
    assert [options["enable_cuda_graph"] for options in runtime.options] == ["0"]
    assert len(runtime.bound) == 2 * 4
    assert {call[3] for call in runtime.bound} == {"cpu"}
    assert contexts[0].inputs["A"].ctypes.data in {call[7] for call in runtime.bound}


def test_the_provider_is_told_which_gpu(tmp_path: Path, runtime: Runtime, gpu: Gpu) -> None:
    gpu.index = 2
    opened(adder(tmp_path), 2)
    assert {options["device_id"] for options in runtime.options} == {"2"}
    assert {call[4] for call in runtime.bound} == {2}


def test_nothing_is_printed_while_libraries_are_looked_for(
    tmp_path: Path, runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    opened(adder(tmp_path))
    assert runtime.preloaded
    assert capsys.readouterr() == ("", "")


def test_an_engine_that_is_dropped_gives_everything_back(tmp_path: Path, runtime: Runtime, gpu: Gpu) -> None:
    before = set(threading.enumerate())
    for graphs in (True, False):
        engine = opened(adder(tmp_path), graphs=graphs, contexts=2, max_batch_size=2)
        context = engine.create_context()
        check_sums(context, 2)
        assert len(runtime.sessions) == (2 if graphs else 1)
        del engine, context
        gc.collect()
        assert len(runtime.sessions) == len(gpu.memory) == len(gpu.pinned) == 0
        for thread in set(threading.enumerate()) - before:
            thread.join(30)
            assert not thread.is_alive()
