"""Stream capture: work that is recorded into a graph instead of being queued."""

from dataclasses import dataclass, field
from threading import get_ident
from typing import TYPE_CHECKING

from simulation.work import Operation, Stream, handles

if TYPE_CHECKING:
    from simulation.machine import Device

GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
NONE, ACTIVE, INVALIDATED = 0, 1, 2


@dataclass(eq=False)
class Capture:
    """A capture that goes on, or that an error has spoilt; it must be ended all the same."""

    stream: Stream
    mode: int
    thread: int = field(default_factory=get_ident)
    operations: list[Operation] = field(default_factory=list)
    is_valid: bool = True

    def forbids_unsafe_calls(self) -> bool:
        """Whether it forbids this thread to allocate, synchronise and query."""
        return self.mode == GLOBAL or (self.mode == THREAD_LOCAL and self.thread == get_ident())


@dataclass(eq=False)
class Graph:
    """Operations with the addresses that they were captured with."""

    operations: tuple[Operation, ...]
    device: "Device"
    handle: int = field(default_factory=lambda: next(handles))


@dataclass(eq=False)
class Executable:
    """A graph that can be launched; its launches are run one after the other, on whichever streams they are."""

    operations: tuple[Operation, ...]
    device: "Device"
    handle: int = field(default_factory=lambda: next(handles))
    last_launch: Operation | None = None
