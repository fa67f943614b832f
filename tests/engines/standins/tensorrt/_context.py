"""TensorRT's execution contexts: runs that are queued on streams."""

import functools
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import simulation
import simulation.driver as cuda
from simulation import errors
from simulation.driver import api
from simulation.errors import CudaError
from simulation.machine import Device
from simulation.networks import Shape, Shapes
from simulation.work import handles

from tensorrt._base import Dims, IOutputAllocator
from tensorrt._enums import ExecutionContextAllocationStrategy, Severity
from tensorrt._run import Run, enqueue

if TYPE_CHECKING:
    from tensorrt._runtime import ICudaEngine

ALIGNMENT = 256


@api(unsafe=True)
def cudaMalloc(nbytes: int, owner: str) -> int:
    """TensorRT's own allocations; they can be made to fail by this name."""
    address = cuda.current_device().memory.allocate(nbytes, owner)
    cuda.log("alloc", cuda.current_device().number, address, nbytes)
    return address


@dataclass
class Reserved:
    """Memory that TensorRT has of a device, until it is no longer held or the device's context ends."""

    device: Device
    generation: int
    address: int
    nbytes: int

    def __del__(self) -> None:
        device = self.device
        if self.generation == device.generation and not device.error and not device.lost:
            device.memory.free(self.address)
            simulation.machine().calls.append(("free", device.number, self.address))


def reserved(device: Device, nbytes: int, owner: str) -> Reserved:
    return Reserved(device, device.generation, cudaMalloc(nbytes, f"TensorRT: {owner}"), nbytes)


def exclusive(method: Callable[..., Any]) -> Callable[..., Any]:
    """A context may be used by one thread at a time."""

    @functools.wraps(method)
    def call(self: "IExecutionContext", *arguments: Any) -> Any:
        with self._used():
            return method(self, *arguments)

    return call


