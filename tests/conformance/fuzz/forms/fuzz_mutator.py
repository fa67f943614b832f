"""Makes new inputs out of old ones: records come, go, move and change; libFuzzer changes the bytes inside of them."""

import random

from conformance.fuzz.forms.fuzz_program import ENGINES, MAX_RECORDS, Kind, Program, Record, decode

try:
    from fuzzer import mutate as mutate_bytes
except ImportError:

    def mutate_bytes(data: bytes) -> bytes:
        return data


_ARGUMENTS = (0, 0, 1, 2, 3, 5, 7, 8, 17, 33, 64, 128, 255)
_PAYLOADS = (
    b"", b"m", b"x", b"1", b"\0", b"\0\1", b"\0\1\2", b"\0\2\2", b"\0\0\0", b"\0\1\xff", b"\0\4\xf8",
    b"\x80\1\2", b"\xff\xfe", b"a" * 200, b"\x0a\1m", b"\x1a\1r", b"\x1a\0", b"\x3a\0", b"\x3a\x80\x80\0",
    b"\x08\1", b"\x38\1", b"\x1d1234", b"\x1b\x1c", b"\x43\x44", b"\x42\1a", b"\x82\1\2ab", b"\x00", b"\xff" * 11,
)  # fmt: skip


def mutate(data: bytes, seed: int) -> bytes:
    chance = random.Random(seed)
    if chance.random() < 0.05:
        return mutate_bytes(data)
    program = decode(data)
    records = list(program.records)
    model, setup = program.model, program.setup
    for _ in range(chance.choice((1, 1, 2, 4))):
        chance.choice(_CHANGES)(records, chance)
    if chance.random() < 0.05:
        model = chance.randrange(ENGINES)
    if chance.random() < 0.15:
        setup ^= 1 << chance.randrange(7)
    return Program(model, setup, tuple(records[:MAX_RECORDS])).encode()


def cross(one: bytes, other: bytes, seed: int) -> bytes:
    """The beginning of one input, and the end of the other."""
    chance = random.Random(seed)
    first, second = decode(one), decode(other)
    head = first.records[: chance.randint(0, len(first.records))]
    tail = second.records[chance.randint(0, len(second.records)) :]
    return Program(first.model, first.setup, (*head, *tail)[:MAX_RECORDS]).encode()


def _insert(records: list[Record], chance: random.Random) -> None:
    kind, argument, payload = (chance.choice(each) for each in (list(Kind), _ARGUMENTS, _PAYLOADS))
    records.insert(chance.randint(0, len(records)), Record(kind, argument, payload))


def _send_another(records: list[Record], chance: random.Random) -> None:
    """An earlier message once more, often spoiled, and often with another id or other contents."""
    records += [Record(Kind.SEND, 0), Record(Kind.AGAIN, chance.randrange(8))]
    where = chance.randrange(400).to_bytes(2, "little")
    if chance.random() < 0.6:
        records.append(Record(Kind.SPOIL, chance.randrange(5), where + chance.choice(_PAYLOADS)))
    if chance.random() < 0.4:
        records.append(Record(Kind.FIELD, chance.choice((3, 3, 11, 43, 67)), chance.choice(_PAYLOADS)))
    records.append(Record(Kind.SEND, chance.choice(_ARGUMENTS)))


def _remove(records: list[Record], chance: random.Random) -> None:
    if records:
        at = chance.randrange(len(records))
        del records[at : at + chance.choice((1, 1, 1, 3, 10))]


def _repeat(records: list[Record], chance: random.Random) -> None:
    if records:
        at = chance.randrange(len(records))
        end = at + chance.choice((1, 1, 2, 5))
        records[end:end] = records[at:end] * chance.choice((1, 1, 2, 16))


def _move(records: list[Record], chance: random.Random) -> None:
    if records:
        record = records.pop(chance.randrange(len(records)))
        records.insert(chance.randint(0, len(records)), record)


def _change_payload(records: list[Record], chance: random.Random) -> None:
    if records:
        at = chance.randrange(len(records))
        old = records[at]
        payload = chance.choice((mutate_bytes(old.payload or b"\0"), chance.choice(_PAYLOADS)))
        records[at] = Record(old.kind, old.argument, payload)


def _change_byte(records: list[Record], chance: random.Random) -> None:
    """One of the first bytes, which tell datatypes, shapes and places."""
    if records:
        at = chance.randrange(len(records))
        payload = bytearray(records[at].payload or b"\0")
        payload[chance.randrange(min(len(payload), 6))] = chance.choice((*_ARGUMENTS, chance.randrange(256)))
        records[at] = Record(records[at].kind, records[at].argument, bytes(payload))


def _change_argument(records: list[Record], chance: random.Random) -> None:
    if records:
        at = chance.randrange(len(records))
        argument = chance.choice((*_ARGUMENTS, chance.randrange(256)))
        records[at] = Record(records[at].kind, argument, records[at].payload)


_CHANGES = (
    _insert,
    _insert,
    _send_another,
    _send_another,
    _remove,
    _repeat,
    _move,
    _change_payload,
    _change_byte,
    _change_argument,
)
