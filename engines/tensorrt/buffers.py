"""Buffers of a batch: page-locked on the host for each context, and on the device for the outputs of each slot."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from yais.engines.base import Array, EngineError, Shape
from yais.engines.cuda.device import CudaDevice, HostTensor
from yais.engines.tensorrt.bindings import BatchLayout
from yais.engines.tensorrt.logger import Messages
from yais.engines.tensorrt.plan import LoadedPlan

if TYPE_CHECKING:
    import tensorrt as trt


class HostBuffers:
    """Page-locked memory for the inputs and outputs of the largest batch. Made while `device` is current."""

    def __init__(self, layout: BatchLayout, device: CudaDevice) -> None:
        self._layout = layout
        self._device = device
        bindings = layout.bindings
        self._inputs = [HostTensor(device, binding.dtype, layout.input_size(binding)) for binding in bindings.inputs]
        # Those of varying shape stay empty until a run shows how large they are.
        self._outputs = [HostTensor(device, binding.dtype) for binding in bindings.outputs]
        self.shapes: tuple[Shape, ...] = ()
        self.inputs: dict[str, Array] = {}
        self.outputs: dict[str, Array] = {
            spec.name: tensor.array((layout.capacity, *spec.shape))
            for spec, tensor in zip(layout.outputs, self._outputs, strict=True)
            if spec.is_fixed
        }
        self._input_bytes: list[tuple[Array, int]] = []

    def fit(self, shapes: Sequence[Shape]) -> None:
        """Makes the inputs hold rows of these shapes, which a profile takes. Raises `EngineError` for lack of memory.

        A whole batch of them may be more than any profile takes, for which there is memory at first.
        """
        tensors = zip(self._layout.inputs, self._inputs, shapes, strict=True)
        with self._device:
            inputs = {spec.name: tensor.array((self._layout.capacity, *shape)) for spec, tensor, shape in tensors}
        self.inputs, self.shapes = inputs, tuple(shapes)
        # All bytes of each, and how many a row has: views are made once a shape, not once a run.
        self._input_bytes = [
            (array.reshape(-1).view(np.uint8), array.nbytes // self._layout.capacity) for array in inputs.values()
        ]

    def filled(self, rows: int) -> Iterator[Array]:
        """The bytes of the first rows of each input."""
        for data, row in self._input_bytes:
            yield data[: rows * row]

    def output_rows(self, name: str, rows: int) -> Array:
        """The bytes that the first rows of an output of fixed shape go to."""
        array = self.outputs[name]
        return array[:rows].reshape(-1).view(np.uint8)

    def reshape_output(self, index: int, shape: Shape, rows: int) -> Array:
        """Makes an output hold an array of this shape, and returns the bytes of its first rows."""
        array = self._outputs[index].array(shape if self._layout.max_batch_size else (1, *shape))
        self.outputs[self._layout.outputs[index].name] = array[:rows]
        return array[:rows].reshape(-1).view(np.uint8)


class Output(Protocol):
    """One output of a slot; its memory belongs to the slot's device."""

    def bind(self, context: "trt.IExecutionContext") -> None:
        """Has the context write there. Raises `EngineError`."""

    def check(self, context: "trt.IExecutionContext", shapes: Sequence[Shape]) -> None:
        """Sees that there is room for what a run with inputs of these shapes gives. Raises `EngineError`."""

    def fetch(self, buffers: HostBuffers, rows: int, computed: int, stream: Any) -> None:
        """Has the first of the rows that were `computed` copied to the host, once `stream` comes to it."""


class FixedOutput:
    """An output of known shape, in memory for the largest batch."""

    def __init__(self, plan: LoadedPlan, index: int) -> None:
        self._device = plan.device
        self._has_batch = bool(plan.layout.max_batch_size)
        spec = plan.layout.outputs[index]
        self._name = spec.name
        self._memory = plan.device.allocate(plan.layout.rows_on_device * prod(spec.shape) * spec.dtype.itemsize)

    def bind(self, context: "trt.IExecutionContext") -> None:
        if not context.set_tensor_address(self._name, int(self._memory)):
            raise EngineError(f"output '{self._name}' cannot be bound")

    def check(self, context: "trt.IExecutionContext", shapes: Sequence[Shape]) -> None:
        # A model that reshapes its batch may give more rows than there is memory for.
        if self._has_batch:
            _check_rows(self._name, tuple(context.get_tensor_shape(self._name)), shapes[0][0])

    def fetch(self, buffers: HostBuffers, rows: int, computed: int, stream: Any) -> None:
        self._device.copy_out(buffers.output_rows(self._name, rows), int(self._memory), stream)


