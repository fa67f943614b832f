"""PyCUDA's exceptions, and which of CUDA's results become which."""

from simulation import errors

_LAUNCH = (errors.LAUNCH_FAILED, 701, 702)
_RUNTIME = (errors.NO_DEVICE, errors.NOT_READY, 214)


class Error(Exception):
    pass


class MemoryError(Error):  # noqa: A001
    pass


class LogicError(Error):
    pass


class LaunchError(Error):
    pass


class RuntimeError(Error):  # noqa: A001
    pass


def raised(routine: str, code: int) -> Error:
    """The exception for a result of CUDA's."""
    text = f"{routine} failed: {errors.RESULTS[code][1]}"
    if code in _LAUNCH:
        return LaunchError(text)
    if code == errors.OUT_OF_MEMORY:
        return MemoryError(text)
    if code in _RUNTIME:
        return RuntimeError(text)
    return Error(text) if code == errors.UNKNOWN else LogicError(text)
