"""The search for the highest rate that is kept: which rate to try next, which knows neither clock nor server."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["kept", "missed", "invalid"]
End = Literal["found", "none", "ceiling", "generator", "unsteady", "interrupted"]

_DEEPEST = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """How a search ended; `kept` is the highest rate that was kept and not missed later, `missed` the lowest missed.

    `found`: they are no further apart than the tolerance, and `kept` was kept twice. `none`: not even a thousandth of
    the start was kept. `ceiling`: the highest rate that may be tried was kept, twice. `generator`: a probe was
    invalid, and once more, because of siege itself. `unsteady`: rates were kept and then missed, again and again.
    """

    end: End
    kept: float | None
    missed: float | None

    @property
    def rate(self) -> float | None:
        """The answer, where there is one."""
        return self.kept if self.end in ("found", "ceiling") else None


class Search:
    """Doubles the rate until it is missed (halves it until it is kept), then bisects; what it ends at is tried twice.

    Ask `next_rate`, try it, `tell` what came of it, until the next rate is None. It takes for granted that a server
    that keeps a rate keeps every lower one; a rate that is missed when it is tried again is searched below anew.
    """

    def __init__(self, start: float, tolerance: float = 0.01, ceiling: float = 1e6, most_probes: int = 40) -> None:
        if not 0 < start <= ceiling:
            raise ValueError(f"a search cannot start at {start}/s: it is not above 0 and up to {ceiling}/s")
        self._start = start
        self._tolerance = tolerance
        self._ceiling = ceiling
        self._probes_left = most_probes
        self._kept: list[float] = []
        self._missed: float | None = None
        self._doubted: float | None = None
        self._end: End | None = None

    @property
    def is_over(self) -> bool:
        return self._end is not None

    @property
    def finding(self) -> Finding:
        """Raises RuntimeError while the search goes on."""
        if self._end is None:
            raise RuntimeError("the search is not over")
        return Finding(self._end, max(self._kept, default=None), self._missed)

    def next_rate(self) -> float | None:
        if self._end is not None:
            return None
        if self._doubted is not None:
            return self._doubted
        kept, missed = max(self._kept, default=None), self._missed
        if kept is None:
            return self._start if missed is None else missed / 2
        if missed is None:
            return min(2 * kept, self._ceiling)
        return (kept + missed) / 2 if missed - kept > self._tolerance * kept else kept

    def tell(self, rate: float, outcome: Outcome) -> None:
        """What came of the rate that was asked for last."""
        self._probes_left -= 1
        if outcome == "invalid":
            self._doubt(rate)
        elif outcome == "missed":
            self._miss(rate)
        else:
            self._keep(rate)
        if self._end is None and self._probes_left <= 0:
            self._end = "unsteady"

    def abandon(self) -> None:
        """Ends the search here."""
        self._end = self._end or "interrupted"

    def _doubt(self, rate: float) -> None:
        if self._doubted == rate:
            self._end = "generator"
        self._doubted = rate

    def _miss(self, rate: float) -> None:
        self._doubted = None
        self._missed = rate
        self._kept = [kept for kept in self._kept if kept < rate]
        if not self._kept and rate <= self._start / _DEEPEST:
            self._end = "none"

    def _keep(self, rate: float) -> None:
        self._doubted = None
        if rate in self._kept:
            self._end = "found" if self._missed is not None else "ceiling"
        else:
            self._kept.append(rate)
