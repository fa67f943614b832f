"""Plans on a GPU."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from time import monotonic

from yais.engines.base import Array, DeviceLostError, EngineError, EngineOptions, Run, Shape, TensorSpec
from yais.engines.cuda.device import CudaDevice
from yais.engines.tensorrt.buffers import Buffers
from yais.engines.tensorrt.library import Library
from yais.engines.tensorrt.profiles import check_shapes
from yais.engines.tensorrt.session import Session
from yais.engines.tensorrt.slot import BrokenDeviceError, StaleSlotError

logger = logging.getLogger(__name__)

# A device that breaks more often than this within such a time will go on to; a new process is the better remedy.
_MOST_REPAIRS = 3
_REPAIRS_WITHIN_S = 600.0


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
        self._open = partial(Session, path, library, device, options)
        self._session = self._open()
        self._lock = Lock()
        self._clock = clock
        self._repairs: list[float] = []
        self._is_lost = False

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._session.layout.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._session.layout.outputs

    @property
    def max_batch_size(self) -> int:
        return self._session.layout.max_batch_size

    def create_context(self) -> "TensorRtContext":
        """Raises `EngineError` where memory is short."""
        with self._device:
            buffers = Buffers(self._session.layout, self._device)
        return TensorRtContext(self, buffers)

    def check_shapes(self, shapes: Sequence[Shape]) -> None:
        """Raises `InvalidInputError` when no profile takes inputs of these shapes."""
        layout = self._session.layout
        check_shapes(layout.bindings, shapes, bool(layout.max_batch_size))

    def run(self, buffers: Buffers, rows: int) -> Run:
        """Raises `EngineError` when this run fails, and `DeviceLostError` when no further one can be."""
        session = self._session
        try:
            run = session.run(buffers, rows)
        except StaleSlotError:
            reason = ""
        except BrokenDeviceError as error:
            reason = str(error)
        else:
            return run
        # Not before the error is gone, whose traceback holds on to streams and memory that must be let go of.
        self._repair(session, is_counted=bool(reason))
        if reason:
            raise EngineError(f"{reason}; its context was made anew")
        return self.run(buffers, rows)

    def close(self) -> None:
        """Gives back what it has on the device, which no run may use any more."""
        self._session.close()

    def _repair(self, broken: Session, is_counted: bool) -> None:
        """A session whose context another engine has made anew is only opened again, which does not count."""
        with self._lock:
            if self._session is not broken:
                return
            try:
                self._count_repair(is_counted)
                self._device.reset(broken.generation)
                self._session = self._open_as(broken)
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
        self._repairs += [now] * is_counted
        if len(self._repairs) > _MOST_REPAIRS:
            raise EngineError(f"its context broke {len(self._repairs)} times in {_REPAIRS_WITHIN_S:.0f} s")

    def _open_as(self, before: Session) -> Session:
        """The plan again, which contexts with buffers for the one before are to run."""
        session = self._open()
        if session.layout.bindings != before.layout.bindings:
            raise EngineError("the file holds another plan by now")
        return session


class TensorRtContext:
    """One concurrent run of a plan, with the buffers of its batch."""

    def __init__(self, engine: TensorRtEngine, buffers: Buffers) -> None:
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
