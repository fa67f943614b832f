"""Memory of simulated devices, at addresses that no process has, and what of the host's memory is page-locked."""

import ctypes
from bisect import bisect_right
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import numpy as np

from simulation import errors
from simulation.errors import CudaError

ALIGNMENT = 512
# What was never written does not look like the result of anything.
POISON = 0xCD
# CU_MEMHOSTALLOC_PORTABLE and CU_MEMHOSTREGISTER_PORTABLE.
PORTABLE = 1
_PAGE = 4096


@dataclass(eq=False)
class Allocation:
    """Bytes of one device. They are at another place in this process than their address says."""

    address: int
    nbytes: int
    owner: str
    data: np.ndarray[Any, Any]

    @property
    def end(self) -> int:
        return self.address + self.nbytes


class DeviceMemory:
    """No address is given out twice, and between allocations there is a gap: every use after free is found out."""

    def __init__(self, number: int, total: int) -> None:
        self.total = total
        self.used = 0
        self.peak = 0
        self._next = 0x7F00_0000_0000 + number * 0x10_0000_0000
        self._starts: list[int] = []
        self._allocations: list[Allocation] = []
        # Engines are opened by several threads at a time.
        self._lock = RLock()

    def __iter__(self):  # noqa: ANN204
        return iter(tuple(self._allocations))

    def allocate(self, nbytes: int, owner: str) -> int:
        size = -(-nbytes // ALIGNMENT) * ALIGNMENT
        if nbytes <= 0:
            raise CudaError(errors.INVALID_VALUE)
        if self.used + size > self.total:
            raise CudaError(errors.OUT_OF_MEMORY)
        data = np.full(nbytes, POISON, np.uint8)
        with self._lock:
            address, self._next = self._next, self._next + size + ALIGNMENT
            self.used += size
            self.peak = max(self.peak, self.used)
            self._starts.append(address)
            self._allocations.append(Allocation(address, nbytes, owner, data))
        return address

    def free(self, address: int) -> None:
        with self._lock:
            place = bisect_right(self._starts, address) - 1
            if place < 0 or self._starts[place] != address:
                raise CudaError(errors.INVALID_VALUE)
            self.used -= -(-self._allocations[place].nbytes // ALIGNMENT) * ALIGNMENT
            del self._starts[place], self._allocations[place]

    def clear(self) -> None:
        with self._lock:
            self.used = 0
            self._starts.clear()
            self._allocations.clear()

    def view(self, address: int, nbytes: int) -> np.ndarray[Any, Any]:
        """The bytes from `address` on. Raises that the address is illegal when not all are of one allocation."""
        with self._lock:
            place = bisect_right(self._starts, address) - 1
            found = self._allocations[place] if place >= 0 else None
        if found is None or address + nbytes > found.end:
            raise CudaError(errors.ILLEGAL_ADDRESS)
        start = address - found.address
        return found.data[start : start + nbytes]

    def holds(self, address: int, nbytes: int) -> bool:
        try:
            return self.view(address, nbytes) is not None
        except CudaError:
            return False


@dataclass(eq=False)
class Locked:
    """Page-locked memory of the host; `block` keeps alive what the driver allocated, None for what was registered."""

    address: int
    nbytes: int
    flags: int
    context: int
    block: np.ndarray[Any, Any] | None = None


@dataclass
class HostMemory:
    """What is page-locked."""

    regions: dict[int, Locked] = field(default_factory=dict)

    def allocate(self, nbytes: int, flags: int, context: int) -> Locked:
        if nbytes <= 0:
            raise CudaError(errors.INVALID_VALUE)
        block = np.full(nbytes + _PAGE, POISON, np.uint8)
        start = -block.ctypes.data % _PAGE
        locked = Locked(block.ctypes.data + start, nbytes, flags, context, block)
        self.regions[locked.address] = locked
        return locked

    def register(self, address: int, nbytes: int, flags: int, context: int) -> None:
        if nbytes <= 0 or not address:
            raise CudaError(errors.INVALID_VALUE)
        if any(region.address < address + nbytes and address < region.address + region.nbytes for region in self):
            raise CudaError(errors.ALREADY_REGISTERED)
        self.regions[address] = Locked(address, nbytes, flags, context)

    def remove(self, address: int, allocated: bool) -> None:
        region = self.regions.get(address)
        if region is None or (region.block is not None) != allocated:
            raise CudaError(errors.INVALID_VALUE if allocated else errors.NOT_REGISTERED)
        del self.regions[address]

    def clear(self, context: int) -> None:
        self.regions = {region.address: region for region in self if region.context != context}

    def is_locked(self, address: int, nbytes: int, context: int) -> bool:
        """Raises that the argument is invalid for what is page-locked only in part, as the driver does.

        What was registered is page-locked for other contexts only when it was said to be portable.
        """
        for region in self:
            if region.address < address + nbytes and address < region.address + region.nbytes:
                if not (region.address <= address and address + nbytes <= region.address + region.nbytes):
                    raise CudaError(errors.INVALID_VALUE)
                return region.block is not None or region.context == context or bool(region.flags & PORTABLE)
        return False

    def __iter__(self):  # noqa: ANN204
        return iter(tuple(self.regions.values()))


def host_view(address: int, nbytes: int) -> np.ndarray[Any, Any]:
    return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), np.uint8)
