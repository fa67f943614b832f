import os
import signal
from io import StringIO
from threading import Event

import pytest
from rich.console import Console

from yais.engines.builder.progress import ProgressBar, run_interruptibly


def drawn(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    """One on which a bar can be drawn."""
    monkeypatch.setenv("TERM", "xterm-256color")
    return Console(file=StringIO(), force_terminal=True, width=100)


def test_inner_phases_stand_below_outer_ones(terminal: Console) -> None:
    with ProgressBar(terminal) as bar:
        bar.phase_start("Building", None, 2)
        bar.phase_start("Timing", "Building", 7)
        bar.phase_start("Reformats", "Timing", 4)
        assert bar.step_complete("Timing", 2)
        bar.phase_finish("Reformats")
    text = drawn(terminal)
    assert "Building" in text
    assert "  Timing" in text
    assert "    Reformats" in text
    assert "3/7" in text


def test_a_phase_that_is_over_is_drawn_no_more(terminal: Console) -> None:
    with ProgressBar(terminal) as bar:
        bar.phase_start("Building", None, 2)
        before = len(drawn(terminal))
        bar.phase_finish("Building")
        bar.phase_start("Writing", None, 2)
        after = drawn(terminal)[before:]
    assert "Writing" in after
    assert "Building" not in after


def test_nothing_is_drawn_on_a_terminal_that_cannot_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console = Console(file=StringIO(), force_terminal=True, width=100)
    with ProgressBar(console) as bar:
        bar.phase_start("Building", None, 2)
    assert drawn(console).strip() == ""


def test_nothing_is_drawn_where_nobody_watches() -> None:
    console = Console(file=StringIO(), force_terminal=False)
    with ProgressBar(console) as bar:
        bar.phase_start("Building", None, 2)
        assert bar.step_complete("Building", 0)
    assert drawn(console) == ""


def test_phases_that_were_never_begun_do_no_harm() -> None:
    with ProgressBar(Console(file=StringIO())) as bar:
        assert bar.step_complete("Building", 0)
        bar.phase_finish("Building")


def test_a_step_after_the_cancellation_says_so() -> None:
    bar = ProgressBar(Console(file=StringIO()))
    bar.phase_start("Building", None, 2)
    assert bar.step_complete("Building", 0)
    bar.cancel()
    assert not bar.step_complete("Building", 1)


def test_work_gives_its_result_or_its_error() -> None:
    assert run_interruptibly(lambda: 7, lambda: None) == 7
    with pytest.raises(ZeroDivisionError):
        run_interruptibly(lambda: 1 // 0, lambda: None)


def test_ctrl_c_cancels_the_work_and_waits_for_its_end() -> None:
    cancelled, ended = Event(), Event()

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert cancelled.wait(10)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_interruptibly(work, cancelled.set)
    assert ended.is_set()
