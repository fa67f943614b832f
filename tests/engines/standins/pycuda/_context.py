"""PyCUDA's contexts: each thread has a stack of its own, and what is made belongs to the context that is current.

What PyCUDA cannot give back, because its context is not current and cannot be made so on that thread, it forgets
without a word. The simulated machine takes that for a violation.
"""

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import simulation
import simulation.driver as cuda
from simulation import errors
from simulation.errors import CudaError
from simulation.machine import Device

from pycuda._errors import raised

R = TypeVar("R")


class _Stack(threading.local):
    """PyCUDA aborts the process when a thread ends whose stack is not empty."""

    def __init__(self) -> None:
        self.guard = _Guard()

    @property
    def contexts(self) -> "list[Context]":
        return self.guard.contexts


class _Guard:
    def __init__(self) -> None:
        self.contexts: list[Context] = []

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.check()

    def check(self) -> None:
        """In a process that runs tests it is a violation, so that the other tests go on."""
        if any(context._machine is simulation.machine() for context in self.contexts):
            simulation.machine().violations.append("a thread ended while a context was pushed: PyCUDA aborts")
            if "pytest" not in sys.modules:
                os.write(2, b"PyCUDA ERROR: The context stack was not empty upon module cleanup.\n")
                os.abort()


_stack = _Stack()
# Of the thread that imports this, which is taken to be the main one.
atexit.register(_stack.guard.check)


def called(function: Callable[..., R], *arguments: Any) -> R:
    """Raises PyCUDA's exception for an error of CUDA's."""
    try:
        return function(*arguments)
    except CudaError as error:
        raise raised(function.__name__, error.code) from None


class Context:
    """A primary context that is retained, as one object; another object of the same context is another one."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._machine = simulation.machine()
        self._generation = device.generation
        self._thread = threading.get_ident()
        self._is_valid = True

    @property
    def handle(self) -> int:
        return self._device.context

    def push(self) -> None:
        if _stack.contexts:
            called(cuda.cuCtxPopCurrent)
        called(cuda.cuCtxPushCurrent, self._device)
        _stack.contexts.append(self)

    @staticmethod
    def pop() -> None:
        if not _stack.contexts:
            raise raised("context::pop", errors.INVALID_CONTEXT)
        called(cuda.cuCtxPopCurrent)
        _stack.contexts.pop()
        current = Context.get_current()
        if current:
            called(cuda.cuCtxPushCurrent, current._device)

    @staticmethod
    def get_current() -> "Context | None":
        while _stack.contexts and not _stack.contexts[-1]._is_valid:
            _stack.contexts.pop()
        return _stack.contexts[-1] if _stack.contexts else None

    @staticmethod
    def get_device() -> Any:
        from pycuda.driver import Device

        return Device(called(cuda.current_device).number)

    @staticmethod
    def synchronize() -> None:
        called(cuda.cuCtxSynchronize)

    def detach(self) -> None:
        if not self._is_valid:
            raise raised("context::detach", errors.INVALID_CONTEXT)
        was_current = Context.get_current() is self
        self._is_valid = False
        if was_current:
            _warned(cuda.cuDevicePrimaryCtxRelease, self._device)
        elif self._thread == threading.get_ident():
            # As in PyCUDA, nothing takes it off the driver's stack again.
            _warned(cuda.cuCtxPushCurrent, self._device)
            _warned(cuda.cuDevicePrimaryCtxRelease, self._device)
        elif self._machine is simulation.machine() and self._device.is_sound(self._generation):
            simulation.machine().violations.append("Context.detach() on another thread than its own: not released")
        if was_current:
            called(cuda.cuCtxPopCurrent)
            current = Context.get_current()
            if current:
                called(cuda.cuCtxPushCurrent, current._device)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and other._device is self._device

    def __hash__(self) -> int:
        return id(self)

    def __del__(self) -> None:
        if self._is_valid and self._machine is simulation.machine() and not sys.is_finalizing():
            self.detach()


class Dependent:
    """What belongs to the context that was current when it was made."""

    def __init__(self) -> None:
        context = Context.get_current()
        if context is None:
            raise raised("explicit_context_dependent", errors.INVALID_CONTEXT)
        self._context = context
        self._generation = context._device.generation


def destroyed(dependent: Dependent, function: Callable[..., Any], *arguments: Any) -> None:
    """Calls it in the context of `dependent`, as far as PyCUDA does; a failure is only a warning on stderr."""
    context = dependent._context
    if context._machine is not simulation.machine() or sys.is_finalizing():
        return
    if not context._is_valid:
        return
    if Context.get_current() is context:
        _warned(function, *arguments)
    elif context._thread == threading.get_ident():
        context.push()
        _warned(function, *arguments)
        Context.pop()
    # What ends with its context is no leak.
    elif context._device.is_sound(dependent._generation):
        what = type(dependent).__name__
        simulation.machine().violations.append(f"{what} given up on a thread where its context is not current: leaked")


def _warned(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
    except CudaError as error:
        text = raised(function.__name__, error.code)
        sys.stderr.write(f"PyCUDA WARNING: a clean-up operation failed (dead context maybe?)\n{text}\n")
