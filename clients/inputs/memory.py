"""How much of what is prepared may lie in memory."""

import click

from yais.clients.messages import Arrays

MOST_BYTES = 1 << 30


class Memory:
    """Counts what is kept; the first inputs are free, for a single request is bounded by the protocol only."""

    def __init__(self, option: str) -> None:
        self._option = option
        self._taken = 0

    def keep(self, inputs: Arrays) -> Arrays:
        size = sum(array.nbytes for array in inputs.values())
        if self._taken and self._taken + size > MOST_BYTES:
            raise click.UsageError(f"{self._option}: the requests take more than {MOST_BYTES >> 20} MiB of memory")
        self._taken += size
        return inputs
