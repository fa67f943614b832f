import io
import itertools
import os
import pty
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from clients.made_snapshots import made_snapshot
from rich.console import Console

from yais.clients.siege.terminal import BLOCKS, WINDOW, PlainLines, Screen, open_views, sparkline
from yais.clients.stats.outcomes import Counts

Show = Callable[..., str]

LOST = Counts(offered=2503, sent=2501, dropped=2, completed=2498, rejected=2, errored=1)
FAILURES = {"UNAVAILABLE": 2, "INTERNAL": 1}
FINE = Counts(offered=2500, sent=2500, completed=2500)


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str]) -> Show:
    """The line that is written of a snapshot."""

    def show(*latencies: float, **others: Any) -> str:
        with PlainLines() as lines:
            lines.show(made_snapshot(*latencies, **others))
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err

    return show


def screen(width: int = 120, **options: Any) -> tuple[Screen, io.StringIO]:
    output = io.StringIO()
    return Screen(Console(file=output, force_terminal=True, width=width, _environ={}, **options)), output


@pytest.fixture
def rows() -> Callable[..., list[str]]:
    """The rows that a screen of some width ends up with, in colours or as plain text."""

    def show(*snapshots: Any, width: int = 120, coloured: bool = False, **options: Any) -> list[str]:
        shown, output = screen(width, **options)
        with shown:
            for snapshot in snapshots:
                shown.show(snapshot)
            frame = re.split(r"\x1b\[2K|\x1b\[\?25l", output.getvalue())[-1]
        return (frame if coloured else re.sub(r"\x1b\[[\d;]*m", "", frame)).split("\n")

    return show


def test_a_line_says_all_of_a_second(line: Show) -> None:
    said = line(1.5, 12.3, lags=(0.25,), in_flight=17, elapsed=3.0, counts=LOST, failures=FAILURES)
    assert said == (
        "at 3 s  asked 2,500.0/s  answered 2.0/s  in flight 17  p50 1.50 ms  p99 12.3 ms  lag p99 0.250 ms  "
        "failed 3 (UNAVAILABLE 2, INTERNAL 1)  dropped 2\n"
    )


def test_percentiles_are_told_apart(line: Show) -> None:
    said = line(*range(1, 101), lags=tuple(range(1, 101)))
    assert "p50 50.0 ms  p99 99.0 ms  lag p99 99.0 ms  " in said


def test_a_second_without_answers_has_no_latency(line: Show) -> None:
    assert line() == "at 1 s  asked 2,500.0/s  answered 0.0/s  in flight 0  failed 0  dropped 0\n"


def test_a_closed_loop_has_neither_a_rate_that_was_asked_for_nor_lag(line: Show) -> None:
    assert line(1.0, asked=None, lags=(1.0,)).startswith("at 1 s  answered 1.0/s  in flight 0  p50 1.00 ms  p99 1.00")
    assert "lag" not in line(1.0, asked=None, lags=(1.0,))


def test_a_warm_up_does_not_look_like_a_server_that_is_silent(line: Show) -> None:
    assert "warm-up 1,200  asked" in line(warm_up=1200)
    assert "warm-up" not in line(1.0, warm_up=1200)


def test_the_last_snapshot_is_left_to_the_report(line: Show, rows: Callable[..., list[str]]) -> None:
    assert line(1.0, last=True) == ""
    shown, output = screen()
    with shown:
        shown.show(made_snapshot(1.0, last=True))
    assert "answered" not in output.getvalue()


def test_the_screen_shows_figures_and_curves(rows: Callable[..., list[str]]) -> None:
    slow = made_snapshot(5.0, 30.0, lags=(0.25,), in_flight=17, elapsed=2.0, counts=FINE)
    first, *curves = rows(made_snapshot(10.0), made_snapshot(), slow)
    assert first.rstrip() == "at 2 s  asked 2,500.0/s  answered 2.0/s  in flight 17  lag p99 0.250 ms"
    assert [row.rstrip() for row in curves] == [
        f"{'answered':10}{'▅▁█':>60}{'2.0/s':>12}  top 2.0/s",
        f"{'p50':10}{'█ ▄':>60}{'5.00 ms':>12}  top 10.0 ms",
        f"{'p99':10}{'▃ █':>60}{'30.0 ms':>12}  top 30.0 ms",
    ]


def test_a_second_without_answers_is_a_gap_in_the_curve(rows: Callable[..., list[str]]) -> None:
    _, _, p50, p99, *_ = rows(made_snapshot(1.0), made_snapshot())
    assert "█     " in p50
    assert p50.split()[2:] == p99.split()[2:] == ["-", "top", "1.00", "ms"]


def test_each_snapshot_takes_the_place_of_the_one_before() -> None:
    shown, output = screen()
    with shown:
        shown.show(made_snapshot(1.0))
        assert "\x1b[1A" not in output.getvalue()
        shown.show(made_snapshot(2.0))
    assert output.getvalue().count("\x1b[2K\x1b[1A") >= 3


