"""CPU instructions of a request, counted, and beside them those of another commit."""

from bench.instructions.comparison import FULL, SHORT, run

__all__ = ["FULL", "SHORT", "run"]
