"""Simulated GPU, which forgives no more than a real one: each test is something that would go wrong there."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

STANDINS = Path(__file__).parents[1] / "standins"


@pytest.fixture
def cuda(simulation: Any) -> Iterator[Any]:
    """`pycuda.driver`, with a context pushed."""
    from pycuda import driver

    driver.init()
    context = driver.Device(0).retain_primary_context()
    context.push()
    yield driver
    driver.Context.pop()


@pytest.fixture
def bindings(cuda: Any) -> Any:
    from cuda.bindings import driver

    return driver


def locked(cuda: Any, *values: float) -> Any:
    array = cuda.pagelocked_empty(len(values), np.float32)
    array[:] = values
    return array


def capture(bindings: Any, stream: Any) -> None:
    mode = bindings.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    assert bindings.cuStreamBeginCapture(stream.handle, mode)[0] == 0


def test_a_copy_is_not_done_before_it_is_waited_for(cuda: Any) -> None:
    stream, memory = cuda.Stream(), cuda.mem_alloc(8)
    source, target = locked(cuda, 1, 2), locked(cuda, 0, 0)
    cuda.memcpy_htod_async(memory, source, stream)
    cuda.memcpy_dtoh_async(target, memory, stream)
    assert target.tolist() == [0, 0]
    stream.synchronize()
    assert target.tolist() == [1, 2]


def test_what_is_changed_before_the_copy_is_done_is_copied_as_changed(cuda: Any) -> None:
    stream, memory = cuda.Stream(), cuda.mem_alloc(8)
    source, target = locked(cuda, 1, 2), locked(cuda, 0, 0)
    cuda.memcpy_htod_async(memory, source, stream)
    source[:] = 9
    cuda.memcpy_dtoh_async(target, memory, stream)
    stream.synchronize()
    assert target.tolist() == [9, 9]


def test_a_copy_of_pageable_memory_is_done_at_once_and_recorded_as_such(simulation: Any, cuda: Any) -> None:
    stream, memory, source = cuda.Stream(), cuda.mem_alloc(8), np.ones(2, np.float32)
    cuda.memcpy_htod_async(memory, source, stream)
    assert simulation.machine().named("htod") == [("htod", stream.handle, int(memory), 8, "pageable")]
    assert simulation.machine().done[-1][0] == "htod"


def test_a_stream_waits_for_an_event_of_another(simulation: Any, cuda: Any) -> None:
    first, second, event, memory = cuda.Stream(), cuda.Stream(), cuda.Event(), cuda.mem_alloc(8)
    source, target = locked(cuda, 1, 2), locked(cuda, 0, 0)
    cuda.memcpy_htod_async(memory, source, first)
    event.record(first)
    second.wait_for_event(event)
    cuda.memcpy_dtoh_async(target, memory, second)
    second.synchronize()
    assert target.tolist() == [1, 2]
    assert simulation.machine().violations == []


def test_streams_that_use_the_same_memory_without_waiting_are_found_out(simulation: Any, cuda: Any) -> None:
    first, second, memory = cuda.Stream(), cuda.Stream(), cuda.mem_alloc(8)
    source = locked(cuda, 1, 2)
    cuda.memcpy_htod_async(memory, source, first)
    cuda.memcpy_htod_async(memory, source, second)
    (violation,) = simulation.machine().violations
    assert "use the same memory at the same time" in violation
    simulation.machine().violations.clear()


def test_events_tell_a_time_in_milliseconds_once_they_are_done(cuda: Any) -> None:
    stream, start, end = cuda.Stream(), cuda.Event(), cuda.Event()
    with pytest.raises(cuda.LogicError, match="cuEventElapsedTime failed: invalid resource handle"):
        end.time_since(start)
    start.record(stream)
    end.record(stream)
    with pytest.raises(cuda.RuntimeError, match="device not ready"):
        end.time_since(start)
    end.synchronize()
    assert 0 <= end.time_since(start) < 1000
    timeless = cuda.Event(cuda.event_flags.DISABLE_TIMING).record(stream)
    stream.synchronize()
    with pytest.raises(cuda.LogicError, match="invalid resource handle"):
        timeless.time_since(start)


def test_memory_runs_out(simulation: Any) -> None:
    simulation.reset(memory=1024)
    from pycuda import driver

    driver.init()
    context = driver.Device(0).retain_primary_context()
    context.push()
    kept = driver.mem_alloc(1000)
    with pytest.raises(driver.MemoryError, match="cuMemAlloc failed: out of memory"):
        driver.mem_alloc(1)
    assert driver.mem_get_info() == (0, 1024)
    kept.free()
    assert driver.mem_get_info() == (1024, 1024)
    driver.Context.pop()


def test_a_copy_past_the_end_of_memory_is_refused(cuda: Any) -> None:
    memory, stream = cuda.mem_alloc(4), cuda.Stream()
    with pytest.raises(cuda.LogicError, match="invalid argument"):
        cuda.memcpy_htod_async(memory, locked(cuda, 1, 2), stream)


def test_an_error_of_the_device_stays_until_its_context_is_reset(simulation: Any, cuda: Any, bindings: Any) -> None:
    stream, memory = cuda.Stream(), cuda.mem_alloc(8)
    simulation.fail("htod", 700)
    cuda.memcpy_htod_async(memory, locked(cuda, 1, 2), stream)
    for call in (stream.synchronize, cuda.Event, cuda.Context.synchronize):
        with pytest.raises(cuda.LogicError, match="an illegal memory access was encountered"):
            call()
    assert bindings.cuDevicePrimaryCtxReset(0) == (0,)
    with pytest.raises(cuda.LogicError, match="context is destroyed"):
        cuda.mem_alloc(8)
    again = cuda.Device(0).retain_primary_context()
    cuda.mem_alloc(8).free()
    with pytest.raises(cuda.LogicError, match="invalid resource handle"):
        stream.synchronize()
    assert simulation.machine().violations == [f"{stream.handle:#x} was used after its context had ended"]
    again.detach()
    del stream, memory
    assert "is nobody's or somebody else's by now" in simulation.machine().violations[-1]
    simulation.machine().violations.clear()


def test_a_lost_device_does_not_come_back(simulation: Any, cuda: Any, bindings: Any) -> None:
    simulation.lose()
    with pytest.raises(cuda.Error, match="unknown error"):
        cuda.mem_alloc(8)
    (result,) = bindings.cuDevicePrimaryCtxReset(0)
    assert bindings.cuGetErrorName(result) == (0, b"CUDA_ERROR_UNKNOWN")


def test_calls_need_a_context_that_is_current_on_their_thread(cuda: Any) -> None:
    raised: list[Exception] = []

    def call() -> None:
        try:
            cuda.mem_alloc(8)
        except cuda.Error as error:
            raised.append(error)

    thread = Thread(target=call)
    thread.start()
    thread.join()
    assert str(raised[0]) == "cuMemAlloc failed: invalid device context"


def test_memory_that_is_given_up_on_a_thread_without_its_context_leaks(simulation: Any, cuda: Any) -> None:
    memory = cuda.mem_alloc(8)
    thread = Thread(target=memory.free)
    thread.start()
    thread.join()
    assert simulation.machine().devices[0].memory.used == 512
    assert "leaked" in simulation.machine().violations.pop()


def test_host_memory_that_is_given_back_too_early_is_an_illegal_address(simulation: Any, cuda: Any) -> None:
    from cuda.bindings import driver as bindings

    stream, memory, pages = cuda.Stream(), cuda.mem_alloc(8), np.zeros(8, np.uint8)
    assert bindings.cuMemHostRegister(pages.ctypes.data, 8, bindings.CU_MEMHOSTREGISTER_PORTABLE) == (0,)
    cuda.memcpy_htod_async(memory, pages, stream)
    assert bindings.cuMemHostUnregister(pages.ctypes.data) == (0,)
    with pytest.raises(cuda.LogicError, match="illegal memory access"):
        stream.synchronize()
    assert "was given back before it was used" in simulation.machine().violations.pop()


def test_pages_cannot_be_registered_twice(bindings: Any) -> None:
    pages = np.zeros(8, np.uint8)
    assert bindings.cuMemHostRegister(pages.ctypes.data, 8, 0) == (0,)
    (result,) = bindings.cuMemHostRegister(pages.ctypes.data + 4, 4, 0)
    assert result.name == "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED"


def test_a_graph_runs_what_was_captured_on_what_is_there_when_it_is_launched(cuda: Any, bindings: Any) -> None:
    stream, memory = cuda.Stream(), cuda.mem_alloc(8)
    source, target = locked(cuda, 1, 2), locked(cuda, 0, 0)
    capture(bindings, stream)
    cuda.memcpy_htod_async(memory, source, stream)
    cuda.memcpy_dtoh_async(target, memory, stream)
    _, graph = bindings.cuStreamEndCapture(stream.handle)
    _, executable = bindings.cuGraphInstantiate(graph, 0)
    stream.synchronize()
    assert target.tolist() == [0, 0]
    source[:] = 5
    assert bindings.cuGraphLaunch(executable, stream.handle) == (0,)
    stream.synchronize()
    assert target.tolist() == [5, 5]


@pytest.mark.parametrize("spoiler", ["mem_alloc", "synchronize", "is_done", "context", "pageable"])
def test_what_a_capture_does_not_permit_spoils_it(cuda: Any, bindings: Any, spoiler: str) -> None:
    stream, memory, source = cuda.Stream(), cuda.mem_alloc(8), locked(cuda, 1, 2)
    calls = {
        "mem_alloc": lambda: cuda.mem_alloc(8),
        "synchronize": stream.synchronize,
        "is_done": stream.is_done,
        "context": cuda.Context.synchronize,
        "pageable": lambda: cuda.memcpy_htod_async(memory, np.zeros(8, np.uint8), stream),
    }
    capture(bindings, stream)
    with pytest.raises(cuda.LogicError, match="operation not permitted when stream is capturing"):
        calls[spoiler]()
    with pytest.raises(cuda.LogicError, match="due to a previous error during capture"):
        cuda.memcpy_htod_async(memory, source, stream)
    result, graph = bindings.cuStreamEndCapture(stream.handle)
    assert (result.name, int(graph)) == ("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", 0)
    cuda.memcpy_htod_async(memory, source, stream)
    stream.synchronize()


def test_register_host_memory_fails_as_in_pycuda(cuda: Any) -> None:
    with pytest.raises(SystemError, match="returned a result with an exception set"):
        cuda.register_host_memory(np.zeros(8, np.uint8))


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(STANDINS), "PATH": "", **variables}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_process_that_ends_with_a_context_pushed_is_aborted() -> None:
    code = "from pycuda import driver as d; d.init(); c = d.Device(0).retain_primary_context(); c.push()"
    ended = run(code)
    assert ended.returncode == -6
    assert "context stack was not empty" in ended.stderr
    assert run(f"{code}; c.pop()").returncode == 0


def test_the_environment_makes_the_machine() -> None:
    code = """
        from pycuda import driver as d
        d.init(); print(d.Device.count(), d.Device(1).total_memory(), d.Device(1).compute_capability())
        c = d.Device(0).retain_primary_context(); c.push()
        d.mem_alloc(1)
        try: d.mem_alloc(1)
        except d.Error as error: print(error)
        c.pop()
    """
    variables = {
        "YAIS_SIMULATED_GPUS": "2",
        "YAIS_SIMULATED_MEMORY": "4096",
        "YAIS_SIMULATED_CAPABILITY": "9.0",
        "YAIS_SIMULATED_FAILURE": "cuMemAlloc:719:after=1",
    }
    expected = "2 4096 (9, 0)\ncuMemAlloc failed: unspecified launch failure\n"
    assert run(code, **variables).stdout == expected


def test_without_a_driver_pycuda_cannot_be_imported() -> None:
    ended = run("from pycuda import driver", YAIS_SIMULATED_DRIVER="0")
    assert "ImportError: libcuda.so.1" in ended.stderr
