"""Outcomes of requests, and how often each occurred."""

from collections import Counter
from dataclasses import dataclass, fields
from functools import cache
from types import MappingProxyType
from typing import Self

import grpc
import numpy as np
from numpy.typing import NDArray

# gRPC's numbers begin at 0 and end at 16; siege's own lie below.
OK = 0
DROPPED = -1
WRONG = -2

# The value of a grpc.StatusCode is a pair: gRPC's number, and a text.
STATUS_NUMBERS = MappingProxyType({code: code.value[0] for code in grpc.StatusCode})
STATUS_NAMES = MappingProxyType(
    {number: code.name for code, number in STATUS_NUMBERS.items()} | {DROPPED: "DROPPED", WRONG: "WRONG"}
)

# Statuses are indices into arrays, counted from here.
LOWEST_STATUS = WRONG
STATUSES = max(STATUS_NAMES) - LOWEST_STATUS + 1

# Fields of `Counts`; their order is that of the columns in a recorder's table by second.
OUTCOMES = ("dropped", "completed", "rejected", "timed_out", "cancelled", "errored", "wrong")
FAILED_OUTCOMES = ("rejected", "timed_out", "cancelled", "errored", "wrong")

_OUTCOME_OF = MappingProxyType(
    {
        DROPPED: "dropped",
        WRONG: "wrong",
        OK: "completed",
        STATUS_NUMBERS[grpc.StatusCode.UNAVAILABLE]: "rejected",
        STATUS_NUMBERS[grpc.StatusCode.RESOURCE_EXHAUSTED]: "rejected",
        STATUS_NUMBERS[grpc.StatusCode.DEADLINE_EXCEEDED]: "timed_out",
        STATUS_NUMBERS[grpc.StatusCode.CANCELLED]: "cancelled",
    }
)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many were offered, and what became of them.

    Of a run and of a kind, `offered = sent + dropped`, and
    `sent = completed + rejected + timed_out + cancelled + errored + wrong`, always; seconds only add up to the run.

    `rejected` was not taken: by the server, by what stands before it, or for want of a connection (UNAVAILABLE,
    RESOURCE_EXHAUSTED). `wrong` was answered with something else than was expected. `errored` is every other status.
    `failed` is all of these. `late` was completed, but later than asked for.
    """

    offered: int = 0
    sent: int = 0
    dropped: int = 0
    completed: int = 0
    rejected: int = 0
    timed_out: int = 0
    cancelled: int = 0
    errored: int = 0
    wrong: int = 0
    late: int = 0

    @classmethod
    def of(cls, outcomes: NDArray[np.int64], late: int = 0) -> Self:
        """From how often each of `OUTCOMES` occurred."""
        by_name = dict(zip(OUTCOMES, outcomes.tolist(), strict=True))
        offered = int(outcomes.sum())
        return cls(offered=offered, sent=offered - by_name["dropped"], late=late, **by_name)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def failed(self) -> int:
        """What was sent and did not complete."""
        return self.sent - self.completed

    @property
    def failed_by_outcome(self) -> dict[str, int]:
        """What `failed` is made of, in words, without what did not occur."""
        counts = {name.replace("_", " "): getattr(self, name) for name in FAILED_OUTCOMES}
        return {name: count for name, count in counts.items() if count}

    def check(self) -> None:
        """Raises ValueError unless they add up."""
        ended = self.completed + self.rejected + self.timed_out + self.cancelled + self.errored + self.wrong
        if self.offered != self.sent + self.dropped or self.sent != ended or self.late > self.completed:
            listed = ", ".join(f"{field.name} {getattr(self, field.name)}" for field in fields(self))
            raise ValueError(f"counts that do not add up: {listed}")


def failures(statuses: NDArray[np.int64]) -> dict[str, int]:
    """By name, the most frequent first, from how often each status came; those that were sent and did not complete."""
    counts = Counter({status: n for status, n in enumerate(statuses.tolist(), LOWEST_STATUS) if n})
    return {STATUS_NAMES[status]: n for status, n in counts.most_common() if status not in (OK, DROPPED)}


def outcome_numbers(statuses: NDArray[np.int8]) -> NDArray[np.intp]:
    """The place in `OUTCOMES` of each status."""
    return _outcome_table()[statuses.astype(np.intp) - LOWEST_STATUS]


@cache
def _outcome_table() -> NDArray[np.intp]:
    names = (_OUTCOME_OF.get(status, "errored") for status in range(LOWEST_STATUS, LOWEST_STATUS + STATUSES))
    return np.array([OUTCOMES.index(name) for name in names])
