"""Simulated machine with GPUs, behind the stand-ins of pycuda, cuda-bindings and TensorRT.

`machine()` is the one of this process, `reset(...)` makes another. Tests look at what was called (`machine().calls`),
at what was wrong (`machine().violations`, where nothing may be) and at what is left (`machine().report()`).
"""

from simulation.errors import RESULTS, CudaError
from simulation.machine import Device, Machine, make_machine, report_at_exit
from simulation.plans import make_plan

__all__ = ["RESULTS", "CudaError", "Device", "Machine", "fail", "lose", "machine", "make_plan", "reset"]

_machine = make_machine()
report_at_exit(_machine)


def machine() -> Machine:
    return _machine


def reset(
    gpus: int = 1, memory: int = 2**33, capability: tuple[int, int] = (8, 0), driver_version: int = 12080
) -> Machine:
    """Another machine, with nothing on it. What was made on the one before is forgotten."""
    global _machine
    _machine = make_machine(gpus, memory, capability, driver_version)
    return _machine


def fail(name: str, code: int, times: int = 1, after: int = 0, device: int | None = None) -> None:
    """Makes a call of the driver, such as `cuMemAlloc`, or an operation, such as `htod` or `execute`, fail."""
    _machine.failures.fail(name, code, times, after, device)


def lose(number: int = 0, code: int = 999) -> None:
    """The device is gone: every call fails, also after a reset."""
    _machine.lose(number, code)
