"""CUDA's driver API, as far as it goes: functions of its names that raise `CudaError` where CUDA returns an error."""

import functools
import os
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import simulation
from simulation import errors
from simulation.capture import Capture
from simulation.errors import CudaError
from simulation.machine import Device, Machine
from simulation.work import Event, Stream

P = ParamSpec("P")
R = TypeVar("R")


class _Current(threading.local):
    """The contexts of a thread, as a stack of devices, with the machine that they are of."""

    def __init__(self) -> None:
        self.stack: list[tuple[Machine, Device]] = []


_current = _Current()


def api(needs: str = "context", unsafe: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """What all calls have in common.

    `needs`: "context" for a current one that is in order, "driver" for no more than that the driver is initialised.
    A process that was forked off after the driver was initialised cannot use it.
    `unsafe`: not allowed while the thread captures a stream; trying it spoils the capture.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*arguments: P.args, **options: P.kwargs) -> R:
            machine = simulation.machine()
            if machine.process != os.getpid() and (machine.process or function.__name__ != "cuInit"):
                raise CudaError(errors.NOT_INITIALIZED)
            if needs == "context":
                current_device().check(function.__name__)
            else:
                machine.failures.check(function.__name__)
            if unsafe:
                _spoil(machine, [capture for capture in machine.captures if capture.forbids_unsafe_calls()])
            return function(*arguments, **options)

        return call

    return decorate


def current_device() -> Device:
    """The device of the thread's current context."""
    machine, device = _current.stack[-1] if _current.stack else (None, None)
    if device is None or machine is not simulation.machine():
        raise CudaError(errors.INVALID_CONTEXT)
    if not device.is_active:
        raise CudaError(errors.CONTEXT_IS_DESTROYED)
    return device


def log(*entry: Any) -> None:
    simulation.machine().calls.append(entry)


def stream_of(handle: int) -> Stream:
    """The stream of a handle, which must be of the current context."""
    simulation.machine().note_stale(handle)
    stream = simulation.machine().streams.get(handle)
    if stream is None or stream.device is not current_device():
        raise CudaError(errors.INVALID_HANDLE)
    return stream


def event_of(handle: int) -> Event:
    simulation.machine().note_stale(handle)
    event = simulation.machine().events.get(handle)
    if event is None:
        raise CudaError(errors.INVALID_HANDLE)
    return event


def capture_of(stream: Stream) -> Capture | None:
    """The capture in which work for this stream ends up; raises when it is spoilt."""
    if stream.capture and not stream.capture.is_valid:
        raise CudaError(errors.CAPTURE_INVALIDATED)
    return stream.capture


def _spoil(machine: Machine, captures: list[Capture], code: int = errors.CAPTURE_UNSUPPORTED) -> None:
    for capture in captures:
        capture.is_valid = False
    if captures:
        raise CudaError(code)


def spoil(stream: Stream, code: int = errors.CAPTURE_UNSUPPORTED) -> None:
    """Raises when the stream is being captured, after which the capture is of no use."""
    _spoil(simulation.machine(), [stream.capture] if stream.capture else [], code)


@api(needs="driver")
def cuInit(flags: int) -> None:
    if flags:
        raise CudaError(errors.INVALID_VALUE)
    if not simulation.machine().devices:
        raise CudaError(errors.NO_DEVICE)
    simulation.machine().process = os.getpid()


def cuDriverGetVersion() -> int:
    return simulation.machine().driver_version


@api(needs="driver")
def cuDeviceGetCount() -> int:
    return len(simulation.machine().devices)


@api(needs="driver")
def cuDeviceGet(number: int) -> Device:
    if not 0 <= number < len(simulation.machine().devices):
        raise CudaError(errors.INVALID_DEVICE)
    return simulation.machine().devices[number]


@api(needs="driver")
def cuDevicePrimaryCtxRetain(device: Device) -> None:
    device.check("primary context")
    device.retained += 1
    device.is_active = True
    log("retain", device.number)


@api(needs="driver")
def cuDevicePrimaryCtxRelease(device: Device) -> None:
    if not device.retained:
        raise CudaError(errors.INVALID_CONTEXT)
    device.retained -= 1
    log("release", device.number)
    if not device.retained:
        simulation.machine().destroy(device)


@api(needs="driver")
def cuDevicePrimaryCtxReset(device: Device) -> None:
    if device.lost:
        raise CudaError(device.lost)
    log("reset", device.number)
    simulation.machine().destroy(device)


@api(needs="driver")
def cuCtxPushCurrent(device: Device) -> None:
    _current.stack.append((simulation.machine(), device))


@api(needs="driver")
def cuCtxPopCurrent() -> None:
    if not _current.stack:
        raise CudaError(errors.INVALID_CONTEXT)
    _current.stack.pop()


@api()
def cuCtxSynchronize() -> None:
    device, machine = current_device(), simulation.machine()
    _spoil(machine, [capture for capture in machine.captures if capture.stream.device is device])
    log("synchronize context", device.number)
    machine.scheduler.drain(*(stream for stream in list(machine.streams.values()) if stream.device is device))
    device.check("")
