from pathlib import Path

import pytest

from yais.clients.siege.schedules.pacers import ReplayPacer, read_recording
from yais.clients.stats.histogram import SECOND


def recorded(path: Path, text: str) -> list[int]:
    file = path / "arrivals"
    file.write_text(text)
    return ReplayPacer(read_recording(file)).due_block(0, 1000)


@pytest.mark.parametrize(
    ("text", "dues"),
    [
        ("0.5\n1.25\n", [SECOND // 2, 5 * SECOND // 4]),
        ("0\n0.000000001\n3\n", [0, 1, 3 * SECOND]),
        ("86400.123456789\n", [86_400_123_456_789]),
        ("5\n700\n1000000000\n", [5, 700, SECOND]),
        ("3.5e-3", [3_500_000]),
        ("7\n\n5\r\n6\n", [5, 6, 7]),
        ('kind,due_ns,text\n0,900,\n1,100,"a, ""b"""\n0,400,c\n', [100, 400, 900]),
        ("due_ns,sent_ns\n50,60\n-100,0\n", [0, 150]),
    ],
    ids=[
        "seconds",
        "integers and seconds",
        "a day to the nanosecond",
        "nanoseconds",
        "one, in powers of ten",
        "any order, with blanks",
        "the CSV of a run",
        "the CSV of a run with a warm-up",
    ],
)
def test_a_file_of_arrivals_is_read_in_order(tmp_path: Path, text: str, dues: list[int]) -> None:
    assert recorded(tmp_path, text) == dues


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "its first arrival is missing"),
        ("\n1\n", "its first arrival is missing"),
        ("soon\n", "could not convert string 'soon' to float64"),
        ("0.1\nlater\n", "could not convert string 'later'"),
        ("-1\n5\n", "its offsets are not from 0 to"),
        ("0.5\nnan\n", "its offsets are not from 0 to"),
        ("0.5\ninf\n", "its offsets are not from 0 to"),
        ("99999999999999999999\n", "its offsets are not from 0 to"),
        ("1 2\n3 4\n", "it has more than one number a line"),
        ("due_ns,kind\nx,0\n", "could not convert string 'x'"),
        ("due_ns,kind\n", "its first arrival is missing"),
        ("begin,kind\n1,0\n", "could not convert string 'begin,kind'"),
    ],
)
def test_another_file_is_refused_with_its_name_and_the_reason(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path}/arrivals cannot be replayed: {problem}"):
        recorded(tmp_path, text)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing cannot be replayed: .*No such file"):
        read_recording(tmp_path / "missing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="binary cannot be replayed: 'utf-8' codec"):
        read_recording(tmp_path / "binary")


def test_a_recording_ends_and_knows_the_rate_of_each_second(tmp_path: Path) -> None:
    (tmp_path / "arrivals").write_text("0.1\n0.2\n0.9999\n1.0\n3.5\n")
    recording = ReplayPacer(read_recording(tmp_path / "arrivals"))
    assert [recording.due(arrival) for arrival in (0, 4, 5)] == [SECOND // 10, 7 * SECOND // 2, None]
    assert [recording.rate(round(seconds * SECOND)) for seconds in (0, 0.95, 1, 2.5, 3, 9)] == [3, 3, 1, 0, 1, 0]
    assert recording.length == 7 * SECOND // 2 + 1
