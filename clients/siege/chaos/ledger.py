"""What the clients know of their requests, and what the server's counters must therefore say."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

OK = 0
# Of these statuses the server certainly made the answer itself, having read the request.
_CERTAIN = frozenset((3, 5, 12))  # INVALID_ARGUMENT, NOT_FOUND, UNIMPLEMENTED


@dataclass(frozen=True, slots=True)
class Shot:
    """One request as bytes.

    `is_countable`: whether the server can read from it that it is for the watched model, and so must count it.
    `is_right`: whether it may be answered with OK. `name` says what is wrong with it.
    """

    body: bytes
    name: str = "a right request"
    is_countable: bool = True
    is_right: bool = True


class Bounds(NamedTuple):
    """The least and the most by which a counter may have grown."""

    least: int
    most: int

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.least <= value <= self.most

    def __str__(self) -> str:
        return f"{self.least:,}" if self.least == self.most else f"{self.least:,} to {self.most:,}"


@dataclass(slots=True)
class Ledger:
    """Counts of the requests for the watched model; `acts` are those of an attack, whatever they were.

    `answered`: OK came back, so the server counted one success. `refused`: it came back with a status that only the
    service gives, so that it counted one failure, if it counts refusals at all. `lost`: cancelled, timed out, gone, or
    refused where the transport may have done it: the server may have counted it, as either, or not; nor is it known of
    what is `under_way`. `surprises` are answers that the server must not give.
    """

    acts: int = 0
    hangups: int = 0
    answered: int = 0
    refused: int = 0
    lost: int = 0
    under_way: int = 0
    surprises: Counter[str] = field(default_factory=Counter)

    def sent(self, shot: Shot) -> None:
        self.under_way += shot.is_countable

    def ended(self, shot: Shot, status: int | None) -> None:
        """`status` is gRPC's number, None where none was heard."""
        if status == OK and not shot.is_right:
            self.surprises[f"OK for {shot.name}"] += 1
        if status in _CERTAIN and shot.is_right:
            self.surprises[f"status {status} for {shot.name}"] += 1
        if not shot.is_countable:
            return
        self.under_way -= 1
        if status == OK:
            self.answered += 1
        elif status in _CERTAIN:
            self.refused += 1
        else:
            self.lost += 1

    def left(self, shot: Shot) -> None:
        """Sent, and nobody waits for what becomes of it."""
        self.sent(shot)
        self.ended(shot, None)

    @property
    def unknown(self) -> int:
        return self.lost + self.under_way

    @property
    def successes(self) -> Bounds:
        return Bounds(self.answered, self.answered + self.unknown)

    def received(self, counts_refusals: bool) -> Bounds:
        """Successes and failures together; a server need not count what it refuses, unless it says that it does."""
        least = self.answered + (self.refused if counts_refusals else 0)
        return Bounds(least, self.answered + self.refused + self.unknown)
