"""Queue of one model, in which waiting requests become batches. No threads, no clock, no I/O in here.

The rules:

1. Work-conserving: `take` gives all that waits, up to the largest batch, whenever a context asks. Only a delay that the
   user set makes it wait for a larger batch, and never longer than that after the oldest request came.
2. Only requests with the same shapes share a batch. Each distinct `shapes` is a lane; lanes take turns, so that none
   starves, and within a lane the order is first come, first served.
3. The queue is bounded in requests. Whatever has expired or was cancelled never reaches a batch.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Hashable, Iterator
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


def pack(waiting: deque[T], max_rows: int, now: int) -> Batch[T]:
    """Takes the next batch of what waits in order: all that fits, and the first whatever its size."""
    items: list[T] = []
    expired: list[T] = []
    room = max_rows
    while waiting:
        item = waiting[0]
        if item.deadline is not None and item.deadline <= now:
            expired.append(item)
        elif item.rows <= room or not items:
            items.append(item)
            room -= item.rows
        else:
            break
        waiting.popleft()
    return Batch(items, expired)


class Batcher(Generic[T]):
    """Bounded lanes of waiting items. `max_rows` 1 serves each alone; `max_delay` is in nanoseconds."""

    def __init__(self, max_rows: int, max_items: int, max_delay: int = 0) -> None:
        self.max_rows = max_rows
        self.max_items = max_items
        self.max_delay = max_delay
        self.waiting = 0
        self._lanes: OrderedDict[Hashable, deque[T]] = OrderedDict()
        # When each item came.
        self._since: dict[T, int] = {}

    def __len__(self) -> int:
        return self.waiting

    def add(self, item: T, now: int) -> None:
        """Queues `item`. Raises `QueueFullError` at the bound."""
        if self.waiting >= self.max_items:
            raise QueueFullError(self.max_items)
        lane = self._lanes.get(item.shapes)
        if lane is None:
            lane = self._lanes[item.shapes] = deque()
        lane.append(item)
        self.waiting += 1
        self._since[item] = now

    def discard(self, item: T) -> bool:
        """Takes back a waiting item; False when it no longer waits."""
        lane = self._lanes.get(item.shapes)
        # Linear in the lane, but callers seldom go, and the queue is bounded.
        if lane is None or item not in lane:
            return False
        lane.remove(item)
        if not lane:
            del self._lanes[item.shapes]
        self._forget([item])
        return True

    def take(self, now: int) -> Batch[T] | None:
        """The next batch; None when nothing waits, or nothing is due and a larger batch may still come together."""
        for shapes, lane in self._lanes.items():
            is_due = not self.max_delay or now - self._oldest(lane) >= self.max_delay
            if is_due or sum(item.rows for item in lane) >= self.max_rows:
                batch = pack(lane, self.max_rows, now)
                self._forget(batch.items)
                self._forget(batch.expired)
                # Lanes take turns.
                if lane:
                    self._lanes.move_to_end(shapes)
                else:
                    del self._lanes[shapes]
                return batch
        return None

    def due_at(self) -> int | None:
        """When the earliest lane need not wait any longer; None when nothing waits."""
        return min((self._oldest(lane) + self.max_delay for lane in self._lanes.values()), default=None)

    def drain(self) -> Iterator[T]:
        """Empties the queue."""
        while self._lanes:
            _, lane = self._lanes.popitem(last=False)
            self._forget(lane)
            yield from lane

    def _oldest(self, lane: deque[T]) -> int:
        return self._since[lane[0]]

    def _forget(self, items: Collection[T]) -> None:
        self.waiting -= len(items)
        for item in items:
            del self._since[item]
