import pytest

from yais.clients.siege.chaos.toxics import (
    TOXICS,
    Bandwidth,
    Blackhole,
    ConfiguredToxic,
    Latency,
    LimitData,
    Reset,
    Slicer,
    SlowClose,
    Timeout,
    parse_toxic,
    usage,
)


@pytest.mark.parametrize(
    ("text", "configured"),
    [
        ("latency:50ms", ConfiguredToxic(Latency(0.05))),
        ("latency:50ms:10ms:0.5", ConfiguredToxic(Latency(0.05, 0.01), 0.5)),
        ("latency:1.5s:0.25:down", ConfiguredToxic(Latency(1.5), 0.25, "down")),
        ("bandwidth:20KB:up", ConfiguredToxic(Bandwidth(20_000), 1.0, "up")),
        ("slicer:2KiB:500us:both", ConfiguredToxic(Slicer(2048, 500e-6))),
        ("slicer:8B", ConfiguredToxic(Slicer(8))),
        ("reset", ConfiguredToxic(Reset())),
        ("reset:0.1", ConfiguredToxic(Reset(), 0.1)),
        ("reset:2m:1", ConfiguredToxic(Reset(120))),
        ("timeout:200ms", ConfiguredToxic(Timeout(0.2))),
        ("blackhole:0", ConfiguredToxic(Blackhole(), 0)),
        ("slow-close:1s", ConfiguredToxic(SlowClose(1))),
        ("limit-data:1MB", ConfiguredToxic(LimitData(10**6))),
    ],
)
def test_a_toxic_is_read_as_it_is_spelled(text: str, configured: ConfiguredToxic) -> None:
    assert parse_toxic(text) == configured


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
    with pytest.raises(ValueError, match=rf"^'{text}' is not {text.partition(':')[0]}\b.*TOXICITY"):
        parse_toxic(text)


def test_an_unknown_toxic_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match="no toxic is called 'poison'; there are latency, bandwidth, slicer, reset"):
        parse_toxic("poison:1s")


def test_usage_shows_what_can_be_left_out() -> None:
    assert usage("latency") == "latency:DELAY[:JITTER][:TOXICITY][:up|down|both]"
    assert set(TOXICS) == {
        *("latency", "bandwidth", "slicer", "reset", "timeout", "blackhole", "slow-close", "limit-data"),
    }
