"""Records as columns."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from yais.clients.histogram import Nanoseconds


class Chunk(NamedTuple):
    """One entry a request, in the order in which they ended; times are nanoseconds of the monotonic clock.

    `due`: when the request had to be sent; `sent`: when it was; `done`: when its answer was in; `status`: gRPC's
    number, WRONG, or HELD_BACK for one that was never sent, where `sent` and `done` equal `due`; `kind`: which of a
    mix it was.
    """

    due: Nanoseconds
    sent: Nanoseconds
    done: Nanoseconds
    status: NDArray[np.int8]
    kind: NDArray[np.int32]

    @classmethod
    def of(cls, entries: Sequence[int]) -> Self:
        """From the numbers of all entries, one entry after the other."""
        due, sent, done, status, kind = np.ascontiguousarray(
            np.array(entries, np.int64).reshape(-1, len(cls._fields)).T
        )
        return cls(due, sent, done, status.astype(np.int8), kind.astype(np.int32))

    @property
    def size(self) -> int:
        return self.due.size

    def only(self, wanted: NDArray[np.bool_]) -> "Chunk":
        return Chunk(self.due[wanted], self.sent[wanted], self.done[wanted], self.status[wanted], self.kind[wanted])
