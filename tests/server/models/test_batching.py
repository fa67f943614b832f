from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import pytest

from yais.server.errors import QueueFullError
from yais.server.models.batching import Batch, Batcher, pack


@dataclass(frozen=True, eq=False)
class Item:
    name: str
    rows: int = 1
    shapes: Hashable = "s"
    deadline: int | None = None


def filled(items: Sequence[Item], max_rows: int = 8, max_delay: int = 0, now: int = 0) -> Batcher[Item]:
    batcher: Batcher[Item] = Batcher(max_rows, 100, max_delay)
    for item in items:
        batcher.add(item, now)
    return batcher


def written(batch: Batch[Item]) -> str:
    """The items of a batch, with those that had expired behind a bar."""
    expired = "".join(item.name for item in batch.expired)
    return "".join(item.name for item in batch.items) + (f"|{expired}" if expired else "")


def names(batcher: Batcher[Item], now: int = 0) -> str | None:
    batch = batcher.take(now)
    return None if batch is None else written(batch)


def all_names(batcher: Batcher[Item], now: int = 0) -> list[str]:
    batches = []
    while (batch := names(batcher, now)) is not None:
        batches.append(batch)
    return batches


def test_an_empty_queue_gives_nothing() -> None:
    batcher = filled([])
    assert batcher.take(0) is None
    assert batcher.due_at() is None
    assert len(batcher) == 0


@pytest.mark.parametrize(
    ("rows", "batches"),
    [
        ([1], ["a"]),
        ([1, 1, 1], ["abc"]),
        ([8], ["a"]),
        ([4, 4], ["ab"]),
        ([4, 4, 1], ["ab", "c"]),
        ([4, 5], ["a", "b"]),
        ([4, 5, 4], ["a", "b", "c"]),
        ([7, 2, 1], ["a", "bc"]),
        ([1] * 20, ["abcdefgh", "ijklmnop", "qrst"]),
        ([9], ["a"]),
        ([1, 9, 1], ["a", "b", "c"]),
        ([9, 9], ["a", "b"]),
        ([9, 0], ["a", "b"]),
        ([0], ["a"]),
        ([0, 0, 0], ["abc"]),
        ([8, 0, 0, 1], ["abc", "d"]),
        ([0, 9], ["a", "b"]),
        ([0, 8], ["ab"]),
    ],
    ids=lambda value: "+".join(map(str, value)) if isinstance(value[0], int) else "/".join(value),
)
def test_a_batch_is_all_that_waits_up_to_the_largest_and_no_request_is_split(
    rows: list[int], batches: list[str]
) -> None:
    assert all_names(filled([Item(chr(ord("a") + i), count) for i, count in enumerate(rows)])) == batches


def test_one_row_at_most_serves_each_alone() -> None:
    assert all_names(filled([Item("a"), Item("b"), Item("c")], max_rows=1)) == ["a", "b", "c"]


def test_an_item_that_would_fit_does_not_overtake_one_that_does_not() -> None:
    assert all_names(filled([Item("a", 5), Item("b", 5), Item("c", 3)])) == ["a", "bc"]


def test_without_a_delay_whatever_waits_is_given_at_once() -> None:
    batcher = filled([Item("a")], now=100)
    assert batcher.due_at() == 100
    assert names(batcher, 100) == "a"


@pytest.mark.parametrize(("now", "batch"), [(100, None), (109, None), (110, "ab"), (500, "ab")])
def test_a_delay_counts_from_the_oldest_item(now: int, batch: str | None) -> None:
    batcher = filled([Item("a")], max_delay=10, now=100)
    batcher.add(Item("b"), 105)
    assert batcher.due_at() == 110
    assert names(batcher, now) == batch


@pytest.mark.parametrize(("rows", "batch"), [([7], None), ([4, 3], None), ([8], "a"), ([4, 4], "ab"), ([4, 5], "a")])
def test_a_delay_ends_as_soon_as_a_batch_is_full(rows: list[int], batch: str | None) -> None:
    batcher = filled([Item("ab"[i], count) for i, count in enumerate(rows)], max_delay=10)
    assert names(batcher, 1) == batch


def test_what_a_full_batch_leaves_behind_waits_for_its_own_delay() -> None:
    batcher = filled([Item("a", 8)], max_delay=10, now=0)
    batcher.add(Item("b"), 6)
    assert names(batcher, 6) == "a"
    assert names(batcher, 15) is None
    assert batcher.due_at() == 16
    assert names(batcher, 16) == "b"


def test_the_delay_of_one_lane_holds_no_other_lane_up() -> None:
    batcher = filled([Item("a", 1, "s"), Item("b", 8, "t")], max_delay=10)
    assert names(batcher, 1) == "b"
    assert names(batcher, 1) is None
    assert names(batcher, 10) == "a"


def test_the_earliest_lane_says_when_something_is_due() -> None:
    batcher = filled([Item("a", 1, "s")], max_delay=10, now=5)
    batcher.add(Item("b", 1, "t"), 2)
    assert batcher.due_at() == 12


