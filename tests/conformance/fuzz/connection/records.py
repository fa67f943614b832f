"""The records of a program for one connection: which end is tried, how it is set up, and what happens to it.

A program's variant is the number of the settings that its connection has.
"""

from enum import IntEnum, IntFlag

from conformance.fuzz.program import Language

VARIANTS = 4


class Setup(IntFlag):
    CLIENT = 1
    # The socket takes little at a time.
    SLOW_SOCKET = 2
    # The peer's preface and SETTINGS come before the first record.
    GREETED = 4
    # The loop runs after each record, not only where a TURN says so.
    EAGER = 8
    # The transport goes away without a word, and only the garbage collector sees it.
    FORGOTTEN = 16


class Kind(IntEnum):
    # What the peer sends; the argument says in which portions it is read.
    RAW = 0
    FRAME = 1
    HEADERS = 2
    MESSAGE = 3
    # What happens on this side; the argument says what, and for ACTION and NESTED the payload to whom.
    TURN = 4
    PEER_READS = 5
    ACTION = 6
    # An action that is taken inside of the next callback.
    NESTED = 7
    # What the peer sent last, eight times as often as the argument says.
    AGAIN = 8


LANGUAGE = Language(Kind, 1 << len(Setup), VARIANTS)
