"""A plan in service on one device: its slots, for as long as the device's context lasts."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

from yais.engines.base import EngineError, EngineOptions, Run
from yais.engines.cuda.device import CudaDevice
from yais.engines.tensorrt.buffers import Buffers
from yais.engines.tensorrt.library import Library
from yais.engines.tensorrt.loaded import LoadedPlan
from yais.engines.tensorrt.slot import Slot
from yais.engines.tensorrt.workspace import Workspace

logger = logging.getLogger(__name__)

# More contexts than these rarely compute faster together; what more there are copy meanwhile.
_WORKSPACES = 4


class Session:
    """`options.contexts` slots. Raises `EngineError` where the plan cannot be loaded, or memory is short."""

    def __init__(self, path: Path, library: Library, device: CudaDevice, options: EngineOptions) -> None:
        self._device = device
        with device:
            self.generation = device.generation
            plan = LoadedPlan(path, library, device, options.max_batch_size)
            self.layout = plan.layout
            self._slots = [*_make_slots(plan, options)]
            if not (options.graphs and plan.layout.is_fixed and _record_graphs(self._slots)):
                for slot in self._slots:
                    slot.make_contexts()
            for slot in self._slots:
                slot.finish()
            device.on_reset.append(self._leave)
        self._free: SimpleQueue[Slot] = SimpleQueue()
        for slot in self._slots:
            self._free.put(slot)

    def run(self, buffers: Buffers, rows: int) -> Run:
        """Waits for a slot that is free. Raises what that raises."""
        slot = self._free.get()
        try:
            return slot.run(buffers, rows)
        finally:
            self._free.put(slot)

    def close(self) -> None:
        """Gives back all that it has on the device."""
        with self._device:
            self._device.on_reset.remove(self._leave)
            self._leave()

    def _leave(self) -> None:
        """Called before the context ends in which all this was made. Who still waits for a slot finds it of no use."""
        for slot in self._slots:
            slot.free()


def _make_slots(plan: LoadedPlan, options: EngineOptions) -> Iterator[Slot]:
    """Each shares its workspace with as few others as can be."""
    count = min(options.contexts, options.workspaces or _WORKSPACES)
    workspaces = [Workspace(plan.device, plan.workspace_size) for _ in range(count)]
    for index in range(options.contexts):
        yield Slot(plan, workspaces[index % count])


def _record_graphs(slots: Sequence[Slot]) -> bool:
    """Whether all slots have graphs; otherwise none has."""
    try:
        for slot in slots:
            slot.record_graphs()
    except EngineError as error:
        # As a text: the error itself holds on to what failed, for as long as somebody keeps the record.
        logger.warning("Runs are not recorded as CUDA graphs: %s", str(error))
        for slot in slots:
            slot.forget_graphs()
        return False
    return True
