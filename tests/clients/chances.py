"""What chance can explain."""

from yais.clients.stats.statistics import at_least


def is_plausible(off: int, searches: int, chance: float) -> bool:
    """Whether so many would be off no less than once in a thousand times, were each off with this chance."""
    return at_least(off, searches, chance) > 0.001