class IExecutionContext:
    """`_state` changes with everything on which a recorded run depends."""

    def __init__(self, engine: "ICudaEngine", strategy: ExecutionContextAllocationStrategy) -> None:
        self.engine = engine
        self.name = ""
        self.active_optimization_profile = 0
        self._handle = next(handles)
        self._lock = Lock()
        self._is_user_managed = strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        self._own: Reserved | None = None
        if not self._is_user_managed:
            self._own = reserved(engine._device, engine.device_memory_size_v2, "activations")
        self._memory = (self._own.address, self._own.nbytes) if self._own else (0, 0)
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, IOutputAllocator] = {}
        self._state = 0
        self._is_prepared = False
        simulation.machine().calls.append(("create context", self._handle, strategy.name))

    @exclusive
    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        """The shapes that were set are forgotten. May copy to the device, so that runs have to wait for the stream."""
        if not 0 <= profile_index < self.engine.num_optimization_profiles:
            return self._refuse("setOptimizationProfileAsync", f"there is no profile {profile_index}")
        try:
            self._check_current()
            enqueue(stream_handle, ("profile", stream_handle, self._handle, profile_index), [self._range()])
        except CudaError as error:
            return self._fail("setOptimizationProfileAsync", error)
        self.active_optimization_profile = profile_index
        self._shapes.clear()
        self._changed()
        return True

    @exclusive
    def set_input_shape(self, name: str, shape: Any) -> bool:
        if not isinstance(shape, tuple | list | Dims):
            raise TypeError("set_input_shape(): incompatible function arguments.")
        shape = tuple(shape)
        if name not in self.engine._network.inputs:
            return self._refuse("setInputShape", f"{name} is no input")
        if not self._is_within_engine(name, shape):
            expected = list(self.engine._network.inputs[name].shape)
            return self._refuse(
                "setInputShape",
                f"Static dimension mismatch while setting input shape for {name}. Set dimensions are {list(shape)}. "
                f"Expected dimensions are {expected}.",
                "engineDims.d[i] == dims.d[i]",
            )
        low, _, high = self.engine._about.profiles[self.active_optimization_profile][name]
        if not all(least <= dim <= most for least, dim, most in zip(low, shape, high, strict=True)):
            return self._refuse(
                "setInputShape",
                f"Set dimension {list(shape)} for tensor {name} does not satisfy any optimization profiles. "
                f"Valid range for profile {self.active_optimization_profile}: {low}..{high}.",
                "satisfyProfile",
            )
        if self._shapes.get(name) != shape:
            self._shapes[name] = shape
            self._changed()
        return True

    @exclusive
    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self.engine._names:
            return self._refuse("setTensorAddress", f"{name} is no input or output")
        if memory % ALIGNMENT:
            return self._refuse("setTensorAddress", f"the address of {name} is not aligned to {ALIGNMENT} bytes")
        if self._addresses.get(name) != memory:
            self._addresses[name] = int(memory)
            self._state += 1
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    @exclusive
    def set_output_allocator(self, name: str, output_allocator: IOutputAllocator | None) -> bool:
        if name not in self.engine._network.outputs:
            return self._refuse("setOutputAllocator", f"{name} is no output")
        if output_allocator is None:
            self._allocators.pop(name, None)
        else:
            self._allocators[name] = output_allocator
        return True

    @exclusive
    def set_device_memory(self, memory: int, size: int) -> None:
        if not self._is_user_managed:
            self._refuse("setDeviceMemoryV2", "the context has memory of its own", "isUserManaged")
        elif memory % ALIGNMENT:
            self._refuse("setDeviceMemoryV2", f"the memory is not aligned to {ALIGNMENT} bytes")
        elif self._memory != (int(memory), size):
            self._memory = (int(memory), size)
            self._state += 1

    def update_device_memory_size_for_shapes(self) -> int:
        shapes = self._known_shapes()
        return 0 if shapes is None else self.engine._activations(shapes)

    def infer_shapes(self) -> list[str]:
        """The names of the inputs whose shape is not known."""
        return [name for name in self.engine._network.inputs if self._shape_of(name) is None]

    @property
    def all_binding_shapes_specified(self) -> bool:
        return not self.infer_shapes()

    def get_tensor_shape(self, name: str) -> Dims:
        network, shapes = self.engine._network, self._known_shapes()
        if name in network.inputs:
            return Dims(self._shape_of(name) or network.inputs[name].shape)
        if name not in network.outputs:
            self._refuse("getTensorShape", f"{name} is no input or output")
            return Dims((-1,))
        return Dims(network.outputs[name].shape if shapes is None else network.output_shapes(shapes)[name])

    def get_max_output_size(self, name: str) -> int:
        shapes = self._known_shapes()
        if shapes is None or name not in self.engine._network.outputs:
            return -1
        return self.engine._network.most_bytes(shapes)[name]

    @exclusive
    def execute_async_v3(self, stream_handle: int) -> bool:
        """Queues a run. Outputs whose shape what is in the inputs decides are waited for."""
        shapes = self._known_shapes()
        if shapes is None:
            return self._refuse("enqueueV3", "not all shapes are set", "allInputDimensionsSpecified(routine)")
        for name in self.engine._names:
            if not self._addresses.get(name) and name not in self._allocators:
                return self._refuse("enqueueV3", f"Neither address or allocator is set for tensor {name}.")
        if self._memory[1] < self.engine._activations(shapes):
            return self._refuse("enqueueV3", "the memory for activations is missing or too small")
        try:
            self._check_current()
            run = self._run(dict(shapes), stream_handle)
            run.submit(self._allocators, [self._range(), (self._memory[0], sum(self._memory), True)], self._is_prepared)
        except CudaError as error:
            return self._fail("enqueueV3", error)
        self._is_prepared = True
        return True

    def _run(self, shapes: dict[str, Shape], stream_handle: int) -> Run:
        is_captured = cuda.stream_of(stream_handle).capture is not None
        return Run(
            weakref.ref(self), self.engine, shapes, dict(self._addresses), self._state, stream_handle, is_captured
        )

    def _shape_of(self, name: str) -> Shape | None:
        fixed = self.engine._network.inputs[name].shape
        return self._shapes.get(name) or (None if -1 in fixed else fixed)

    def _known_shapes(self) -> Shapes | None:
        shapes = [(name, self._shape_of(name)) for name in self.engine._network.inputs]
        return None if any(shape is None for _, shape in shapes) else tuple(shapes)  # type: ignore[arg-type]

    def _is_within_engine(self, name: str, shape: Shape) -> bool:
        fixed = self.engine._network.inputs[name].shape
        return len(fixed) == len(shape) and all(a in (-1, b) for a, b in zip(fixed, shape, strict=True))

    def _range(self) -> tuple[int, int, bool]:
        """What a context holds of itself on the device: two of its runs must not go on at once."""
        return (self._handle, self._handle + 1, True)

    def _changed(self) -> None:
        self._state += 1
        self._is_prepared = False

    def _check_current(self) -> None:
        self.engine._check_device()

    @contextmanager
    def _used(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            simulation.machine().violations.append(f"context {self._handle:#x} is used by two threads at once")
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def _refuse(self, routine: str, why: str, condition: str = "parameter is valid") -> bool:
        text = f"IExecutionContext::{routine}: Error Code 3: API Usage Error (Parameter check failed, condition: "
        self.engine._log(f"{text}{condition}. {why})")
        return False

    def _fail(self, routine: str, error: CudaError) -> bool:
        text = errors.RESULTS[error.code][1]
        self.engine._log(f"IExecutionContext::{routine}: Error Code 1: Cuda Runtime ({text})", Severity.ERROR)
        return False
