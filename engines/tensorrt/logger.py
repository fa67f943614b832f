"""Log of TensorRT: passed on to Python's, and kept, since many of its calls only say that they failed."""

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from yais.engines.tensorrt.library import Module

if TYPE_CHECKING:
    import tensorrt as trt

logger = logging.getLogger("yais.engines.tensorrt")

# TensorRT is chatty: what it calls information is for those who debug.
_LEVELS = {
    "INTERNAL_ERROR": logging.DEBUG,
    "ERROR": logging.DEBUG,
    "WARNING": logging.WARNING,
    "INFO": logging.DEBUG,
    "VERBOSE": logging.DEBUG,
}
_KEPT = 20
# TensorRT takes the first logger of a process for what belongs to no call, and complains of each further one.
_SECOND_LOGGER = "differs from one already registered"


class Messages:
    """The latest errors that TensorRT logged; may be used by several threads."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=_KEPT)
        # Some warnings come once a layer, with the same words.
        self._warned: set[str] = set()

    def add(self, severity: str, text: str) -> None:
        """`severity` is the name of TensorRT's. Errors are raised by the caller of TensorRT, so they are not logged."""
        if _SECOND_LOGGER in text:
            return
        if severity in ("ERROR", "INTERNAL_ERROR"):
            self._errors.append(text.strip())
        if severity == "WARNING":
            if text in self._warned:
                return
            self._warned.add(text)
        logger.log(_LEVELS[severity], "%s", text.strip())

    def take(self) -> str:
        """The errors since they were last taken, as one text."""
        # One by one, since another thread may log meanwhile.
        errors = []
        while self._errors:
            errors.append(self._errors.popleft())
        return "; ".join(dict.fromkeys(errors)) or "TensorRT does not say why"


def make_logger(module: Module, messages: Messages) -> "trt.ILogger":
    """A logger of TensorRT that hands all to `messages`."""
    base: Any = module.ILogger

    class Logger(base):  # type: ignore[misc]
        def __init__(self) -> None:
            # By name, as pybind11 wants it: otherwise there is no C++ object behind this one.
            base.__init__(self)

        def log(self, severity: "trt.ILogger.Severity", text: str) -> None:
            messages.add(severity.name, text)

    made: trt.ILogger = Logger()
    return made
