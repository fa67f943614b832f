"""Batch sizes, and how often each is drawn."""

import math
from collections.abc import Mapping

from yais.clients.inputs.weights import parse_weights

Sizes = Mapping[int, float]

_MOST_SIZES = 1024
_TAIL = 0.001


def parse_sizes(text: str) -> Sizes:
    """The weights by size. Raises ValueError, naming the bound, for what is none of the forms.

    `8`; `1..16`, all alike; `1:70,8:25,32:5`, by weight; `geometric:MEAN` or `geometric:MEAN:MOST`.
    """
    if text.startswith("geometric:"):
        return _geometric(text)
    if ".." in text:
        first, _, last = text.partition("..")
        return _evenly(_size(first), _size(last))
    return {_size(size): weight for size, weight in parse_weights(text, ":").items()}


def _size(text: str) -> int:
    try:
        size = int(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a size: write 8, 1..16, 1:70,8:25,32:5 (by weight) or geometric:MEAN[:MOST]"
        ) from None
    if size < 1:
        raise ValueError(f"{size} is not in the range x>=1")
    return size


def _evenly(first: int, last: int) -> Sizes:
    if not 0 <= last - first < _MOST_SIZES:
        raise ValueError(f"{first}..{last} is not a range of 1 to {_MOST_SIZES} sizes")
    return dict.fromkeys(range(first, last + 1), 1.0)


def _geometric(text: str) -> Sizes:
    """P(k) = p (1 - p)^(k - 1) with p = 1 / mean; cut at `most`, or else where less than 0.1 % is left."""
    _, mean_text, *most_text = text.split(":")
    try:
        mean = float(mean_text)
    except ValueError:
        mean = math.nan
    if not 1 < mean <= 100 or len(most_text) > 1:
        raise ValueError(f"{text!r} is not geometric:MEAN[:MOST] with a mean above 1 and up to 100")
    stay = 1 - 1 / mean
    most = _size(most_text[0]) if most_text else math.ceil(math.log(_TAIL) / math.log(stay))
    return {size: (1 - stay) * stay ** (size - 1) for size in range(1, min(most, _MOST_SIZES) + 1)}
