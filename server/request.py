"""One inference request on its way through queue, batch and context."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from yais.engines import Array
from yais.server.errors import ServiceError
from yais.server.signature import Layout


class Request(ABC):
    """Rows for one model, and how to answer whoever asked.

    `inputs`: name -> array of `(rows, *shape)`, in the model's order, as `shapes` is. `arrived`, `queued` and
    `deadline` are nanoseconds of the monotonic clock: when the handler was entered, when the queue took it, and after
    which nobody waits for the answer any more.
    `answer` and `refuse` are called on the event loop, one of them, once, and only while the request `is_wanted`.
    """

    __slots__ = ("arrived", "cancelled", "deadline", "inputs", "queued", "rows", "shapes")

    def __init__(self, inputs: Mapping[str, Array], layout: Layout, arrived: int, deadline: int | None) -> None:
        self.inputs = inputs
        self.rows = layout.rows
        self.shapes = layout.shapes
        self.arrived = arrived
        self.queued = arrived
        self.deadline = deadline
        self.cancelled = False

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits for the answer."""
        return not self.cancelled

    @abstractmethod
    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Takes this request's rows of each output: views of the batch buffers, which are reused right afterwards."""

    @abstractmethod
    def refuse(self, error: ServiceError) -> None:
        """Takes the reason why there is no result."""
