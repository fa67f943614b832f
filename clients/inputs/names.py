"""Names as they were typed, and the nearest ones that exist."""

from collections.abc import Iterable
from difflib import get_close_matches

_ALIKE = 0.5


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name; empty where none is like it."""
    # Case is the most frequent slip, and none of what makes two names unlike.
    by_fold = {each.lower(): each for each in known}
    nearest = get_close_matches(name.lower(), by_fold, 1, _ALIKE)
    return f"; did you mean {by_fold[nearest[0]]!r}?" if nearest else ""
