"""Whose turn it is."""

from collections.abc import Callable, Sequence
from itertools import cycle

from yais.clients.siege.traffic.lines import Line


class Turns:
    """Lines that take turns: `next()` gives one after the other. Which ones they are can be changed meanwhile.

    That comes with every request, and costs no more than `next(cycle)` does.
    """

    __slots__ = ("next",)

    next: Callable[[], Line]

    def __init__(self, lines: Sequence[Line]) -> None:
        self.change(lines)

    def change(self, lines: Sequence[Line]) -> None:
        self.next = cycle(lines).__next__
