"""The batch buffers of one context, on the host."""

from collections.abc import Iterator, Sequence

import numpy as np

from yais.engines.base import Array, Shape
from yais.engines.cuda.device import CudaDevice, HostTensor
from yais.engines.tensorrt.layout import Layout


class Buffers:
    """Page-locked memory for the inputs and outputs of the largest batch. Made while `device` is current."""

    def __init__(self, layout: Layout, device: CudaDevice) -> None:
        self._layout = layout
        self._device = device
        bindings = layout.bindings
        self._inputs = [HostTensor(device, each.dtype, layout.input_size(each)) for each in bindings.inputs]
        self._outputs = [HostTensor(device, each.dtype) for each in bindings.outputs]
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
        self._input_bytes = [self._rows_of(array) for array in inputs.values()]

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

    def _rows_of(self, array: Array) -> tuple[Array, int]:
        """All its bytes, and how many a row has."""
        return array.reshape(-1).view(np.uint8), array.nbytes // self._layout.capacity
