import threading
from typing import Any

import numpy as np
import pytest

from yais.engines import EngineError
from yais.engines.cuda.device import CudaDevice, HostTensor, open_device
from yais.engines.cuda.driver import CudaDriver

ILLEGAL_ADDRESS, UNKNOWN = 700, 999


def copy_through(device: CudaDevice, data: Any) -> Any:
    """What comes back when `data`, bytes, is copied to the device and back."""
    with device:
        source, target = device.host_memory(data.nbytes), device.host_memory(data.nbytes)
        source[:] = data
        memory, stream, done = device.allocate(data.nbytes), device.stream(), device.event(is_waited_for=True)
        device.copy_in(int(memory), source, stream)
        device.copy_out(target, int(memory), stream)
        done.record(stream)
        done.synchronize()
        return target.copy()


def test_bytes_come_back_from_the_device(device: CudaDevice) -> None:
    data = np.arange(200, dtype=np.uint8)
    assert (copy_through(device, data) == data).all()


def test_copies_are_from_page_locked_memory(device: CudaDevice, simulation: Any) -> None:
    copy_through(device, np.arange(5000, dtype=np.uint8) % 251)
    assert not [call for call in simulation.machine().calls if "pageable" in call]


def test_a_device_is_one_object_for_all(device: CudaDevice) -> None:
    assert open_device(0) is device
    assert (device.name, device.capability, device.generation) == ("Simulated GPU", "8.0", 0)


def test_a_device_that_does_not_exist_is_named_with_how_many_there_are(simulation: Any) -> None:
    with pytest.raises(EngineError, match=r"^--devices: GPU 1 does not exist; CUDA sees 1$"):
        open_device(1)


def test_short_memory_is_told_with_what_there_is(simulation: Any) -> None:
    simulation.reset(memory=2**20)
    device = open_device(0)
    with device, pytest.raises(EngineError, match=r"^no memory on GPU 0 for 2\.0 MiB: 1\.0 MiB of 1\.0 MiB are free; "):
        device.allocate(2**21)


def test_memory_that_is_page_locked_begins_at_a_page_and_has_the_size_asked_for(device: CudaDevice) -> None:
    with device:
        blocks = [device.host_memory(size) for size in (0, 1, 4096, 4097)]
    assert [block.nbytes for block in blocks] == [0, 1, 4096, 4097]
    assert all(block.ctypes.data % 4096 == 0 for block in blocks)
    assert not any(np.shares_memory(a, b) for a in blocks for b in blocks if a is not b)


def test_an_error_of_one_call_leaves_the_device_healthy_and_a_sticky_one_does_not(
    device: CudaDevice, simulation: Any
) -> None:
    with device:
        simulation.fail("cuMemAlloc", 2)
        with pytest.raises(EngineError, match="no memory"):
            device.allocate(1)
        assert device.is_healthy()
        simulation.machine().devices[0].fail(ILLEGAL_ADDRESS)
        assert not device.is_healthy()


def test_a_reset_makes_a_broken_device_whole_and_keeps_what_the_host_has(device: CudaDevice, simulation: Any) -> None:
    with device:
        block = device.host_memory(10)
        block[:] = 7
    simulation.machine().devices[0].fail(ILLEGAL_ADDRESS)
    device.reset(0)
    assert device.generation == 1
    assert (block == 7).all()
    with device:
        assert device.is_healthy()
    data = np.arange(9, dtype=np.uint8)
    assert (copy_through(device, data) == data).all()


def test_a_reset_of_an_earlier_context_does_nothing(device: CudaDevice) -> None:
    device.reset(0)
    device.reset(0)
    assert device.generation == 1


def test_a_reset_tells_those_who_hold_something_while_they_still_can_let_go(device: CudaDevice) -> None:
    seen: list[bool] = []
    device.on_reset.append(lambda: seen.append(device.is_healthy()))
    device.reset(0)
    device.reset(1)
    assert seen == [True]


def test_a_reset_waits_for_those_who_use_the_device_and_keeps_others_out(device: CudaDevice) -> None:
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def use() -> None:
        with device:
            inside.set()
            leave.wait(30)
            order.append("used")

    def reset() -> None:
        device.reset(0)
        order.append("reset")

    threads = [threading.Thread(target=use), threading.Thread(target=reset)]
    threads[0].start()
    inside.wait(30)
    threads[1].start()
    leave.set()
    for thread in threads:
        thread.join(30)
    assert order == ["used", "reset"]


def test_a_device_that_is_gone_does_not_come_back(device: CudaDevice, simulation: Any) -> None:
    simulation.lose()
    with pytest.raises(EngineError):
        device.reset(0)


@pytest.mark.parametrize(("module", "text"), [("pycuda.driver", "pycuda"), ("cuda.bindings.driver", "cuda-bindings")])
def test_a_missing_package_is_named_with_what_to_install(
    simulation: Any, monkeypatch: pytest.MonkeyPatch, module: str, text: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(EngineError, match=rf"needs {text}: pip install 'yais\[gpu\]'"):
        open_device(0)


def test_a_call_of_cuda_that_fails_is_told_with_its_name(device: CudaDevice) -> None:
    with device, pytest.raises(EngineError, match=r"^cuMemHostUnregister failed: "):
        CudaDriver().unpin(np.zeros(4096, np.uint8))


def test_memory_of_a_tensor_grows_and_never_shrinks(device: CudaDevice) -> None:
    with device:
        tensor = HostTensor(device, np.dtype(np.float32), 16)
        small = tensor.array((2, 2))
        assert tensor.array((4,)).ctypes.data == small.ctypes.data
        large = tensor.array((100, 100))
        assert (large.shape, large.dtype) == ((100, 100), np.float32)
        assert tensor.array((2, 2)).ctypes.data == large.ctypes.data


def test_memory_that_nobody_wants_any_more_is_let_go_of(device: CudaDevice, simulation: Any) -> None:
    with device:
        for size in (1, 10_000, 20_000):
            tensor = HostTensor(device, np.dtype(np.float32), size)
            tensor.array((size,))
        del tensor
        last = HostTensor(device, np.dtype(np.float32), 5)
    assert simulation.machine().report()["host"] == 4096
    assert last.bytes(5).nbytes == 5


def test_an_array_stays_readable_when_its_tensor_is_gone(device: CudaDevice) -> None:
    with device:
        array = HostTensor(device, np.dtype(np.float32)).array((1000,))
        array[:] = 3
        HostTensor(device, np.dtype(np.float32))
    assert (array == 3).all()
