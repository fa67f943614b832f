"""The queue of one model, and how waiting requests become batches. No threads, no clock, no I/O in here.

The rules:

1. Work-conserving: `take` gives all that waits, up to the largest batch, whenever a context asks. Only a delay that the
   user set makes it wait for company, and never longer than that after the oldest request came.
2. Only requests with the same shapes share a batch. Each distinct `shapes` is a lane; lanes take turns, so that none
   starves, and within a lane the order is first come, first served.
3. The queue is bounded in requests. Whatever has expired or was cancelled never reaches a batch.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from yais.server.errors import QueueFullError


class Item(Protocol):
    """What can wait. `shapes` decides whom it can share a batch with; times are nanoseconds of one monotonic clock."""

    @property
    def rows(self) -> int: ...

    @property
    def shapes(self) -> Hashable: ...

    @property
    def deadline(self) -> int | None: ...


T = TypeVar("T", bound=Item)


class Batch(NamedTuple, Generic[T]):
    """What one `take` gives: requests to run together, and those found expired on the way."""

    items: list[T]
    expired: list[T]


class Batcher(Generic[T]):
    """Bounded lanes of waiting items. `max_rows` 1 serves each alone; `max_delay` is in nanoseconds."""

    def __init__(self, max_rows: int, max_items: int, max_delay: int = 0) -> None:
        self._max_rows = max_rows
        self._max_items = max_items
        self._max_delay = max_delay
        self._lanes: OrderedDict[Hashable, OrderedDict[T, int]] = OrderedDict()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, item: T, now: int) -> None:
        """Queues `item`. Raises `QueueFullError` at the bound."""
        if self._waiting >= self._max_items:
            raise QueueFullError(self._max_items)
        lane = self._lanes.get(item.shapes)
        if lane is None:
            lane = self._lanes[item.shapes] = OrderedDict()
        lane[item] = now
        self._waiting += 1

    def discard(self, item: T) -> bool:
        """Takes back a waiting item; False when it no longer waits."""
        lane = self._lanes.get(item.shapes)
        if lane is None or lane.pop(item, None) is None:
            return False
        self._waiting -= 1
        if not lane:
            del self._lanes[item.shapes]
        return True

    def take(self, now: int, only: Hashable = None) -> Batch[T] | None:
        """The next batch, or the next of the shapes `only`; None when nothing waits, or had better wait for company."""
        lanes = self._lanes if only is None else {only: self._lanes[only]} if only in self._lanes else {}
        for shapes, lane in lanes.items():
            if self._is_due(lane, now):
                return self._take_from(shapes, lane, now)
        return None

    def due_at(self) -> int | None:
        """When the earliest lane need not wait any longer; None when nothing waits."""
        return min((self._oldest(lane) + self._max_delay for lane in self._lanes.values()), default=None)

    def drain(self) -> Iterator[T]:
        """Empties the queue."""
        while self._lanes:
            _, lane = self._lanes.popitem(last=False)
            self._waiting -= len(lane)
            yield from lane

    def _oldest(self, lane: OrderedDict[T, int]) -> int:
        return next(iter(lane.values()))

    def _is_due(self, lane: OrderedDict[T, int], now: int) -> bool:
        if not self._max_delay or now - self._oldest(lane) >= self._max_delay:
            return True
        return sum(item.rows for item in lane) >= self._max_rows

    def _take_from(self, shapes: Hashable, lane: OrderedDict[T, int], now: int) -> Batch[T]:
        batch: Batch[T] = Batch([], [])
        room = self._max_rows
        while lane:
            item = next(iter(lane))
            if item.deadline is not None and item.deadline <= now:
                batch.expired.append(item)
            elif item.rows <= room or not batch.items:
                batch.items.append(item)
                room -= item.rows
            else:
                break
            del lane[item]
        self._waiting -= len(batch.items) + len(batch.expired)
        if lane:
            self._lanes.move_to_end(shapes)
        else:
            del self._lanes[shapes]
        return batch