def test_curves_are_of_the_last_minute(rows: Callable[..., list[str]]) -> None:
    snapshots = [made_snapshot(100.0), *itertools.repeat(made_snapshot(1.0), WINDOW)]
    _, _, p50, *_ = rows(*snapshots, width=200)
    assert p50.rstrip() == f"{'p50':10}{'█' * WINDOW}{'1.00 ms':>12}  top 1.00 ms"


def test_where_there_is_little_room_curves_are_of_the_latest_seconds(rows: Callable[..., list[str]]) -> None:
    _, _, p50, *_ = rows(*map(made_snapshot, range(1, 21)), width=48)
    assert p50.rstrip() == f"{'p50':10}{'▅▅▆▆▇▇▇███'}{'20.0 ms':>12}  top 20.0 ms"


def test_what_goes_wrong_stands_out_by_kind(rows: Callable[..., list[str]]) -> None:
    fine = rows(made_snapshot(1.0, counts=FINE), coloured=True)
    assert not any("failed" in row or "dropped" in row or "31m" in row for row in fine)
    bad = rows(made_snapshot(1.0, counts=LOST, failures=FAILURES), coloured=True)
    assert any("\x1b[1;31m3 (UNAVAILABLE 2, INTERNAL 1)" in row for row in bad)
    assert any("\x1b[1;31m2" in row and "dropped" in row for row in bad)


@pytest.mark.parametrize("width", [1, 5, 12, 30, 45, 46, 60, 80, 97, 98, 200])
def test_at_any_width_rows_fit_and_no_figure_is_cut_in_two(rows: Callable[..., list[str]], width: int) -> None:
    snapshot = made_snapshot(5.0, 30.0, lags=(0.25,), in_flight=17, counts=LOST, failures=FAILURES)
    first, answered, *others = rows(snapshot, width=width)
    assert max(map(len, (first, answered, *others))) <= width
    whole = "at 1 s  asked 2,500.0/s  answered 2.0/s  in flight 17  lag p99 0.250 ms  "
    if width >= 6:
        assert whole.startswith(first.rstrip() + "  ")
    assert ("█" in answered) == (width >= 46)
    assert width < 98 or first.rstrip() == whole.rstrip()


def test_without_colours_nothing_is_coloured(rows: Callable[..., list[str]]) -> None:
    snapshot = made_snapshot(1.0, counts=LOST, failures=FAILURES)
    assert "31m" not in "".join(rows(snapshot, coloured=True, no_color=True))


def test_where_blocks_cannot_be_written_there_are_figures() -> None:
    output = io.TextIOWrapper(io.BytesIO(), "ascii")
    with Screen(Console(file=output, force_terminal=True, width=120)) as shown:
        shown.show(made_snapshot(1.0))
    output.flush()
    assert b"1.00 ms" in output.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("values", "curve"),
    [
        ([], ""),
        ([0.0, 0.0], "▁▁"),
        ([None, 3.0, None], " █ "),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], "▁▂▃▄▅▆▇██"),
        ([1e-9, 1e9], "▁█"),
        ([7.99, 8.0], "██"),
        ([0.99, 1.0, 8.0], "▁▂█"),
    ],
)
def test_a_curve_runs_from_nothing_to_its_greatest_value(values: list[float | None], curve: str) -> None:
    assert sparkline(values) == curve


def test_a_value_of_any_size_has_a_block() -> None:
    for highest in (1e-300, 0.1, 0.3, 1 / 3, 1e300):
        assert sparkline([highest]) == BLOCKS[-1]


@contextmanager
def standard_error(file: Any, patch: pytest.MonkeyPatch) -> Iterator[None]:
    with patch.context() as patched:
        patched.setattr(sys, "stderr", file)
        yield


def test_a_file_gets_lines_even_if_colours_are_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    with standard_error(file, monkeypatch), open_views(None, {}) as views:
        views.show(made_snapshot(1.0))
    assert file.getvalue().startswith("at 1 s  asked 2,500.0/s")
    assert "\x1b" not in file.getvalue()


@pytest.mark.parametrize(("terminal", "moves"), [("xterm-256color", True), ("dumb", False)])
def test_a_terminal_that_can_go_back_gets_the_screen(
    monkeypatch: pytest.MonkeyPatch, terminal: str, moves: bool
) -> None:
    monkeypatch.setenv("TERM", terminal)
    reading, writing = pty.openpty()
    with os.fdopen(reading, "rb", 0) as reader, os.fdopen(writing, "w") as file:
        with standard_error(file, monkeypatch), open_views(None, {}) as views:
            views.show(made_snapshot(1.0))
        file.flush()
        said = b""
        # A read gives what has come by then, which need not be all of it.
        while b"answered" not in said:
            said += reader.read(65_536)
    assert (b"\x1b[?25l" in said) == moves
    # What can go back needs no word about what did not go wrong.
    assert (b"failed 0" in said) != moves
