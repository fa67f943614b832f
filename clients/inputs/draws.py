"""Which of several things is next: by turns, or drawn by weight."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")

_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Share(Generic[T]):
    """Things that take turns, and the weight by which they are drawn beside those of other shares."""

    weight: float
    turns: tuple[T, ...]


def draw(shares: Sequence[Share[T]], *seed: int) -> Iterator[T]:
    """Without end: a share by its weight, and of that share whose turn it is; the seed decides all of it.

    Of a single share nothing is left to be drawn. One costs some 0.2 us.
    """
    if len(shares) == 1:
        return cycle(shares[0].turns)
    return _drawn([cycle(share.turns) for share in shares], [share.weight for share in shares], seed)


def _drawn(turns: Sequence[Iterator[T]], weights: Sequence[float], seed: tuple[int, ...]) -> Iterator[T]:
    random = np.random.default_rng(seed)
    # The last bound is above every draw, whatever rounding made of the sum.
    bounds = np.cumsum(weights)[:-1] / sum(weights)
    while True:
        for index in np.searchsorted(bounds, random.random(_AT_ONCE), side="right").tolist():
            yield next(turns[index])
