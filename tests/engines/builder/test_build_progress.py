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


def test_inner_phases_stand_below_outer_ones() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=100)
    with ProgressBar(console) as bar:
        bar.phase_start("Building", None, 2)
        bar.phase_start("Timing", "Building", 7)
        bar.phase_start("Reformats", "Timing", 4)
        assert bar.step_complete("Timing", 2)
        bar.phase_finish("Reformats")
    text = drawn(console)
    assert "Building" in text
    assert "  Timing" in text
    assert "    Reformats" in text
    assert "3/7" in text


def test_a_phase_that_is_over_is_drawn_no_more() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=100)
    with ProgressBar(console) as bar:
        bar.phase_start("Building", None, 2)
        before = len(drawn(console))
        bar.phase_finish("Building")
        bar.phase_start("Writing", None, 2)
        after = drawn(console)[before:]
    assert "Writing" in after
    assert "Building" not in after


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
