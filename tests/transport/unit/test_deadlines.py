from collections.abc import Callable
from typing import Any

from yais.transport.deadlines import Deadlines

TIMEOUT = 10.0


class Timer:
    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring: Callable[[], None] | None = ring

    def cancel(self) -> None:
        self.ring = None


class Clock:
    """A loop that is only asked for the time, and rings when it is told how late it is."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, Timer]] = []

    @property
    def timers(self) -> list[float]:
        return [when for when, timer in self._timers if timer.ring]

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, ring: Callable[[], None]) -> Timer:
        timer = Timer(ring)
        self._timers.append((when, timer))
        return timer

    def go_to(self, now: float) -> None:
        self.now = now
        due = [timer for when, timer in self._timers if when <= now]
        self._timers = [(when, timer) for when, timer in self._timers if when > now]
        for timer in due:
            if timer.ring:
                timer.ring()


class Call:
    """Ends as a call does: its timer is cancelled, and then it is told."""

    def __init__(self, ended: Callable[[], object] = lambda: None) -> None:
        self.timer: Any = None
        self.status: int | None = None
        self._ended = ended

    def cancel(self, status: int, details: str) -> None:
        if self.status is None:
            self.end(status)

    def end(self, status: int = 0) -> None:
        self.status = status
        self.timer.cancel()
        self._ended()


def watched(deadlines: Deadlines, ended: Callable[[], object] = lambda: None) -> Call:
    call: Any = Call(ended)
    deadlines.watch(call)
    return call


def make() -> tuple[Deadlines, Clock]:
    clock: Any = Clock()
    return Deadlines(clock, TIMEOUT), clock


def test_each_call_ends_at_its_own_time() -> None:
    deadlines, clock = make()
    first = watched(deadlines)
    clock.go_to(4.0)
    second = watched(deadlines)
    clock.go_to(9.9)
    assert (first.status, second.status) == (None, None)
    clock.go_to(10.0)
    assert (first.status, second.status) == (4, None)
    clock.go_to(14.0)
    assert second.status == 4


def test_one_timer_is_enough_for_all() -> None:
    deadlines, clock = make()
    for moment in range(9):
        clock.go_to(float(moment))
        watched(deadlines)
    assert clock.timers == [TIMEOUT]


def test_a_call_that_is_over_is_forgotten() -> None:
    deadlines, clock = make()
    first, second = watched(deadlines), watched(deadlines)
    first.end()
    assert len(deadlines) == 1
    second.end()
    assert (len(deadlines), clock.timers) == (0, [])
    clock.go_to(TIMEOUT)
    assert (first.status, second.status) == (0, 0)


def test_a_call_that_outlives_the_oldest_is_still_watched() -> None:
    deadlines, clock = make()
    first = watched(deadlines)
    clock.go_to(3.0)
    second = watched(deadlines)
    first.end()
    clock.go_to(10.0)
    assert clock.timers == [13.0]
    clock.go_to(13.0)
    assert second.status == 4


def test_after_a_time_without_calls_the_next_is_watched_again() -> None:
    deadlines, clock = make()
    watched(deadlines).end()
    clock.go_to(20.0)
    late = watched(deadlines)
    clock.go_to(30.0)
    assert late.status == 4


def test_what_is_begun_when_another_expires_has_its_whole_time() -> None:
    deadlines, clock = make()
    begun: list[Call] = []
    watched(deadlines, lambda: begun.append(watched(deadlines)))
    clock.go_to(10.0)
    assert begun[0].status is None
    clock.go_to(20.0)
    assert begun[0].status == 4


def test_a_call_that_ends_because_another_expired_ends_once() -> None:
    deadlines, clock = make()
    others: list[Call] = []
    watched(deadlines, lambda: others[0].end())
    others.append(watched(deadlines))
    clock.go_to(10.0)
    assert (others[0].status, len(deadlines)) == (0, 0)
