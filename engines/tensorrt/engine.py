"""Engines of plans on one device: contexts that share slots, and the repair of a device whose context broke."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from time import monotonic

from yais.engines.base import Array, DeviceLostError, EngineError, EngineOptions, Run, Shape, TensorSpec
from yais.engines.cuda.device import CudaDevice
from yais.engines.tensorrt.bindings import check_shapes
from yais.engines.tensorrt.buffers import HostBuffers
from yais.engines.tensorrt.library import Library
from yais.engines.tensorrt.plan import LoadedPlan
from yais.engines.tensorrt.slot import BrokenDeviceError, Slot, StaleSlotError, Workspace

logger = logging.getLogger(__name__)

# More contexts than these rarely compute faster together; what more there are copy meanwhile.
_WORKSPACES = 4
# A device that breaks more often than this within such a time will go on to; a new process is the better remedy.
_MOST_REPAIRS = 3
_REPAIRS_WITHIN_S = 600.0


class SlotPool:
    """`options.contexts` slots of a plan, for as long as the device's context lasts.

    Raises `EngineError` where the plan cannot be loaded, or memory is short.
    """

    def __init__(self, path: Path, library: Library, device: CudaDevice, options: EngineOptions) -> None:
        self._device = device
        with device:
            self.generation = device.generation
            plan = LoadedPlan(path, library, device, options.max_batch_size)
            self.layout = plan.layout
            count = min(options.contexts, options.workspaces or _WORKSPACES)
            workspaces = [Workspace(device, plan.workspace_size) for _ in range(count)]
            # Each slot shares its workspace with as few others as can be.
            self._slots = [Slot(plan, workspaces[index % count]) for index in range(options.contexts)]
            # A slot runs by its graphs, or by a context for each profile; it never needs both.
            if not (options.graphs and plan.layout.is_fixed and _record_graphs(self._slots)):
                for slot in self._slots:
                    slot.make_contexts()
            # Memory is cleared on the slots' streams; an error of that belongs here, and not to the first run.
            for slot in self._slots:
                slot.finish()
            device.on_reset.append(self._leave)
        self._free: SimpleQueue[Slot] = SimpleQueue()
        for slot in self._slots:
            self._free.put(slot)

    def run(self, buffers: HostBuffers, rows: int) -> Run:
        """Waits for a slot that is free. Raises what that raises."""
        # SimpleQueue is the one queue in C, and first in, first out: no slot stays cold.
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


def _record_graphs(slots: Sequence[Slot]) -> bool:
    """Whether all slots have graphs; otherwise none has."""
    try:
        for slot in slots:
            slot.record_graphs()
    except EngineError as error:
        # As a text: a log record that is kept would keep the error, and through its frames what failed.
        logger.warning("Runs are not recorded as CUDA graphs: %s", str(error))
        for slot in slots:
            slot.forget_graphs()
        return False
    return True


class TensorRtEngine:
    """A plan on one device, whose contexts share `options.contexts` slots. Raises `EngineError`.

    When a run breaks the device's context, it is made anew, once for all who notice.
    """

    platform = "tensorrt_plan"

    def __init__(
        self,
        path: Path,
        library: Library,
        device: CudaDevice,
        options: EngineOptions,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.device = f"cuda:{device.index}"
        self._device = device
        self._open = partial(SlotPool, path, library, device, options)
        self._pool = self._open()
        self._lock = Lock()
        self._clock = clock
        self._repairs: list[float] = []
        self._is_lost = False

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._pool.layout.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._pool.layout.outputs

    @property
    def max_batch_size(self) -> int:
        return self._pool.layout.max_batch_size

    @property
    def declares_batch(self) -> bool:
        return self._pool.layout.bindings.declares_batch

    def create_context(self) -> "TensorRtContext":
        """Raises `EngineError` where memory is short."""
        with self._device:
            buffers = HostBuffers(self._pool.layout, self._device)
        return TensorRtContext(self, buffers)

    def check_shapes(self, shapes: Sequence[Shape]) -> None:
        """Raises `InvalidInputError` when no profile takes inputs of these shapes."""
        layout = self._pool.layout
        check_shapes(layout.bindings, shapes, bool(layout.max_batch_size))

    def run(self, buffers: HostBuffers, rows: int) -> Run:
        """Raises `EngineError` when this run fails, and `DeviceLostError` when no further one can be."""
        pool = self._pool
        try:
            run = pool.run(buffers, rows)
        except StaleSlotError:
            reason = ""
        except BrokenDeviceError as error:
            reason = str(error)
        else:
            return run
        # Not before the error is gone, whose traceback keeps streams and memory that must be freed.
        self._repair(pool, is_counted=bool(reason))
        if reason:
            raise EngineError(f"{reason}; its context was made anew")
        return self.run(buffers, rows)

    def close(self) -> None:
        """As the contract says. Without it the device, which tells the slots of its resets, would keep them."""
        self._pool.close()

    def _repair(self, broken: SlotPool, is_counted: bool) -> None:
        """A pool whose context another engine has made anew is only opened again, which does not count."""
        with self._lock:
            if self._pool is not broken:
                # Another context of this engine has noticed first.
                return
            try:
                self._count_repair(is_counted)
                self._device.reset(broken.generation)
                pool = self._open()
                # Contexts go on with the buffers that they have, which are for the plan before.
                if pool.layout.bindings != broken.layout.bindings:
                    raise EngineError("the file holds another plan by now")
                self._pool = pool
            # Whatever keeps the plan from being run again; TensorRT raises RuntimeError where a call fails.
            except (EngineError, OSError, RuntimeError) as error:
                self._is_lost = True
                raise DeviceLostError(f"GPU {self._device.index} is lost: {error}") from error
        logger.warning("The context of GPU %d broke, and was made anew", self._device.index)

    def _count_repair(self, is_counted: bool) -> None:
        if self._is_lost:
            raise EngineError("it was found so before")
        now = self._clock()
        self._repairs = [before for before in self._repairs if now - before < _REPAIRS_WITHIN_S]
        # A slot that is stale because another engine had the device reset says nothing about this one's runs.
        self._repairs += [now] * is_counted
        if len(self._repairs) > _MOST_REPAIRS:
            raise EngineError(f"its context broke {len(self._repairs)} times in {_REPAIRS_WITHIN_S:.0f} s")


class TensorRtContext:
    """One concurrent run of a plan, with the buffers of its batch."""

    def __init__(self, engine: TensorRtEngine, buffers: HostBuffers) -> None:
        self._engine = engine
        self._buffers = buffers

    @property
    def inputs(self) -> dict[str, Array]:
        return self._buffers.inputs

    @property
    def outputs(self) -> dict[str, Array]:
        return self._buffers.outputs

    def fit(self, shapes: Sequence[Shape]) -> None:
        """Raises `InvalidInputError` for shapes outside the profiles."""
        if tuple(shapes) != self._buffers.shapes:
            self._engine.check_shapes(shapes)
            self._buffers.fit(shapes)

    def execute(self, rows: int) -> Run:
        return self._engine.run(self._buffers, rows)
