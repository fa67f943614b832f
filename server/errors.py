"""Errors that the service answers with when there is no result.

    ServiceError                    status              counted as
    ├── InvalidRequestError         INVALID_ARGUMENT    OTHER
    ├── UnreadableError             INTERNAL            OTHER (but it names no model to count it for)
    ├── UnsupportedError            UNIMPLEMENTED       OTHER
    ├── NotFoundError               NOT_FOUND           OTHER (an unknown model has no series of its own)
    ├── EngineFailureError          INTERNAL            BACKEND
    ├── LostDeviceError             UNAVAILABLE         BACKEND
    ├── QueueFullError              UNAVAILABLE         REJECTED
    ├── DrainingError               UNAVAILABLE         REJECTED
    └── ExpiredError                DEADLINE_EXCEEDED   REJECTED

The status goes onto the wire in one place (grpc/status.py). The reason is the `reason` label of Triton's
`nv_inference_request_failure`. Texts that Triton has are Triton's, since clients match on them.
"""

from typing import ClassVar, Literal

from grpc import StatusCode

Reason = Literal["OTHER", "BACKEND", "CANCELED", "REJECTED"]


class ServiceError(Exception):
    """Base of all errors that reach a caller; `str()` is the text that it reads."""

    status: ClassVar[StatusCode]
    # What the log's sum of refusals calls it.
    kind: ClassVar[str]
    reason: ClassVar[Reason] = "OTHER"


class InvalidRequestError(ServiceError):
    """The request contradicts the protocol or the model."""

    status = StatusCode.INVALID_ARGUMENT
    kind = "invalid"


class UnreadableError(ServiceError):
    """The request's bytes are no message of its kind."""

    status = StatusCode.INTERNAL
    kind = "unreadable"

    def __init__(self) -> None:
        super().__init__("Unable to parse request")


class UnsupportedError(ServiceError):
    """The request asks for a part of the protocol that is not served."""

    status = StatusCode.UNIMPLEMENTED
    kind = "unsupported"


class NotFoundError(ServiceError):
    """No such model, version or shared-memory region."""

    status = StatusCode.NOT_FOUND
    kind = "not found"


class EngineFailureError(ServiceError):
    """The engine failed on this request."""

    status = StatusCode.INTERNAL
    kind = "engine failure"
    reason = "BACKEND"


class LostDeviceError(ServiceError):
    """The device that the engine runs on is gone, and the server is about to exit; another one may answer."""

    status = StatusCode.UNAVAILABLE
    kind = "device lost"
    reason = "BACKEND"


class QueueFullError(ServiceError):
    """The model's queue is at its bound."""

    status = StatusCode.UNAVAILABLE
    kind = "queue full"
    reason = "REJECTED"

    def __init__(self, bound: int) -> None:
        super().__init__(f"Exceeds maximum queue size: {bound} requests are waiting (--max-queue-size)")


class DrainingError(ServiceError):
    """The server is about to exit."""

    status = StatusCode.UNAVAILABLE
    kind = "draining"
    reason = "REJECTED"

    def __init__(self, text: str = "GRPC server is shutting down and has stopped accepting new requests.") -> None:
        super().__init__(text)


class ExpiredError(ServiceError):
    """The caller's deadline passed before the request reached a context."""

    status = StatusCode.DEADLINE_EXCEEDED
    kind = "deadline exceeded"
    reason = "REJECTED"

    def __init__(self) -> None:
        super().__init__("Request timeout expired")
