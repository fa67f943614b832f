"""What the commands exit with."""

from enum import IntEnum


class ExitCode(IntEnum):
    """An invalid run ends with whose limit it was; of a valid one the objectives decide, if there are any."""

    CLEAN = 0
    FAILED = 1
    # click's own.
    BAD_USAGE = 2
    GENERATOR_LIMIT = 3
    SERVER_LIMIT = 4
    MISSED = 5
