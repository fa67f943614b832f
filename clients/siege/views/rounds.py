"""The glances of several processes, brought together."""

from collections.abc import Callable

from yais.clients.siege.views.glance import Glance


class Rounds:
    """Shows the sum as soon as every process that still sends has told something new.

    A process that told its last glance is not waited for; what it did stays in the sum.
    """

    def __init__(self, processes: int, show: Callable[[Glance], object]) -> None:
        self._sending = set(range(processes))
        self._show = show
        self._new: dict[int, Glance] = {}
        self._rest: dict[int, Glance] = {}

    def take(self, process: int, glance: Glance) -> None:
        # One that stalled and looked once while the others looked often must not leave the view behind for good.
        earlier = self._new.get(process)
        self._new[process] = earlier.then(glance) if earlier else glance
        if glance.last:
            self._sending.discard(process)
        self._show_when_all_have_told()

    def _show_when_all_have_told(self) -> None:
        if self._new and self._sending <= self._new.keys():
            glance = Glance.merged(list((self._rest | self._new).values()))
            self._rest |= {process: new.at_rest for process, new in self._new.items()}
            self._new = {}
            self._show(glance)
