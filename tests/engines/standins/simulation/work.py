"""Work that is queued on streams, and when it is run.

Nothing runs when it is queued. It runs, in order, on the thread of whoever waits for it; a query runs one operation.
Until then the memory that it is to read is not read, so a wait that is missing shows as results that are not there.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import Condition, local
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from simulation import errors
from simulation.errors import CudaError

if TYPE_CHECKING:
    from simulation.capture import Capture
    from simulation.machine import Device

BLOCKING_SYNC, DISABLE_TIMING = 1, 2

# Handles are never given out again, not even by another machine.
handles = count(0x5500_0000_0010, 0x10)

# Addresses from, up to, and whether they are written.
Access = tuple[int, int, bool]


@dataclass(eq=False)
class Operation:
    """`entry` is what the logs say of it; its first element is the name under which it can be made to fail."""

    entry: tuple[Any, ...]
    run: Callable[[], None]
    accesses: Sequence[Access] = ()
    event: "Event | None" = None
    awaited: "Operation | None" = None
    serial: int = 0
    is_done: bool = False
    time_ns: int = 0


@dataclass(eq=False)
class Stream:
    """`clock` tells which operations of other streams precede whatever is queued next: stream -> serial."""

    device: "Device"
    flags: int
    handle: int = field(default_factory=lambda: next(handles))
    queue: deque[Operation] = field(default_factory=deque)
    serial: int = 0
    clock: dict["Stream", int] = field(default_factory=dict)
    is_running: bool = False
    capture: "Capture | None" = None

    __hash__ = object.__hash__


@dataclass(eq=False)
class Event:
    """`record` is None until it is first recorded; one that was recorded in a capture says so instead."""

    device: "Device"
    flags: int
    handle: int = field(default_factory=lambda: next(handles))
    record: Operation | None = None
    stream: Stream | None = None
    clock: dict[Stream, int] = field(default_factory=dict)
    capture: "Capture | None" = None


class Scheduler:
    """Runs what is queued, on the threads of those who wait."""

    def __init__(self, violated: Callable[[str], None], finished: Callable[[Operation], None]) -> None:
        self.changed = Condition()
        self._running = local()
        self.streams: dict[int, Stream] = {}
        self.violated = violated
        self.finished = finished

    def enqueue(self, stream: Stream, operation: Operation) -> None:
        with self.changed:
            stream.serial += 1
            stream.clock[stream] = operation.serial = stream.serial
            self._find_races(stream, operation)
            stream.queue.append(operation)

    def record(self, stream: Stream, event: Event) -> None:
        operation = Operation(("record", stream.handle, event.handle), lambda: None, event=event)
        self.enqueue(stream, operation)
        event.record, event.stream, event.clock, event.capture = operation, stream, dict(stream.clock), None

    def wait(self, stream: Stream, event: Event) -> None:
        """Makes `stream` wait for the event as it was last recorded, as CUDA does; nothing when it never was."""
        operation = Operation(("wait", stream.handle, event.handle), lambda: None, awaited=event.record)
        for other, serial in event.clock.items():
            stream.clock[other] = max(serial, stream.clock.get(other, 0))
        self.enqueue(stream, operation)

    def drain(self, *streams: Stream) -> None:
        """Until all that is queued on them now is done."""
        last = [stream.queue[-1] for stream in streams if stream.queue]
        for operation in last:
            self.finish(operation)

    def finish(self, operation: Operation) -> None:
        """Not on a thread that is running an operation, where only the garbage collector could ask for it."""
        if getattr(self._running, "is_so", False):
            return
        with self.changed:
            while not operation.is_done:
                self._step(operation)

    def advance(self, operation: Operation) -> None:
        """One step towards it."""
        with self.changed:
            if not operation.is_done:
                self._step(operation, can_wait=False)

    def _step(self, operation: Operation, can_wait: bool = True) -> None:
        stream = self._runnable(operation)
        if stream is None:
            if can_wait:
                self.changed.wait()
            return
        head = stream.queue[0]
        stream.is_running = True
        self.changed.release()
        try:
            self._run(stream, head)
        finally:
            self.changed.acquire()
            stream.is_running = False
            self._done(stream, head)

    def _runnable(self, operation: Operation) -> Stream | None:
        """The stream whose first operation brings `operation` nearer; None while another thread runs it."""
        stream = self._stream_of(operation)
        while not stream.is_running:
            awaited = stream.queue[0].awaited
            if awaited is None or awaited.is_done:
                return stream
            stream = self._stream_of(awaited)
        return None

    def _stream_of(self, operation: Operation) -> Stream:
        return next(stream for stream in list(self.streams.values()) if operation in stream.queue)

    def _run(self, stream: Stream, operation: Operation) -> None:
        """An error of the device stays with it: whoever waits for the device next is told."""
        device = stream.device
        self._running.is_so = True
        try:
            if not device.error:
                device.check(operation.entry[0])
                operation.run()
        except CudaError as error:
            device.fail(error.code)
        except BaseException as error:
            self.violated(f"the stand-in itself failed in {operation.entry}: {error!r}")
            device.fail(errors.UNKNOWN)
            raise
        finally:
            self._running.is_so = False

    def _done(self, stream: Stream, operation: Operation) -> None:
        operation.is_done, operation.time_ns = True, perf_counter_ns()
        if stream.queue and stream.queue[0] is operation:
            stream.queue.popleft()
        self.finished(operation)
        self.changed.notify_all()

    def discard(self, device: "Device") -> None:
        """What is queued on a device whose context is destroyed is never run."""
        with self.changed:
            for stream in [stream for stream in list(self.streams.values()) if stream.device is device]:
                for operation in stream.queue:
                    operation.is_done = True
                stream.queue.clear()
                del self.streams[stream.handle]
            self.changed.notify_all()

    def _find_races(self, stream: Stream, operation: Operation) -> None:
        """Two operations that are not ordered must not use the same memory, unless both only read it."""
        for other in list(self.streams.values()):
            for queued in tuple(other.queue) if other is not stream else ():
                if queued.serial > stream.clock.get(other, 0) and _conflict(operation, queued):
                    self.violated(f"{operation.entry} and {queued.entry} use the same memory at the same time")


def _conflict(one: Operation, two: Operation) -> bool:
    return any(
        start < other_end and other_start < end and (writes or other_writes)
        for start, end, writes in one.accesses
        for other_start, other_end, other_writes in two.accesses
    )
