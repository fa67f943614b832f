"""What became of each request, as columns: the commands write records, reports are functions of them."""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from types import MappingProxyType

import grpc

OK = 0
HELD_BACK = -1

STATUS_NUMBERS = MappingProxyType({code: code.value[0] for code in grpc.StatusCode})
STATUS_NAMES = MappingProxyType({number: code.name for code, number in STATUS_NUMBERS.items()})

_DISTINCT_TEXTS = 16
_OTHER_TEXTS = "(other texts)"


@dataclass(slots=True)
class Records:
    """One entry a request, in the order in which they ended; times are nanoseconds of the monotonic clock.

    `due`: when the request had to be sent; `sent`: when it was; `done`: when its answer was in; `status`: gRPC's
    number, or HELD_BACK for one that was never sent, where `sent` and `done` equal `due`. `texts` counts what failures
    said.
    """

    due: "array[int]" = field(default_factory=lambda: array("q"))
    sent: "array[int]" = field(default_factory=lambda: array("q"))
    done: "array[int]" = field(default_factory=lambda: array("q"))
    status: "array[int]" = field(default_factory=lambda: array("b"))
    texts: Counter[tuple[int, str]] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.status)

    def add(self, due: int, sent: int, done: int, status: int = OK) -> None:
        self.due.append(due)
        self.sent.append(sent)
        self.done.append(done)
        self.status.append(status)

    def add_failure(self, due: int, sent: int, done: int, code: grpc.StatusCode, text: str) -> None:
        number = STATUS_NUMBERS[code]
        self.add(due, sent, done, number)
        # Texts may carry ids or addresses; what is kept of them must not grow with the run.
        known = len(self.texts) < _DISTINCT_TEXTS or (number, text) in self.texts
        self.texts[number, text if known else _OTHER_TEXTS] += 1

    def hold_back(self, due: int) -> None:
        self.add(due, due, due, HELD_BACK)
