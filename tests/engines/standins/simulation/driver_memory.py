"""CUDA's driver API: memory and copies."""

import simulation
from simulation import errors
from simulation.driver import api, capture_of, current_device, log, spoil, stream_of
from simulation.errors import CudaError
from simulation.machine import Device
from simulation.memory import Locked, host_view
from simulation.work import Access, Operation, Stream


@api()
def cuMemGetInfo() -> tuple[int, int]:
    memory = current_device().memory
    return memory.total - memory.used, memory.total


@api(unsafe=True)
def cuMemAlloc(nbytes: int, owner: str = "pycuda") -> int:
    device = current_device()
    address = device.memory.allocate(nbytes, owner)
    log("alloc", device.number, address, nbytes)
    return address


@api(unsafe=True)
def cuMemFree(address: int) -> None:
    """Waits for the device first, as CUDA does."""
    device = current_device()
    simulation.machine().scheduler.drain(*_streams(device))
    if not device.memory.holds(address, 1):
        simulation.machine().violations.append(f"{address:#x} was freed, but is nobody's or somebody else's by now")
    device.memory.free(address)
    log("free", device.number, address)


@api(unsafe=True)
def cuMemHostAlloc(nbytes: int, flags: int) -> Locked:
    locked = simulation.machine().host.allocate(nbytes, flags, current_device().context)
    log("alloc host", locked.address, nbytes)
    return locked


@api(unsafe=True)
def cuMemFreeHost(address: int) -> None:
    """Waits for the device first, as CUDA does."""
    simulation.machine().scheduler.drain(*_streams(current_device()))
    simulation.machine().host.remove(address, allocated=True)
    log("free host", address)


@api(unsafe=True)
def cuMemHostRegister(address: int, nbytes: int, flags: int) -> None:
    simulation.machine().host.register(address, nbytes, flags, current_device().context)
    log("register", address, nbytes)


@api(unsafe=True)
def cuMemHostUnregister(address: int) -> None:
    simulation.machine().host.remove(address, allocated=False)
    log("unregister", address)


@api()
def cuMemcpyHtoDAsync(address: int, host: int, nbytes: int, handle: int) -> None:
    _copy("htod", address, host, nbytes, stream_of(handle))


@api()
def cuMemcpyDtoHAsync(host: int, address: int, nbytes: int, handle: int) -> None:
    _copy("dtoh", address, host, nbytes, stream_of(handle))


@api()
def cuMemsetD8Async(address: int, value: int, nbytes: int, handle: int) -> None:
    stream = stream_of(handle)
    if not stream.device.memory.holds(address, nbytes):
        raise CudaError(errors.INVALID_VALUE)

    def run() -> None:
        stream.device.memory.view(address, nbytes)[:] = value

    submit(stream, Operation(("memset", handle, address, nbytes), run, [(address, address + nbytes, True)]))


def submit(stream: Stream, operation: Operation) -> None:
    """Queues it, or records it when the stream is being captured."""
    capture = capture_of(stream)
    if capture:
        capture.operations.append(operation)
        log("captured", *operation.entry)
    else:
        log(*operation.entry)
        simulation.machine().scheduler.enqueue(stream, operation)


def _copy(name: str, address: int, host: int, nbytes: int, stream: Stream) -> None:
    """From and to memory that is not page-locked, it waits until the copy is done."""
    if nbytes == 0:
        return
    device = stream.device
    if not any(other.memory.holds(address, nbytes) for other in simulation.machine().devices):
        raise CudaError(errors.INVALID_VALUE)
    is_locked = simulation.machine().host.is_locked(host, nbytes, device.context)
    operation = Operation(
        (name, stream.handle, address, nbytes),
        lambda: _move(name, device, address, host, nbytes, is_locked),
        _accesses(name, address, host, nbytes),
    )
    if is_locked:
        submit(stream, operation)
        return
    spoil(stream)
    operation.entry = (*operation.entry, "pageable")
    submit(stream, operation)
    simulation.machine().scheduler.finish(operation)
    device.check("")


def _accesses(name: str, address: int, host: int, nbytes: int) -> list[Access]:
    return [(address, address + nbytes, name == "htod"), (host, host + nbytes, name == "dtoh")]


def _move(name: str, device: Device, address: int, host: int, nbytes: int, was_locked: bool) -> None:
    """The device cannot reach memory of the host that has been given back in the meantime."""
    if was_locked and not simulation.machine().host.is_locked(host, nbytes, device.context):
        simulation.machine().violations.append(f"{name}: host memory {host:#x} was given back before it was used")
        raise CudaError(errors.ILLEGAL_ADDRESS)
    memory = device.memory.view(address, nbytes)
    if name == "htod":
        memory[:] = host_view(host, nbytes)
    else:
        host_view(host, nbytes)[:] = memory


def _streams(device: Device) -> list[Stream]:
    return [stream for stream in list(simulation.machine().streams.values()) if stream.device is device]
