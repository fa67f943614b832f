"""The records of a program for requests: how a model is served, and calls, whose messages are made piece by piece.

A program's variant is the number of its model.
"""

from enum import IntEnum, IntFlag

from conformance.fuzz.program import Language
from conformance.fuzz.templates.engines import ENGINES


class Setup(IntFlag):
    """The lower three bits say of what kind the engine's output buffers are."""

    # So many that few are known for long.
    MANY_TEMPLATES = 8
    # The server drains before the last round.
    CLOSED = 16
    SHORT_QUEUE = 32
    # The usual request has come before.
    TAUGHT = 64


class Kind(IntEnum):
    # Pieces of the message.
    WIRE = 0
    FIELD = 1
    INPUT = 2
    RAW = 3
    OUTPUT = 4
    PARAMETER = 5
    # An earlier message, whole.
    AGAIN = 6
    # Something in the message is no longer as it was.
    SPOIL = 7
    # The message is sent; the argument says by what kind of caller.
    SEND = 8
    # Whatever waits is run.
    RUN = 9


LANGUAGE = Language(Kind, 2 * Setup.TAUGHT, ENGINES)
