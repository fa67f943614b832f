"""A curve in one line of text."""

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None]) -> str:
    """One character a value, from 0 to the greatest of them, which is `top`; a blank where there is no value."""
    steps = len(BLOCKS) / (top(values) or 1.0)
    # The greatest value itself is a step beyond the last one.
    blocks = BLOCKS + BLOCKS[-1]
    return "".join([" " if value is None else blocks[int(value * steps)] for value in values])


def top(values: Sequence[float | None]) -> float:
    """0 without any."""
    return max([value for value in values if value is not None], default=0.0)
