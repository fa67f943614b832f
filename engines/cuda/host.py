"""Page-locked memory of one tensor on the host."""

from math import prod
from typing import Any
from weakref import finalize

import numpy as np

from yais.engines.base import Array, Shape
from yais.engines.cuda.device import Device


class HostTensor:
    """Memory for arrays of one type, `size` bytes at first; it only ever grows."""

    def __init__(self, device: Device, dtype: np.dtype[Any], size: int = 0) -> None:
        self._device = device
        self._dtype = dtype
        self._reserve(size)

    def array(self, shape: Shape) -> Array:
        """The beginning of the memory as an array in C order."""
        return self.bytes(prod(shape) * self._dtype.itemsize).view(self._dtype).reshape(shape)

    def bytes(self, size: int) -> Array:
        """Its first `size` bytes."""
        if size > self._bytes.nbytes:
            self._release()
            self._reserve(max(size, 2 * self._bytes.nbytes))
        return self._bytes[:size]

    def _reserve(self, size: int) -> None:
        self._bytes = self._device.host_memory(size)
        # Arrays that were made of it keep the memory itself for as long as they are used.
        self._release = finalize(self, self._device.give_back, self._bytes)
