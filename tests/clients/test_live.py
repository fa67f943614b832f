import io
from dataclasses import replace

import pytest
from rich.console import Console

from yais.clients.siege.schedules.pacer import SECOND, Constant
from yais.clients.siege.traffic.sender import Sender
from yais.clients.siege.views.live import Glance, Observer, Screen, styled

MS = 1_000_000
GLANCE = Glance(3.0, 2500.0, 2499.5, 17, 0, 0, {"p50": 1.5, "p99": 12.34})


def make_sender() -> Sender:
    return Sender([], lambda: (0, b""), Constant(10.0), timeout=1.0, max_outstanding=1)


def test_each_look_sees_what_is_new() -> None:
    sender = make_sender()
    observer = Observer(sender, Constant(10.0))
    for latency in (1, 2, 3):
        sender.recorder.add(0, 0, latency * MS)
    first = observer.look(SECOND)
    sender.recorder.add(0, 0, 9 * MS)
    sender.recorder.add(0, 0, 5 * MS, status=14)
    sender.recorder.hold_back(0)
    second = observer.look(3 * SECOND)
    assert (first.elapsed, first.answered, first.latency["p50"], first.failed) == (
        1.0,
        3.0,
        pytest.approx(2.0, rel=1e-3),
        0,
    )
    assert (second.elapsed, second.answered, second.latency["max"], second.failed) == (
        3.0,
        0.5,
        pytest.approx(9.0, rel=1e-3),
        1,
    )
    assert observer.look(4 * SECOND).failed == 1


def test_a_second_without_answers_has_no_latency() -> None:
    glance = Observer(make_sender(), Constant(10.0)).look(SECOND)
    assert (glance.asked, glance.answered, glance.latency) == (10.0, 0.0, {})
    assert "p50" not in styled(glance).plain


def test_the_screen_shows_the_glance_in_place() -> None:
    output = io.StringIO()
    with Screen(Console(file=output, force_terminal=True, width=120)) as screen:
        screen.show(GLANCE)
        screen.show(replace(GLANCE, elapsed=4.0))
    assert "p99 \x1b[0m\x1b[1m12.3 ms" in output.getvalue()
    assert "\x1b[2K" in output.getvalue()


def test_what_goes_wrong_stands_out() -> None:
    assert not any("red" in str(span.style) for span in styled(GLANCE).spans)
    assert any("red" in str(span.style) for span in styled(replace(GLANCE, held_back=3)).spans)