class VaryingOutput:
    """An output whose shape a run decides, in memory that grows when it must."""

    def __init__(self, plan: LoadedPlan, index: int) -> None:
        self._plan = plan
        self._index = index
        self._name = plan.layout.outputs[index].name
        self._memory = GrowingMemory(plan)
        # Kept here, since contexts only have its address.
        self._allocator = make_allocator(plan, self._memory)

    def bind(self, context: "trt.IExecutionContext") -> None:
        if not context.set_output_allocator(self._name, self._allocator):
            raise EngineError(f"output '{self._name}' cannot have memory of its own")

    def check(self, context: "trt.IExecutionContext", shapes: Sequence[Shape]) -> None:
        """There is as much room as it needs."""

    def fetch(self, buffers: HostBuffers, rows: int, computed: int, stream: Any) -> None:
        """The shape was reported while the run was put on the stream, for which TensorRT waits where it must."""
        shape = self._memory.take_shape()
        if shape is None or -1 in shape:
            raise EngineError(f"output '{self._name}': TensorRT does not tell its shape, but {shape}")
        if self._plan.layout.max_batch_size:
            _check_rows(self._name, shape, computed)
        target = buffers.reshape_output(self._index, shape, rows)
        self._plan.device.copy_out(target, self._memory.address, stream)


class GrowingMemory:
    """Memory of a device, as large as it ever had to be, and the shape of what a run left there."""

    def __init__(self, plan: LoadedPlan) -> None:
        self._device = plan.device
        self._messages: Messages = plan.messages
        self._size = 0
        self._memory: Any = None
        self._shape: Shape | None = None

    @property
    def address(self) -> int:
        return int(self._memory)

    def reserve(self, size: int) -> int:
        """The address of `size` bytes; 0 when there is no memory, which TensorRT then takes for a failed run."""
        # TensorRT asks anew for each run, and may be given what it had before.
        if self._memory is None or size > self._size:
            # An exception cannot pass through TensorRT's C++; the log is where others will look for it.
            try:
                self._memory, self._size = self._device.allocate(size), size
            except (EngineError, self._device.errors) as error:
                self._messages.add("ERROR", str(error))
                return 0
        return self.address

    def tell_shape(self, shape: Shape) -> None:
        self._shape = shape

    def take_shape(self) -> Shape | None:
        """What was reported since it was last taken; None when nothing was."""
        shape, self._shape = self._shape, None
        return shape


def _check_rows(name: str, shape: Shape, rows: int) -> None:
    if shape[0] != rows:
        raise EngineError(f"output '{name}' has shape {list(shape)} for a batch of {rows} rows")


def make_allocator(plan: LoadedPlan, memory: GrowingMemory) -> "trt.IOutputAllocator":
    """The object that TensorRT asks for an output's memory, and to which it reports the output's shape."""
    # Made here, since the class to derive from is that of the TensorRT which is installed.
    base: Any = plan.library.module.IOutputAllocator

    class Allocator(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)

        # TensorRT 10 deprecates this one in favour of the other, and may still call either.
        def reallocate_output(self, name: str, current: int, size: int, alignment: int) -> int:
            return memory.reserve(size)

        def reallocate_output_async(self, name: str, current: int, size: int, alignment: int, stream: int) -> int:
            return memory.reserve(size)

        def notify_shape(self, name: str, shape: Sequence[int]) -> None:
            memory.tell_shape(tuple(shape))

    made: trt.IOutputAllocator = Allocator()
    return made


def make_outputs(plan: LoadedPlan) -> list[Output]:
    """One for each output. Raises `EngineError` where there is no memory for them."""
    specs = plan.layout.outputs
    return [
        FixedOutput(plan, index) if spec.is_fixed else VaryingOutput(plan, index) for index, spec in enumerate(specs)
    ]
