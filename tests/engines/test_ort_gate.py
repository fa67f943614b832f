from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from contextlib import AbstractContextManager
from threading import Event

import pytest

from yais.engines.ort_gate import Gate

# How long nothing is to happen; and how long what happens may take.
BRIEF, LONG = 0.05, 30


class Visitor:
    """A thread that goes in, and out again when told."""

    def __init__(self, pool: ThreadPoolExecutor, way: AbstractContextManager[None]) -> None:
        self._entered: Future[None] = Future()
        self._leave = Event()
        self._done = pool.submit(self._visit, way)

    def _visit(self, way: AbstractContextManager[None]) -> None:
        with way:
            self._entered.set_result(None)
            assert self._leave.wait(LONG)

    def is_inside(self) -> bool:
        self._entered.result(LONG)
        return not self._done.done()

    def waits(self) -> bool:
        with pytest.raises(LateError):
            self._entered.result(BRIEF)
        return True

    def leave(self) -> None:
        self._leave.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def test_many_are_inside_together(pool: ThreadPoolExecutor) -> None:
    gate = Gate()
    visitors = [Visitor(pool, gate.together()) for _ in range(3)]
    assert all(visitor.is_inside() for visitor in visitors)
    for visitor in visitors:
        visitor.leave()


@pytest.mark.parametrize("kind", ["together", "alone"])
def test_nobody_comes_in_while_one_is_alone(pool: ThreadPoolExecutor, kind: str) -> None:
    gate = Gate()
    first = Visitor(pool, gate.alone())
    assert first.is_inside()
    second = Visitor(pool, getattr(gate, kind)())
    assert second.waits()
    first.leave()
    assert second.is_inside()
    second.leave()


def test_who_wants_to_be_alone_waits_until_all_are_out_and_newcomers_wait_for_him(pool: ThreadPoolExecutor) -> None:
    gate = Gate()
    first = Visitor(pool, gate.together())
    assert first.is_inside()
    alone = Visitor(pool, gate.alone())
    assert alone.waits()
    newcomer = Visitor(pool, gate.together())
    assert newcomer.waits()
    first.leave()
    assert alone.is_inside()
    assert newcomer.waits()
    alone.leave()
    assert newcomer.is_inside()
    newcomer.leave()


def test_who_is_inside_may_come_in_again_even_while_another_waits_to_be_alone(pool: ThreadPoolExecutor) -> None:
    gate = Gate()
    with gate.together():
        alone = Visitor(pool, gate.alone())
        assert alone.waits()
        with gate.together():
            pass
        assert alone.waits()
    assert alone.is_inside()
    alone.leave()


def test_who_is_alone_may_come_in_again_and_stays_alone(pool: ThreadPoolExecutor) -> None:
    gate = Gate()
    with gate.alone():
        with gate.together():
            pass
        visitor = Visitor(pool, gate.together())
        assert visitor.waits()
    assert visitor.is_inside()
    visitor.leave()


@pytest.mark.parametrize("kind", ["together", "alone"])
def test_an_error_inside_opens_the_gate_again(pool: ThreadPoolExecutor, kind: str) -> None:
    gate = Gate()
    with pytest.raises(ZeroDivisionError), getattr(gate, kind)():
        raise ZeroDivisionError
    for way in (gate.alone(), gate.together(), gate.alone()):
        visitor = Visitor(pool, way)
        assert visitor.is_inside()
        visitor.leave()
