"""Cores of this machine, and how many of them were busy meanwhile."""

import psutil

# The system counts in hundredths of a second.
_SHORTEST = 0.2


class CoreMeter:
    """Measures from when it is made, over all processes of the machine."""

    def __init__(self) -> None:
        self.cores = psutil.cpu_count() or 1
        self._began = _times()

    def busy(self) -> float | None:
        """How many cores, on average; None for a time too short to tell."""
        (idle, total), (idle_before, total_before) = _times(), self._began
        elapsed = total - total_before
        return self.cores * (1 - (idle - idle_before) / elapsed) if elapsed >= _SHORTEST * self.cores else None


def _times() -> tuple[float, float]:
    """Idle and all seconds of all cores since they were started."""
    times = psutil.cpu_times()._asdict()
    # The time of guests is in that of users, too.
    total = sum(spent for kind, spent in times.items() if not kind.startswith("guest"))
    return times["idle"] + times.get("iowait", 0.0), total
