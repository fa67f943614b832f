from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from yais.server.errors import QueueFullError
from yais.server.models.batching import Batcher


@dataclass(frozen=True, eq=False)
class Item:
    number: int
    rows: int
    shapes: str
    deadline: int | None
    added: int


class Queueing(RuleBasedStateMachine):
    """Any sequence of add, discard and take, beside a plain model: the lists of what waits in each lane."""

    @initialize(
        max_rows=st.integers(1, 8), max_items=st.integers(1, 12), max_delay=st.sampled_from([0, 0, 5]), now=st.just(0)
    )
    def start(self, max_rows: int, max_items: int, max_delay: int, now: int) -> None:
        self.batcher: Batcher[Item] = Batcher(max_rows, max_items, max_delay)
        self.max_rows, self.max_items, self.max_delay, self.now = max_rows, max_items, max_delay, now
        self.added = 0
        self.waiting: dict[str, list[Item]] = {}
        self.left: list[Item] = []
        self.passed_over: dict[str, set[str]] = {}

    @rule(passed=st.integers(0, 4))
    def let_time_pass(self, passed: int) -> None:
        self.now += passed

    @rule(rows=st.integers(0, 10), shapes=st.sampled_from("stu"), patience=st.none() | st.integers(-1, 6))
    def add(self, rows: int, shapes: str, patience: int | None) -> None:
        deadline = None if patience is None else self.now + patience
        item = Item(self.added, rows, shapes, deadline, self.now)
        is_full = self._count() >= self.max_items
        try:
            self.batcher.add(item, self.now)
        except QueueFullError:
            assert is_full
        else:
            assert not is_full
            self.added += 1
            self.waiting.setdefault(shapes, []).append(item)

    @precondition(lambda self: self.added > 0)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        candidates = [*self.left, *(item for lane in self.waiting.values() for item in lane)]
        item = data.draw(st.sampled_from(candidates))
        waits = item in self.waiting.get(item.shapes, ())
        assert self.batcher.discard(item) == waits
        if waits:
            self._leave(item)

    @rule()
    def take(self) -> None:
        shapes = self._take()
        if shapes is not None:
            self._check_turns(shapes)

    @rule()
    def drain(self) -> None:
        expected = [item for lane in self.waiting.values() for item in lane]
        assert sorted(item.number for item in self.batcher.drain()) == sorted(item.number for item in expected)
        for item in expected:
            self._leave(item)

    @invariant()
    def the_length_is_what_waits(self) -> None:
        assert len(self.batcher) == self._count() <= self.max_items

    @invariant()
    def what_is_due_is_known(self) -> None:
        oldest = [lane[0].added + self.max_delay for lane in self.waiting.values() if lane]
        assert self.batcher.due_at() == min(oldest, default=None)

    def teardown(self) -> None:
        if not hasattr(self, "batcher"):
            return
        self.now += self.max_delay
        while self._take():
            pass
        assert len(self.left) == len({item.number for item in self.left}) == self.added

    def _take(self) -> str | None:
        """Takes a batch and checks it; returns its shapes, or None where nothing is due."""
        due = {shapes for shapes, lane in self.waiting.items() if lane and self._is_due(lane)}
        batch = self.batcher.take(self.now)
        if batch is None:
            assert not due
            return None
        (shapes,) = {item.shapes for item in (*batch.items, *batch.expired)}
        assert shapes in due
        gone = sorted((*batch.items, *batch.expired), key=lambda item: item.number)
        assert gone == self.waiting[shapes][: len(gone)]
        assert batch.items == sorted(batch.items, key=lambda item: item.number)
        assert all(self._is_expired(item) for item in batch.expired)
        assert not any(self._is_expired(item) for item in batch.items)
        self._check_size(batch.items, self.waiting[shapes][len(gone) :])
        for item in gone:
            self._leave(item)
        return shapes

    def _check_size(self, items: list[Item], rest: list[Item]) -> None:
        """No more than fits, unless it is one alone; and no less than fits."""
        rows = sum(item.rows for item in items)
        assert rows <= self.max_rows or len(items) == 1
        if rest:
            assert not self._is_expired(rest[0])
            assert rows + rest[0].rows > self.max_rows

    def _check_turns(self, taken: str) -> None:
        """A lane that is due is passed over at most once by each other lane."""
        self.passed_over.pop(taken, None)
        due = {shapes for shapes, lane in self.waiting.items() if lane and self._is_due(lane)} - {taken}
        for shapes in self.passed_over.keys() - due:
            del self.passed_over[shapes]
        for shapes in due:
            by = self.passed_over.setdefault(shapes, set())
            assert taken not in by
            by.add(taken)

    def _is_due(self, lane: list[Item]) -> bool:
        is_full = sum(item.rows for item in lane) >= self.max_rows
        return is_full or self.now - lane[0].added >= self.max_delay

    def _is_expired(self, item: Item) -> bool:
        return item.deadline is not None and item.deadline <= self.now

    def _leave(self, item: Item) -> None:
        self.waiting[item.shapes].remove(item)
        self.left.append(item)
        if not self.waiting[item.shapes]:
            self.passed_over.pop(item.shapes, None)

    def _count(self) -> int:
        return sum(map(len, self.waiting.values()))


def test_over_any_sequence_every_item_leaves_once_in_order_and_in_time() -> None:
    unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    run_state_machine_as_test(Queueing, settings=settings(unhurried, max_examples=150, stateful_step_count=30))


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), min_size=1, max_size=60), st.integers(1, 8))
@settings(deadline=None)
def test_no_lane_waits_longer_than_one_batch_of_each_other(items: list[tuple[int, int]], max_rows: int) -> None:
    batcher: Batcher[Item] = Batcher(max_rows, len(items))
    for number, (rows, lane) in enumerate(items):
        batcher.add(Item(number, rows, str(lane), None, 0), 0)
    lanes = len({lane for _, lane in items})
    order = []
    while (batch := batcher.take(0)) is not None:
        order.append(batch.items[0].shapes)
    for position in range(len(order)):
        assert set(order[position:]) == set(order[position : position + lanes])
