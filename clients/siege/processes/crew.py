"""The sending processes together, as their parent sees them."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic_ns

from yais.clients.options import handle_signals
from yais.clients.siege.load import Load
from yais.clients.siege.processes.member import Member, News
from yais.clients.siege.processes.messages import Ended, HeldBack, Order
from yais.clients.siege.run import Sent, Show, warn_of_holding_back
from yais.clients.siege.views.glance import Glance
from yais.clients.siege.views.rounds import Rounds
from yais.clients.stats.recorder import Tally

# Until the order to begin is with all of them, in nanoseconds.
_NOTICE = 50_000_000


class Crew:
    """As many sending processes, each with its share of the load; `show` gets a glance of all of them each second."""

    def __init__(self, load: Load, processes: int, show: Show) -> None:
        self._load = load
        self._rounds = Rounds(processes, show)
        self._members = [Member(share, self.take) for share in load.split(processes)]
        self._is_holding_back = False

    async def run(self) -> tuple[Tally, list[Sent]]:
        """Goes through the plan, or what a signal leaves of it; returns what all counted, and what it took each.

        Raises click's exception when one of them cannot connect, or dies: its part of the run is lost.
        """
        try:
            self._start()
            await asyncio.gather(*(member.connected for member in self._members))
            with handle_signals(lambda: self._order("stop"), lambda: self._order("cancel")):
                self._order(monotonic_ns() + _NOTICE)
                return _merged(await asyncio.gather(*(member.ended for member in self._members)))
        finally:
            for member in self._members:
                member.close()

    def take(self, process: int, message: News) -> None:
        """What one of them tells."""
        match message:
            case Glance():
                self._rounds.take(process, message)
            case HeldBack() if not self._is_holding_back:
                self._is_holding_back = True
                warn_of_holding_back(self._load)

    def _start(self) -> None:
        with _signals_ignored():
            for member in self._members:
                member.start()

    def _order(self, order: Order) -> None:
        for member in self._members:
            member.order(order)


def _merged(ends: list[Ended]) -> tuple[Tally, list[Sent]]:
    tally = Tally()
    for end in ends:
        tally.merge(end.tally)
    return tally, [end.sent for end in ends]


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Processes that are started meanwhile ignore them from their first moment on."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
