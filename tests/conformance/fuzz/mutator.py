"""The mutator, which makes new inputs out of old ones: records come, go, move and change.

libFuzzer changes the bytes inside of them, where it drives; without it they stay as they are.
"""

from collections.abc import Callable, Sequence
from random import Random

from conformance.fuzz.program import Language, Program, Record

try:
    from fuzzer import mutate as mutate_bytes
except ImportError:

    def mutate_bytes(data: bytes) -> bytes:
        return data


# The first bytes of a payload tell flags, streams, types and places.
_TELLING = 8

Maker = Callable[[Random], list[Record]]


class Mutator:
    """`makers` make records that belong together; `values` and `payloads` are those of interest to the target.

    `flips` are the bits of a set-up that change, `most` is the number of records that an input has at most.
    """

    def __init__(
        self,
        language: Language,
        makers: Sequence[Maker],
        values: Sequence[int],
        payloads: Sequence[bytes] = (),
        flips: Sequence[int] = (),
        most: int = 100,
    ) -> None:
        self._language = language
        self._makers = makers
        self._values = values
        self._payloads = payloads
        self._flips = flips
        self._most = most
        self._changes = (
            *(self._insert, self._insert, self._insert, self._append, self._append, self._remove, self._repeat),
            *(self._move, self._change_payload, self._change_byte, self._change_byte, self._change_argument),
        )

    def mutate(self, data: bytes, seed: int) -> bytes:
        chance = Random(seed)
        if chance.random() < 0.05:
            return mutate_bytes(data)
        program = self._language.decode(data)
        records = list(program.records)
        setup, variant = program.setup, program.variant
        for _ in range(chance.choice((1, 1, 2, 4))):
            chance.choice(self._changes)(records, chance)
        if chance.random() < 0.1:
            setup ^= chance.choice(self._flips)
        if chance.random() < 0.05:
            variant = chance.randrange(self._language.variants)
        return Program(setup, variant, tuple(records[: self._most])).encode()

    def cross(self, one: bytes, other: bytes, seed: int) -> bytes:
        """The beginning of one input, and the end of the other."""
        chance = Random(seed)
        first, second = self._language.decode(one), self._language.decode(other)
        head = first.records[: chance.randint(0, len(first.records))]
        tail = second.records[chance.randint(0, len(second.records)) :]
        return Program(first.setup, first.variant, (*head, *tail)[: self._most]).encode()

    def _insert(self, records: list[Record], chance: Random) -> None:
        at = chance.randint(0, len(records))
        records[at:at] = chance.choice(self._makers)(chance)

    def _append(self, records: list[Record], chance: Random) -> None:
        records += chance.choice(self._makers)(chance)

    def _remove(self, records: list[Record], chance: Random) -> None:
        if records:
            at = chance.randrange(len(records))
            del records[at : at + chance.choice((1, 1, 1, 3, 10))]

    def _repeat(self, records: list[Record], chance: Random) -> None:
        if records:
            at = chance.randrange(len(records))
            end = at + chance.choice((1, 1, 2, 5))
            records[end:end] = records[at:end] * chance.choice((1, 1, 2, 10))

    def _move(self, records: list[Record], chance: Random) -> None:
        if records:
            record = records.pop(chance.randrange(len(records)))
            records.insert(chance.randint(0, len(records)), record)

    def _change_payload(self, records: list[Record], chance: Random) -> None:
        if records:
            at = chance.randrange(len(records))
            old = records[at]
            payload = mutate_bytes(old.payload or b"\0")
            if self._payloads and chance.random() < 0.5:
                payload = chance.choice(self._payloads)
            records[at] = Record(old.kind, old.argument, payload)

    def _change_byte(self, records: list[Record], chance: Random) -> None:
        if records:
            at = chance.randrange(len(records))
            payload = bytearray(records[at].payload or b"\0")
            payload[chance.randrange(min(len(payload), _TELLING))] = self._value(chance)
            records[at] = Record(records[at].kind, records[at].argument, bytes(payload))

    def _change_argument(self, records: list[Record], chance: Random) -> None:
        if records:
            at = chance.randrange(len(records))
            records[at] = Record(records[at].kind, self._value(chance), records[at].payload)

    def _value(self, chance: Random) -> int:
        return chance.choice((*self._values, chance.randrange(256)))
