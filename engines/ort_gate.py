"""Who may use ONNX Runtime's GPUs at the same time.

While ONNX Runtime records a CUDA graph, CUDA refuses much of what any other thread of the process asks of it, and the
end of a session would even end the process. So recording is done alone, and everything else is shared.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, local


class Gate:
    """Any number inside together, or one alone, for whom newcomers wait; who is inside may come in again."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._is_claimed = False
        self._mine = local()

    @contextmanager
    def together(self) -> Iterator[None]:
        if self._is_mine:
            yield
            return
        # Set before anything can wait, since the garbage collector may have this thread come in again at any point.
        self._mine.entered = True
        with self._changed:
            self._changed.wait_for(lambda: not self._is_claimed)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()
            self._mine.entered = False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Not to be asked for by who is inside already."""
        self._mine.entered = True
        with self._changed:
            self._changed.wait_for(lambda: not self._is_claimed)
            self._is_claimed = True
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._is_claimed = False
                self._changed.notify_all()
            self._mine.entered = False

    @property
    def _is_mine(self) -> bool:
        return getattr(self._mine, "entered", False)


GATE = Gate()
