"""Refusal log: how many requests got no result, and why, in one line of the log per interval."""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger(__name__)

INTERVAL_S = 10.0


class TimerHandle(Protocol):
    """What `call_later` returns."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The part of an event loop that a refusal log needs."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None], /) -> TimerHandle: ...


class RefusalLog:
    """Counts refusals by kind, and logs their sum `INTERVAL_S` after the first, unless `flush` comes before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._since = 0.0
        self._timer: TimerHandle | None = None

    def add(self, kind: str) -> None:
        """Counts a refusal; `kind` is one of few, since the log names each."""
        # The timer runs only while there is something to log: a server that refuses nothing never wakes up for it.
        if self._timer is None:
            self._since = self._clock.time()
            self._timer = self._clock.call_later(INTERVAL_S, self.flush)
        self._counts[kind] += 1

    def flush(self) -> None:
        """Logs what was counted since the last line, if anything."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        counts, self._counts = self._counts, Counter()
        seconds = max(1, round(self._clock.time() - self._since))
        logger.warning(
            "Refused %d request(s) in %d s: %s",
            counts.total(),
            seconds,
            ", ".join(f"{count} {kind}" for kind, count in counts.most_common()),
            extra={"refused": dict(counts), "seconds": seconds},
        )
