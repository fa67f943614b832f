"""Inference request on its way through queue, batch and context."""

from collections.abc import Mapping
from typing import Protocol

from yais.engines import Array, Shape
from yais.server.errors import ServiceError


class Request(Protocol):
    """Rows for one model, and how to answer their caller.

    `arrived`, `queued` and `deadline` are nanoseconds of the monotonic clock: when the request came, when the queue
    took it, and after which the caller has given up. `shapes` are those of a row of each input, in the model's order.
    `answer` and `refuse` are called on the event loop, one of them, once, and only while the request `is_wanted`.
    """

    queued: int

    @property
    def arrived(self) -> int: ...

    @property
    def deadline(self) -> int | None: ...

    @property
    def rows(self) -> int: ...

    @property
    def shapes(self) -> tuple[Shape, ...]: ...

    @property
    def is_wanted(self) -> bool:
        """Whether the caller still waits for the answer."""

    def fill(self, inputs: Mapping[str, Array], row: int) -> None:
        """Writes this request's rows into the batch buffers, from `row` on. Called by the thread of the context."""

    def answer(self, outputs: Mapping[str, Array], row: int) -> None:
        """Takes this request's rows of each output, from `row` on: the buffers are reused right afterwards."""

    def refuse(self, error: ServiceError) -> None:
        """Takes the reason why there is no result."""
