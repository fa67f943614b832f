"""Memory for the activations of runs, shared by contexts that do not need it at the same time."""

from threading import Lock
from typing import Any

from yais.engines.cuda.device import CudaDevice


class Workspace:
    """Memory of `size` bytes on a device. Runs that use it follow one another on the GPU, while threads go on.

    `lock` is held while a run is put on its stream, so that no other comes between waiting for the last run and being
    the last.
    """

    def __init__(self, device: CudaDevice, size: int) -> None:
        self.size = size
        self.lock = Lock()
        self._memory = device.allocate(size)
        self._used: Any = None

    @property
    def address(self) -> int:
        return int(self._memory)

    def await_last(self, stream: Any, own: Any) -> None:
        """Has the stream wait for the run that used the memory last, unless that was its own, which ends in `own`."""
        if self._used is not None and self._used is not own:
            stream.wait_for_event(self._used)

    def used_until(self, event: Any) -> None:
        """The next run waits for `event`, which has been recorded."""
        self._used = event
