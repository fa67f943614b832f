"""Arrivals that were recorded, to be had again."""

from pathlib import Path

import numpy as np

from yais.clients.siege.schedules.blocks import FOREVER, Nanoseconds
from yais.clients.siege.schedules.pacer import SECOND, Pacer

_CSV_COLUMN = "due_ns"


class Recording(Pacer):
    """Arrivals at given times, in nanoseconds and in order: 8 bytes of memory each."""

    def __init__(self, dues: Nanoseconds) -> None:
        self.length = int(dues[-1]) + 1
        self._dues = dues

    def due(self, arrival: int) -> int | None:
        return int(self._dues[arrival]) if arrival < len(self._dues) else None

    def rate(self, elapsed: int) -> float:
        """The arrivals of the whole second that `elapsed` is in."""
        begin = elapsed - elapsed % SECOND
        first, after = np.searchsorted(self._dues, [begin, begin + SECOND])
        return float(after - first)

    def due_block(self, first: int, count: int) -> list[int]:
        block: list[int] = self._dues[first : first + count].tolist()
        return block


def read(path: Path) -> Nanoseconds:
    """The arrivals that a file holds, in order: offsets, one a line, or the CSV by request of an earlier run.

    Offsets that are all integers are nanoseconds, others seconds. In a CSV, due times below 0 are those of a
    warm-up; all are then counted from the first of them. Raises ValueError for any other file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            first, second = file.readline().strip(), file.readline().strip()
        columns = first.split(",")
        is_csv = _CSV_COLUMN in columns
        if not (second if is_csv else first):
            raise ValueError("its first arrival is missing")
        return _requests(path, columns.index(_CSV_COLUMN)) if is_csv else _offsets(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be replayed: {error}") from error


def _requests(path: Path, column: int) -> Nanoseconds:
    dues = np.loadtxt(path, np.int64, delimiter=",", quotechar='"', skiprows=1, usecols=column, ndmin=1)
    return _in_order(dues - min(dues.min(), 0))


def _offsets(path: Path) -> Nanoseconds:
    try:
        offsets = np.loadtxt(path, np.int64, comments=None, ndmin=2)
    except ValueError:
        offsets = np.rint(np.loadtxt(path, np.float64, comments=None, ndmin=2) * SECOND)
    if offsets.shape[1] != 1:
        raise ValueError("it has more than one number a line")
    # Written so that it holds for no NaN.
    if not (offsets.min() >= 0 and offsets.max() <= FOREVER):
        raise ValueError(f"its offsets are not from 0 to {FOREVER / SECOND:,.0f} seconds")
    return _in_order(offsets[:, 0].astype(np.int64))


def _in_order(dues: Nanoseconds) -> Nanoseconds:
    ordered: Nanoseconds = np.sort(dues)
    return ordered
