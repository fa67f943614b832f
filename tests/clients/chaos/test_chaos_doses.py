import pytest

from yais.clients.siege.chaos.doses import KINDS, Dose, parse, usage
from yais.clients.siege.chaos.toxics import (
    Bandwidth,
    Blackhole,
    Latency,
    LimitData,
    Reset,
    Slicer,
    SlowClose,
    Timeout,
)


@pytest.mark.parametrize(
    ("text", "dose"),
    [
        ("latency:50ms", Dose(Latency(0.05))),
        ("latency:50ms:10ms:0.5", Dose(Latency(0.05, 0.01), 0.5)),
        ("latency:1.5s:0.25:down", Dose(Latency(1.5), 0.25, "down")),
        ("bandwidth:20KB:up", Dose(Bandwidth(20_000), 1.0, "up")),
        ("slicer:2KiB:500us:both", Dose(Slicer(2048, 500e-6))),
        ("slicer:8B", Dose(Slicer(8))),
        ("reset", Dose(Reset())),
        ("reset:0.1", Dose(Reset(), 0.1)),
        ("reset:2m:1", Dose(Reset(120))),
        ("timeout:200ms", Dose(Timeout(0.2))),
        ("blackhole:0", Dose(Blackhole(), 0)),
        ("slow-close:1s", Dose(SlowClose(1))),
        ("limit-data:1MB", Dose(LimitData(10**6))),
    ],
)
def test_a_toxic_is_read_as_it_is_spelled(text: str, dose: Dose) -> None:
    assert parse(text) == dose


@pytest.mark.parametrize(
    "text",
    [
        "latency",
        "latency:50",
        "latency:0.5",
        "latency:50KB",
        "latency:50ms:10ms:5ms",
        "latency:50ms:1.5",
        "latency:50ms:-0.5",
        "latency:50ms:nan",
        "latency:50ms:sideways",
        "latency:50ms:down:0.5",
        "bandwidth:0B",
        "slicer:0B",
        "limit-data:0B",
        "limit-data:100",
        "blackhole:1s",
    ],
)
def test_what_is_no_toxic_is_refused_with_how_it_is_spelled(text: str) -> None:
    with pytest.raises(ValueError, match=rf"^'{text}' is not {text.partition(':')[0]}\b.*PROBABILITY"):
        parse(text)


def test_an_unknown_toxic_is_told_which_there_are() -> None:
    with pytest.raises(ValueError, match="no toxic is called 'poison'; there are latency, bandwidth, slicer, reset"):
        parse("poison:1s")


def test_usage_shows_what_can_be_left_out() -> None:
    assert usage("latency") == "latency:DELAY[:JITTER][:PROBABILITY][:up|down|both]"
    assert set(KINDS) == {
        *("latency", "bandwidth", "slicer", "reset", "timeout", "blackhole", "slow-close", "limit-data"),
    }