def test_taking_back_the_oldest_item_moves_the_due_time() -> None:
    first = Item("a")
    batcher = filled([first], max_delay=10, now=0)
    batcher.add(Item("b"), 4)
    batcher.discard(first)
    assert batcher.due_at() == 14
    assert names(batcher, 13) is None


def test_only_equal_shapes_share_a_batch() -> None:
    batcher = filled([Item("a", 1, "s"), Item("b", 1, "t"), Item("c", 1, "s"), Item("d", 1, "t")])
    assert all_names(batcher) == ["ac", "bd"]


def test_lanes_take_turns() -> None:
    items = [Item(name, 5, shapes) for name, shapes in ("aS", "bS", "cS", "dT", "eT", "fU")]
    assert all_names(filled(items)) == ["a", "d", "f", "b", "e", "c"]


def test_a_lane_that_emptied_goes_behind_those_that_waited() -> None:
    batcher = filled([Item("a", 5, "s"), Item("b", 5, "t"), Item("c", 5, "t")])
    assert names(batcher) == "a"
    batcher.add(Item("d", 5, "s"), 0)
    assert all_names(batcher) == ["b", "d", "c"]


@pytest.mark.parametrize(("deadline", "batch"), [(None, "a"), (11, "a"), (10, "|a"), (9, "|a"), (-5, "|a")])
def test_a_deadline_that_has_come_keeps_an_item_out(deadline: int | None, batch: str) -> None:
    assert names(filled([Item("a", deadline=deadline)]), now=10) == batch


def test_expired_items_take_no_room_and_are_told_apart() -> None:
    late = [Item("x", 8, deadline=1), Item("a", 4), Item("y", 8, deadline=1), Item("b", 4), Item("z", 8, deadline=1)]
    batcher = filled(late)
    assert names(batcher, now=5) == "ab|xyz"
    assert len(batcher) == 0


def test_an_expired_item_behind_a_full_batch_is_found_by_the_next_take() -> None:
    batcher = filled([Item("a", 5), Item("b", 5), Item("x", 1, deadline=1)])
    assert [names(batcher, now=5), names(batcher, now=5)] == ["a", "b|x"]


@pytest.mark.parametrize(
    ("rows", "batch"),
    [([], ""), ([9], "a"), ([1, 9], "a"), ([4, 4, 1], "ab"), ([5, 5, 3], "a"), ([8, 0, 0, 1], "abc"), ([0, 9], "a")],
    ids=lambda value: "+".join(map(str, value)) if isinstance(value, list) else value or "nothing",
)
def test_what_waits_in_order_is_packed_as_a_queue_does_it(rows: list[int], batch: str) -> None:
    waiting = deque(Item(chr(ord("a") + i), count) for i, count in enumerate(rows))
    assert written(pack(waiting, 8, 0)) == batch
    assert len(waiting) == len(rows) - len(batch)


def test_packing_tells_the_expired_ahead_of_where_a_batch_ends_apart_and_looks_no_further() -> None:
    waiting = deque(
        [Item("x", 9, deadline=1), Item("a", 9), Item("y", 1, deadline=5), Item("b", 1), Item("z", deadline=1)]
    )
    assert written(pack(waiting, 8, 5)) == "a|xy"
    assert [item.name for item in waiting] == ["b", "z"]
    assert written(pack(deque([Item("x", 9, deadline=1), Item("y", 1, deadline=5)]), 8, 5)) == "|xy"


def test_the_queue_is_bounded_in_requests() -> None:
    batcher: Batcher[Item] = Batcher(8, 2)
    batcher.add(Item("a", 100), 0)
    batcher.add(Item("b", 0, "t"), 0)
    with pytest.raises(QueueFullError, match=r"^Exceeds maximum queue size: 2 requests are waiting"):
        batcher.add(Item("c"), 0)
    assert len(batcher) == 2


@pytest.mark.parametrize("make_room", ["take", "discard"])
def test_a_full_queue_takes_items_again_once_one_has_left(make_room: str) -> None:
    first = Item("a", 8)
    batcher: Batcher[Item] = Batcher(8, 1)
    batcher.add(first, 0)
    if make_room == "take":
        batcher.take(0)
    else:
        batcher.discard(first)
    batcher.add(Item("b"), 0)
    assert all_names(batcher) == ["b"]


def test_a_discarded_item_never_reaches_a_batch() -> None:
    first, second = Item("a"), Item("b")
    batcher = filled([first, second])
    assert batcher.discard(first)
    assert not batcher.discard(first)
    assert all_names(batcher) == ["b"]
    assert not batcher.discard(second)
    assert not batcher.discard(Item("never added", shapes="t"))


def test_a_discarded_item_need_not_be_of_the_same_value_only_the_same_item() -> None:
    first, twin = Item("a"), Item("a")
    batcher = filled([first])
    assert not batcher.discard(twin)
    assert len(batcher) == 1


def test_draining_gives_everything_lane_by_lane_and_leaves_nothing() -> None:
    batcher = filled([Item("a", 1, "s"), Item("b", 1, "t"), Item("c", 1, "s")])
    assert "".join(item.name for item in batcher.drain()) == "acb"
    assert len(batcher) == 0
    assert batcher.take(0) is None
