from collections.abc import Callable
from itertools import islice
from random import Random

import pytest

from yais.transport.backoff import Backoff


def first_delays(backoff: Backoff, count: int, random: Callable[[], float] = lambda: 0.5) -> list[float]:
    return list(islice(backoff.delays(random), count))


def test_delays_grow_by_the_multiplier_up_to_two_minutes() -> None:
    delays = first_delays(Backoff(), 13)
    assert delays[:4] == pytest.approx([1, 1.6, 2.56, 4.096])
    assert delays[-3:] == pytest.approx([1.6**10, 120, 120])


def test_delays_stay_at_the_maximum_for_good() -> None:
    delays = Backoff().delays(lambda: 0.5)
    assert all(delay <= 120 for delay in islice(delays, 5000))
    assert next(delays) == 120


@pytest.mark.parametrize(("drawn", "factor"), [(0.0, 0.8), (0.25, 0.9), (0.75, 1.1), (1 - 2**-53, 1.2)])
def test_every_delay_is_spread_by_a_fifth(drawn: float, factor: float) -> None:
    steady = first_delays(Backoff(), 20)
    assert first_delays(Backoff(), 20, lambda: drawn) == pytest.approx([factor * delay for delay in steady])


def test_the_spread_does_not_add_up() -> None:
    delays = first_delays(Backoff(), 2000, Random(1).random)
    assert 96 <= min(delays[11:]) < max(delays[11:]) <= 144


def test_channels_that_fail_together_do_not_come_back_together() -> None:
    backoff = Backoff()
    assert len({first_delays(backoff, 1, Random(seed).random)[0] for seed in range(50)}) == 50


def test_options_are_in_milliseconds() -> None:
    options = [
        ("grpc.initial_reconnect_backoff_ms", 500),
        ("grpc.max_reconnect_backoff_ms", 5000),
        ("grpc.min_reconnect_backoff_ms", 2500),
        ("grpc.keepalive_time_ms", 7),
    ]
    assert Backoff.of_options(options) == Backoff(initial=0.5, maximum=5.0, connect_timeout=2.5)
    assert Backoff.of_options(()) == Backoff(1, 120, 20)


def test_a_maximum_below_the_initial_delay_wins() -> None:
    backoff = Backoff.of_options([("grpc.max_reconnect_backoff_ms", 300)])
    assert first_delays(backoff, 3) == pytest.approx([0.3, 0.3, 0.3])


@pytest.mark.parametrize("value", [0, -5, 99])
def test_nothing_is_shorter_than_a_tenth_of_a_second(value: int) -> None:
    assert Backoff.of_options([("grpc.initial_reconnect_backoff_ms", value)]).initial == 0.1


@pytest.mark.parametrize("value", ["500", 0.5, None])
def test_an_option_of_a_wrong_type_is_refused_by_its_name(value: object) -> None:
    with pytest.raises(ValueError, match=r"grpc\.max_reconnect_backoff_ms must be an int"):
        Backoff.of_options([("grpc.max_reconnect_backoff_ms", value)])
