"""Where a slot's runs leave their outputs on the device, and how they get to the host."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

from yais.engines.base import EngineError, Shape
from yais.engines.tensorrt.buffers import Buffers
from yais.engines.tensorrt.loaded import LoadedPlan
from yais.engines.tensorrt.logger import Messages

if TYPE_CHECKING:
    import tensorrt as trt


class Output(Protocol):
    """One output of a slot; its memory belongs to the slot's device."""

    def bind(self, context: "trt.IExecutionContext") -> None:
        """Has the context write there. Raises `EngineError`."""

    def check(self, context: "trt.IExecutionContext", shapes: Sequence[Shape]) -> None:
        """Sees that there is room for what a run with inputs of these shapes gives. Raises `EngineError`."""

    def fetch(self, buffers: Buffers, rows: int, computed: int, stream: Any) -> None:
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
        if self._has_batch:
            _check_rows(self._name, tuple(context.get_tensor_shape(self._name)), shapes[0][0])

    def fetch(self, buffers: Buffers, rows: int, computed: int, stream: Any) -> None:
        self._device.copy_out(buffers.output_rows(self._name, rows), int(self._memory), stream)


class VaryingOutput:
    """An output whose shape a run decides, in memory that grows when it must."""

    def __init__(self, plan: LoadedPlan, index: int) -> None:
        self._plan = plan
        self._index = index
        self._name = plan.layout.outputs[index].name
        self._memory = GrowingMemory(plan)
        self._allocator = make_allocator(plan, self._memory)

    def bind(self, context: "trt.IExecutionContext") -> None:
        if not context.set_output_allocator(self._name, self._allocator):
            raise EngineError(f"output '{self._name}' cannot have memory of its own")

    def check(self, context: "trt.IExecutionContext", shapes: Sequence[Shape]) -> None:
        """There is as much room as it needs."""

    def fetch(self, buffers: Buffers, rows: int, computed: int, stream: Any) -> None:
        """The shape was told while the run was put on the stream, for which TensorRT waits where it must."""
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
        if self._memory is None or size > self._size:
            try:
                self._memory, self._size = self._device.allocate(size), size
            except (EngineError, self._device.errors) as error:
                self._messages.add("ERROR", str(error))
                return 0
        return self.address

    def tell_shape(self, shape: Shape) -> None:
        self._shape = shape

    def take_shape(self) -> Shape | None:
        """What was told since it was last taken; None when nothing was."""
        shape, self._shape = self._shape, None
        return shape


def _check_rows(name: str, shape: Shape, rows: int) -> None:
    if shape[0] != rows:
        raise EngineError(f"output '{name}' has shape {list(shape)} for a batch of {rows} rows")


def make_allocator(plan: LoadedPlan, memory: GrowingMemory) -> "trt.IOutputAllocator":
    """What TensorRT asks for the memory of an output, and tells its shape."""
    base: Any = plan.library.module.IOutputAllocator

    class Allocator(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)

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
