"""One run of an execution context, from when it is queued until the device has done it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnxruntime as ort
import simulation
import simulation.driver as cuda
from simulation import errors
from simulation.driver_memory import submit
from simulation.errors import CudaError
from simulation.memory import host_view
from simulation.networks import Shape
from simulation.work import Access, Operation

from tensorrt._base import Dims, IOutputAllocator

if TYPE_CHECKING:
    from tensorrt._runtime import ICudaEngine

_ALIGNMENT = 256


def enqueue(stream_handle: int, entry: tuple[Any, ...], accesses: Sequence[Access]) -> None:
    """Puts an operation on the stream that does nothing but use memory."""
    submit(cuda.stream_of(stream_handle), Operation(entry, lambda: None, accesses))


@dataclass(frozen=True)
class Run:
    """Everything as it was when the run was queued; the context itself must still be there when it is done."""

    context: Any
    engine: "ICudaEngine"
    shapes: dict[str, Shape]
    addresses: dict[str, int]
    state: int
    stream: int
    is_captured: bool

    def submit(self, allocators: Mapping[str, IOutputAllocator], accesses: Sequence[Access], is_prepared: bool) -> None:
        """A context that was not run since its shapes changed has work to do that cannot be captured."""
        stream, network = cuda.stream_of(self.stream), self.engine._network
        shapes = network.output_shapes(tuple(self.shapes.items()))
        is_known = all(-1 not in shape for shape in shapes.values())
        if stream.capture and not (is_known and is_prepared):
            cuda.spoil(stream)
        entry = ("execute", self.stream, self.context()._handle, *self.shapes.values())
        if is_known:
            self._allocate(allocators, shapes)
            submit(stream, Operation(entry, self._run, [*accesses, *self._reads(), *self._writes(shapes)]))
        else:
            self._submit_and_wait(entry, allocators, [*accesses, *self._reads()])

    def _submit_and_wait(
        self, entry: tuple[Any, ...], allocators: Mapping[str, IOutputAllocator], accesses: list[Access]
    ) -> None:
        """What an input holds decides a shape, so that the allocators can only be asked after the run."""
        values: dict[str, ort.OrtValue] = {}
        stream = cuda.stream_of(self.stream)
        computing = Operation(entry, lambda: values.update(self._computed()), accesses)
        submit(stream, computing)
        simulation.machine().scheduler.finish(computing)
        stream.device.check("")
        shapes = {name: tuple(value.shape()) for name, value in values.items()}
        self._allocate(allocators, shapes)
        submit(stream, Operation(("write", self.stream), lambda: self._write(values), self._writes(shapes)))

    def _allocate(self, allocators: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
        for name, allocator in allocators.items():
            self.addresses[name] = self._allocated(allocator, name, shapes[name])
            allocator.notify_shape(name, Dims(shapes[name]))

    def _allocated(self, allocator: Any, name: str, shape: Shape) -> int:
        """Raises that there is no memory when the allocator gives none."""
        size, current = max(1, self.engine._network.outputs[name].nbytes(shape)), self.addresses.get(name, 0)
        if hasattr(allocator, "reallocate_output_async"):
            address = allocator.reallocate_output_async(name, current, size, _ALIGNMENT, self.stream)
        else:
            address = allocator.reallocate_output(name, current, size, _ALIGNMENT)
        if not address:
            raise CudaError(errors.OUT_OF_MEMORY)
        return int(address)

    def _reads(self) -> list[Access]:
        inputs = self.engine._network.inputs
        starts = ((self.addresses[name], inputs[name].nbytes(shape)) for name, shape in self.shapes.items())
        return [(start, start + size, False) for start, size in starts]

    def _writes(self, shapes: Mapping[str, Shape]) -> list[Access]:
        outputs = self.engine._network.outputs
        starts = ((self.addresses[name], outputs[name].nbytes(shape)) for name, shape in shapes.items())
        return [(start, start + size, True) for start, size in starts]

    def _run(self) -> None:
        self._write(self._computed())

    def _computed(self) -> dict[str, ort.OrtValue]:
        """Computes from what is in the device's memory now."""
        self._check_context()
        network, memory = self.engine._network, self.engine._device.memory
        views = {
            name: memory.view(self.addresses[name], network.inputs[name].nbytes(shape))
            for name, shape in self.shapes.items()
        }
        try:
            return network.run({name: (view.ctypes.data, self.shapes[name]) for name, view in views.items()})
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
            # A GPU does not check e.g. indices: it reads where nothing is.
            raise CudaError(errors.ILLEGAL_ADDRESS) from error

    def _write(self, values: Mapping[str, ort.OrtValue]) -> None:
        for name, value in values.items():
            size = self.engine._network.outputs[name].nbytes(tuple(value.shape()))
            if size:
                memory = self.engine._device.memory.view(self.addresses[name], size)
                memory[:] = host_view(value.data_ptr(), size)

    def _check_context(self) -> None:
        """A run needs its context until it is done; a graph also depends on what the context was when captured."""
        context = self.context()
        if context is None:
            simulation.machine().violations.append("a context was destroyed before its run was done")
            raise CudaError(errors.ILLEGAL_ADDRESS)
        if self.is_captured and context._state != self.state:
            simulation.machine().violations.append("a context was changed after its run was captured into a graph")
