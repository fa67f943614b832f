"""Delays before a channel connects again.

Source: gRPC's connection-backoff.md, with the parameters of grpcio, which spreads the first delay as well.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_MULTIPLIER = 1.6
_JITTER = 0.2
_SMALLEST = 0.1
# The last of the names misleads: grpcio, too, takes it for the time to connect.
_OPTIONS = {
    "grpc.initial_reconnect_backoff_ms": "initial",
    "grpc.max_reconnect_backoff_ms": "maximum",
    "grpc.min_reconnect_backoff_ms": "connect_timeout",
}


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays between attempts, in seconds.

    `initial`: from the start of the first failed attempt to that of the next, unless the attempt takes longer; it grows
    from failure to failure up to `maximum`. `connect_timeout`: what an attempt is given at least, whatever the delay.
    """

    initial: float = 1.0
    maximum: float = 120.0
    connect_timeout: float = 20.0

    @classmethod
    def of_options(cls, options: Iterable[tuple[str, Any]]) -> "Backoff":
        """The backoff of a channel with these options.

        As in grpcio, less than 100 ms counts as 100 ms. Raises ValueError, with the option in it, unless it is an int.
        """
        fields: dict[str, float] = {}
        for name, value in options:
            if (field := _OPTIONS.get(name)) is None:
                continue
            if not isinstance(value, int):
                raise ValueError(f"option {name} must be an int, in milliseconds, not {value!r}")
            fields[field] = max(_SMALLEST, value / 1000)
        return cls(**fields)

    def delays(self, random: Callable[[], float]) -> Iterator[float]:
        """The delay after each failure in turn; a success begins a new iterator. `random` gives values in [0, 1)."""
        delay = min(self.initial, self.maximum)
        while True:
            yield delay * (1 + _JITTER * (2 * random() - 1))
            delay = min(delay * _MULTIPLIER, self.maximum)
