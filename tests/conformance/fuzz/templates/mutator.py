"""How the inputs for requests change."""

from random import Random

from conformance.fuzz.mutator import Mutator
from conformance.fuzz.program import Record
from conformance.fuzz.templates.records import LANGUAGE, Kind

_ARGUMENTS = (0, 0, 1, 2, 3, 5, 7, 8, 17, 33, 64, 128, 255)
_PAYLOADS = (
    b"", b"m", b"x", b"1", b"\0", b"\0\1", b"\0\1\2", b"\0\2\2", b"\0\0\0", b"\0\1\xff", b"\0\4\xf8",
    b"\x80\1\2", b"\xff\xfe", b"a" * 200, b"\x0a\1m", b"\x1a\1r", b"\x1a\0", b"\x3a\0", b"\x3a\x80\x80\0",
    b"\x08\1", b"\x38\1", b"\x1d1234", b"\x1b\x1c", b"\x43\x44", b"\x42\1a", b"\x82\1\2ab", b"\x00", b"\xff" * 11,
)  # fmt: skip


def _any(chance: Random) -> list[Record]:
    kind, argument, payload = (chance.choice(each) for each in (list(Kind), _ARGUMENTS, _PAYLOADS))
    return [Record(kind, argument, payload)]


def _another(chance: Random) -> list[Record]:
    """An earlier message once more, often spoiled, and often with another id or other contents."""
    records = [Record(Kind.SEND, 0), Record(Kind.AGAIN, chance.randrange(8))]
    where = chance.randrange(400).to_bytes(2, "little")
    if chance.random() < 0.6:
        records.append(Record(Kind.SPOIL, chance.randrange(5), where + chance.choice(_PAYLOADS)))
    if chance.random() < 0.4:
        records.append(Record(Kind.FIELD, chance.choice((3, 3, 11, 43, 67)), chance.choice(_PAYLOADS)))
    return [*records, Record(Kind.SEND, chance.choice(_ARGUMENTS))]


_MUTATOR = Mutator(
    LANGUAGE,
    makers=(_any, _another),
    values=_ARGUMENTS,
    payloads=_PAYLOADS,
    flips=[bit for bit in range(LANGUAGE.setups) if bit.bit_count() == 1],
    most=120,
)
mutate, cross = _MUTATOR.mutate, _MUTATOR.cross
