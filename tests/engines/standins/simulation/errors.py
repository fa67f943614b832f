"""Results of CUDA's driver API that occur here: number -> (name, text), both as the driver gives them."""

RESULTS: dict[int, tuple[str, str]] = {
    0: ("CUDA_SUCCESS", "no error"),
    1: ("CUDA_ERROR_INVALID_VALUE", "invalid argument"),
    2: ("CUDA_ERROR_OUT_OF_MEMORY", "out of memory"),
    3: ("CUDA_ERROR_NOT_INITIALIZED", "initialization error"),
    4: ("CUDA_ERROR_DEINITIALIZED", "driver shutting down"),
    46: ("CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"),
    100: ("CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"),
    101: ("CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"),
    201: ("CUDA_ERROR_INVALID_CONTEXT", "invalid device context"),
    214: ("CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"),
    400: ("CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"),
    600: ("CUDA_ERROR_NOT_READY", "device not ready"),
    700: ("CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"),
    701: ("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"),
    702: ("CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"),
    709: ("CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"),
    710: ("CUDA_ERROR_ASSERT", "device-side assert triggered"),
    712: (
        "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
        "part or all of the requested memory range is already mapped",
    ),
    713: (
        "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
        "pointer does not correspond to a registered memory region",
    ),
    714: ("CUDA_ERROR_HARDWARE_STACK_ERROR", "hardware stack error"),
    715: ("CUDA_ERROR_ILLEGAL_INSTRUCTION", "an illegal instruction was encountered"),
    716: ("CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"),
    719: ("CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"),
    801: ("CUDA_ERROR_NOT_SUPPORTED", "operation not supported"),
    803: (
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "system has unsupported display driver / cuda driver combination",
    ),
    900: ("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"),
    901: (
        "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
        "operation failed due to a previous error during capture",
    ),
    903: ("CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not initiated in this stream"),
    905: (
        "CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
        "dependency created on uncaptured work in another stream",
    ),
    907: ("CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"),
    908: (
        "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
        "attempt to terminate a thread-local capture sequence from another thread",
    ),
    999: ("CUDA_ERROR_UNKNOWN", "unknown error"),
}


def _code(name: str) -> int:
    return next(code for code, (found, _) in RESULTS.items() if found == name)


INVALID_VALUE = _code("CUDA_ERROR_INVALID_VALUE")
OUT_OF_MEMORY = _code("CUDA_ERROR_OUT_OF_MEMORY")
NOT_INITIALIZED = _code("CUDA_ERROR_NOT_INITIALIZED")
NO_DEVICE = _code("CUDA_ERROR_NO_DEVICE")
INVALID_DEVICE = _code("CUDA_ERROR_INVALID_DEVICE")
INVALID_CONTEXT = _code("CUDA_ERROR_INVALID_CONTEXT")
INVALID_HANDLE = _code("CUDA_ERROR_INVALID_HANDLE")
NOT_READY = _code("CUDA_ERROR_NOT_READY")
ILLEGAL_ADDRESS = _code("CUDA_ERROR_ILLEGAL_ADDRESS")
CONTEXT_IS_DESTROYED = _code("CUDA_ERROR_CONTEXT_IS_DESTROYED")
ALREADY_REGISTERED = _code("CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED")
NOT_REGISTERED = _code("CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED")
LAUNCH_FAILED = _code("CUDA_ERROR_LAUNCH_FAILED")
NOT_SUPPORTED = _code("CUDA_ERROR_NOT_SUPPORTED")
CAPTURE_UNSUPPORTED = _code("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
CAPTURE_INVALIDATED = _code("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")
CAPTURE_UNMATCHED = _code("CUDA_ERROR_STREAM_CAPTURE_UNMATCHED")
CAPTURE_ISOLATION = _code("CUDA_ERROR_STREAM_CAPTURE_ISOLATION")
CAPTURED_EVENT = _code("CUDA_ERROR_CAPTURED_EVENT")
CAPTURE_WRONG_THREAD = _code("CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD")
UNKNOWN = _code("CUDA_ERROR_UNKNOWN")


class CudaError(Exception):
    """A call of the driver that did not return CUDA_SUCCESS."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"{RESULTS[code][0]}: {RESULTS[code][1]}")
