import random

import pytest
from hyperframe.frame import DataFrame, SettingsFrame

from conformance.fuzz.connection.invariants import play
from conformance.fuzz.connection.mutator import cross, mutate
from conformance.fuzz.connection.output import Output
from conformance.fuzz.connection.received import Received
from conformance.fuzz.connection.records import LANGUAGE, Kind, Setup
from conformance.fuzz.corpus import replay
from conformance.fuzz.program import Program, Record
from yais.clients.siege.chaos.h2 import PREFACE, frame, literal

HEADERS = frame(1, 4, 1, literal(b":status", b"200"))
SETTINGS = SettingsFrame(0).serialize()


def written(data: bytes, received: bytes = b"", sent: bytes = b"") -> None:
    Output(Received(received), {1: bytearray(sent)}).check(SETTINGS + HEADERS + data, is_client=False, may_be_cut=False)


def test_everything_that_the_fuzzer_found_worth_keeping_still_holds() -> None:
    assert len(replay("connection", play)) > 500


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("0100060600000606000007ff0000", id="a callback that raises leaves other calls their end"),
        pytest.param("1b000607030006fbc3", id="a half sent buffer is given back by the garbage collector"),
    ],
)
def test_what_the_fuzzer_found_stays_mended(data: str) -> None:
    play(bytes.fromhex(data))


def test_every_mutation_is_an_input_and_every_input_can_be_played() -> None:
    chance = random.Random(1)
    pool = [Program(setup | Setup.GREETED | Setup.EAGER, 0, ()).encode() for setup in (Setup(0), Setup.CLIENT)]
    for seed in range(300):
        data = cross(mutate(chance.choice(pool), seed), chance.choice(pool), seed)
        assert LANGUAGE.decode(data).encode()[:2] == data[:2]
        play(data)
        pool.append(data)


def test_a_program_survives_its_encoding() -> None:
    records = (Record(Kind.TURN, 3), Record(Kind.FRAME, 0, b"\0\1\1hello"))
    program = Program(Setup.CLIENT | Setup.EAGER, 2, records)
    assert LANGUAGE.decode(program.encode()) == program


def test_what_a_connection_may_write_is_let_through() -> None:
    written(DataFrame(1, b"abc").serialize(), sent=b"abcd")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(DataFrame(1, b"abd").serialize(), "nobody has sent", id="other data"),
        pytest.param(DataFrame(3, b"abc").serialize(), "before headers", id="data without headers"),
        pytest.param(frame(0, 1, 1, b"") + frame(0, 0, 1, b"a"), "after the end", id="data after the end"),
        pytest.param(HEADERS, "wrong place", id="a second status"),
        pytest.param(frame(0, 0, 1, b"a" * 16_385), "larger", id="a frame too large"),
        pytest.param(frame(0, 0, 1, b"abc")[:-1], "cut off", id="half a frame"),
        pytest.param(frame(1, 0, 3, b"") + frame(0, 0, 1, b""), "interrupted", id="a block of headers interrupted"),
    ],
)
def test_what_a_connection_may_not_write_is_found(data: bytes, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        written(data, sent=b"abc" + bytes(20_000))


def test_data_past_the_windows_is_found() -> None:
    data = b"".join(frame(0, 0, 1, bytes(size)) for size in (16_384, 16_384, 16_384, 16_383, 1))
    grant = frame(8, 0, 0, (1).to_bytes(4, "big"))
    written(data[:-10], sent=bytes(70_000))
    with pytest.raises(AssertionError, match="connection's window"):
        written(data, sent=bytes(70_000))
    with pytest.raises(AssertionError, match="stream's window"):
        written(data, PREFACE + grant, sent=bytes(70_000))
    written(data, PREFACE + grant + frame(8, 0, 1, (1).to_bytes(4, "big")), sent=bytes(70_000))
