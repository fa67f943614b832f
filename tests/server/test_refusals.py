import logging
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from yais.server.refusals import INTERVAL_S, RefusalLog


@dataclass
class FakeTimer:
    due: float
    callback: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeClock:
    """A clock that stands still between calls of `advance`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[FakeTimer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None], /) -> FakeTimer:
        self.timers.append(FakeTimer(self.now + delay, callback))
        return self.timers[-1]

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer.due <= self.now]
        self.timers = [timer for timer in self.timers if timer.due > self.now]
        for timer in due:
            if not timer.is_cancelled:
                timer.callback()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def refusals(clock: FakeClock) -> RefusalLog:
    return RefusalLog(clock)


def test_an_interval_has_one_line_with_the_commonest_kind_first(
    clock: FakeClock, refusals: RefusalLog, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in ["invalid"] * 40 + ["queue full"] * 300:
        refusals.add(kind)
    clock.advance(INTERVAL_S - 0.1)
    assert caplog.messages == []
    clock.advance(0.1)
    assert caplog.messages == ["Refused 340 request(s) in 10 s: 300 queue full, 40 invalid"]
    assert caplog.records[0].levelno == logging.WARNING
    assert vars(caplog.records[0])["refused"] == {"queue full": 300, "invalid": 40}


def test_each_interval_begins_with_its_first_refusal(
    clock: FakeClock, refusals: RefusalLog, caplog: pytest.LogCaptureFixture
) -> None:
    refusals.add("invalid")
    clock.advance(INTERVAL_S)
    clock.advance(7.0)
    refusals.add("invalid")
    refusals.add("invalid")
    clock.advance(INTERVAL_S)
    assert caplog.messages == ["Refused 1 request(s) in 10 s: 1 invalid", "Refused 2 request(s) in 10 s: 2 invalid"]


def test_without_refusals_there_is_neither_a_line_nor_a_timer(
    clock: FakeClock, refusals: RefusalLog, caplog: pytest.LogCaptureFixture
) -> None:
    refusals.flush()
    refusals.add("invalid")
    clock.advance(INTERVAL_S)
    refusals.flush()
    clock.advance(INTERVAL_S)
    assert len(caplog.messages) == 1
    assert clock.timers == []


def test_a_flush_logs_early_and_leaves_the_next_interval_whole(
    clock: FakeClock, refusals: RefusalLog, caplog: pytest.LogCaptureFixture
) -> None:
    refusals.add("draining")
    clock.advance(4.0)
    refusals.flush()
    refusals.add("invalid")
    clock.advance(INTERVAL_S - 0.1)
    assert caplog.messages == ["Refused 1 request(s) in 4 s: 1 draining"]
    clock.advance(0.1)
    assert caplog.messages[1:] == ["Refused 1 request(s) in 10 s: 1 invalid"]
