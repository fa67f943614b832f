"""The sizes of batch for which a run is recorded as a CUDA graph: a batch is padded up to the next of them."""

from bisect import bisect_left


def ladder(max_batch: int) -> tuple[int, ...]:
    """The powers of two below `max_batch`, and `max_batch` itself, which is at least 1."""
    powers = (1 << bit for bit in range((max_batch - 1).bit_length()))
    return (*powers, max_batch)


def step(rows: int, sizes: tuple[int, ...]) -> int:
    """The smallest of `sizes`, which are in order, that has room for `rows`, which is at most the last of them."""
    return sizes[bisect_left(sizes, rows)]
