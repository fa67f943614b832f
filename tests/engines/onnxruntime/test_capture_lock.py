from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from threading import Condition, Event, get_ident

import pytest

from yais.engines.onnxruntime.graphs import SharedLock

# How long what happens may take.
LONG = 30


class ObservedCondition(Condition):
    """A condition that tells which threads wait for it; those that are notified wait only when they do so again."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: set[int] = set()
        self._changed = Condition()

    def wait(self, timeout: float | None = None) -> bool:
        with self._changed:
            self._waiting.add(get_ident())
            self._changed.notify_all()
        return super().wait(timeout)

    def notify_all(self) -> None:
        with self._changed:
            self._waiting.clear()
        super().notify_all()

    def is_waited_for(self, thread: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: thread in self._waiting, LONG)


class ObservedLock(SharedLock):
    def __init__(self) -> None:
        super().__init__()
        self._changed = self.changed = ObservedCondition()


class Visitor:
    """A thread that goes in, and out again when told."""

    def __init__(self, pool: ThreadPoolExecutor, way: AbstractContextManager[None]) -> None:
        self._thread: Future[int] = Future()
        self._entered: Future[None] = Future()
        self._leave = Event()
        self._done = pool.submit(self._visit, way)

    def _visit(self, way: AbstractContextManager[None]) -> None:
        self._thread.set_result(get_ident())
        with way:
            self._entered.set_result(None)
            assert self._leave.wait(LONG)

    def is_inside(self) -> bool:
        self._entered.result(LONG)
        return not self._done.done()

    def waits(self, lock: ObservedLock) -> bool:
        return lock.changed.is_waited_for(self._thread.result(LONG)) and not self._entered.done()

    def leave(self) -> None:
        self._leave.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def test_many_are_inside_together(pool: ThreadPoolExecutor) -> None:
    lock = ObservedLock()
    visitors = [Visitor(pool, lock.shared()) for _ in range(3)]
    assert all(visitor.is_inside() for visitor in visitors)
    for visitor in visitors:
        visitor.leave()


@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_nobody_comes_in_while_one_is_alone(pool: ThreadPoolExecutor, kind: str) -> None:
    lock = ObservedLock()
    first = Visitor(pool, lock.exclusive())
    assert first.is_inside()
    second = Visitor(pool, getattr(lock, kind)())
    assert second.waits(lock)
    first.leave()
    assert second.is_inside()
    second.leave()


def test_who_wants_to_be_alone_waits_until_all_are_out_and_newcomers_wait_for_him(pool: ThreadPoolExecutor) -> None:
    lock = ObservedLock()
    first = Visitor(pool, lock.shared())
    assert first.is_inside()
    writer = Visitor(pool, lock.exclusive())
    assert writer.waits(lock)
    newcomer = Visitor(pool, lock.shared())
    assert newcomer.waits(lock)
    first.leave()
    assert writer.is_inside()
    assert newcomer.waits(lock)
    writer.leave()
    assert newcomer.is_inside()
    newcomer.leave()


def test_who_is_inside_may_come_in_again_even_while_another_waits_to_be_alone(pool: ThreadPoolExecutor) -> None:
    lock = ObservedLock()
    with lock.shared():
        writer = Visitor(pool, lock.exclusive())
        assert writer.waits(lock)
        with lock.shared():
            pass
        assert writer.waits(lock)
    assert writer.is_inside()
    writer.leave()


def test_who_is_alone_may_come_in_again_and_stays_alone(pool: ThreadPoolExecutor) -> None:
    lock = ObservedLock()
    with lock.exclusive():
        with lock.shared():
            pass
        visitor = Visitor(pool, lock.shared())
        assert visitor.waits(lock)
    assert visitor.is_inside()
    visitor.leave()


@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_an_error_inside_opens_the_gate_again(pool: ThreadPoolExecutor, kind: str) -> None:
    lock = ObservedLock()
    with pytest.raises(ZeroDivisionError), getattr(lock, kind)():
        raise ZeroDivisionError
    for way in (lock.exclusive(), lock.shared(), lock.exclusive()):
        visitor = Visitor(pool, way)
        assert visitor.is_inside()
        visitor.leave()
