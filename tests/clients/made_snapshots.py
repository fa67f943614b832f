"""Snapshots at runs that never were."""

from typing import Any

import numpy as np

from yais.clients.siege.progress import Snapshot
from yais.clients.stats.histogram import Histogram
from yais.clients.stats.outcomes import Counts

MS = 1_000_000


def histogram(*milliseconds: float) -> Histogram:
    made = Histogram()
    made.add(np.array([round(value * MS) for value in milliseconds], np.int64))
    return made


def made_snapshot(*latencies: float, lags: tuple[float, ...] = (), **others: Any) -> Snapshot:
    """A second in which requests of so many milliseconds completed, the first of their run."""
    completed = len(latencies)
    made = {"elapsed": 1.0, "interval": 1.0, "asked": 2500.0, "counts": Counts(completed, completed, 0, completed)}
    return Snapshot(**made | {"latency": histogram(*latencies), "lag": histogram(*lags)} | others)
