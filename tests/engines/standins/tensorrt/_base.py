"""Parts that pybind11 gives to TensorRT's classes: dimensions, memory of the library, and classes to derive from."""

from collections.abc import Iterable
from typing import Any

from tensorrt._enums import DataType, Severity


class Dims:
    """Behaves like a tuple, but is none."""

    MAX_DIMS = 8

    def __init__(self, shape: Iterable[int] = ()) -> None:
        self._dims = tuple(int(dim) for dim in shape)

    def __len__(self) -> int:
        return len(self._dims)

    def __getitem__(self, index: Any) -> Any:
        return self._dims[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dims | tuple | list) and self._dims == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return str(self._dims)


class IHostMemory(bytes):
    """Gives a buffer and its size, and nothing else of what bytes can do."""

    dtype = DataType.INT8
    __len__ = __getitem__ = __iter__ = None  # type: ignore[assignment]

    @property
    def nbytes(self) -> int:
        return memoryview(self).nbytes


class _Meta(type):
    """As with pybind11, a class that is derived must call the `__init__` of its base."""

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        made = super().__call__(*arguments, **options)
        if not getattr(made, "_is_initialised", False):
            raise TypeError(f"{cls.__name__}.__init__() must be called when overriding __init__")
        return made


class Derivable(metaclass=_Meta):
    def __init__(self) -> None:
        self._is_initialised = True


class ILogger(Derivable):
    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING = Severity.INTERNAL_ERROR, Severity.ERROR, Severity.WARNING
    INFO, VERBOSE = Severity.INFO, Severity.VERBOSE

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError('Tried to call pure virtual function "ILogger::log"')


class Logger(ILogger):
    def __init__(self, min_severity: Severity = Severity.WARNING) -> None:
        ILogger.__init__(self)
        self.min_severity = min_severity

    def log(self, severity: Severity, msg: str) -> None:
        if int(severity) <= int(self.min_severity):
            print(f"[TRT] [{severity.name[0]}] {msg}")


class IOutputAllocator(Derivable):
    """Only what a derived class has of `reallocate_output`, `reallocate_output_async` and `notify_shape` is called."""


class IProgressMonitor(Derivable):
    """A derived class has `phase_start`, `step_complete` and `phase_finish`."""
