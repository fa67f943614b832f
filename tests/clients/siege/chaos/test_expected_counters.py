import pytest

from yais.clients.siege.chaos.canary import CanaryReport
from yais.clients.siege.chaos.invariants import AttackRequest, CounterRange, ExpectedCounters

VALID = AttackRequest(b"")
WRONG = AttackRequest(b"", "a wrong request", is_valid=False)
UNREADABLE = AttackRequest(b"", "bytes", is_countable=False, is_valid=False)
OK, CANCELLED, INVALID_ARGUMENT, INTERNAL, UNAVAILABLE = 0, 1, 3, 13, 14


def noted(*ends: tuple[AttackRequest, int | None]) -> ExpectedCounters:
    counters = ExpectedCounters()
    for request, status in ends:
        counters.add_sent(request)
        counters.add_ended(request, status)
    return counters


def test_what_was_answered_is_counted_exactly() -> None:
    counters = noted((VALID, OK), (VALID, OK))
    assert counters.successes == counters.received(True) == CounterRange(2, 2)


def test_what_the_service_refused_is_no_success_and_one_failure_where_refusals_are_counted() -> None:
    counters = noted((VALID, OK), (WRONG, INVALID_ARGUMENT))
    assert counters.successes == CounterRange(1, 1)
    assert counters.received(counts_refusals=True) == CounterRange(2, 2)
    assert counters.received(counts_refusals=False) == CounterRange(1, 2)


@pytest.mark.parametrize("status", [None, CANCELLED, INTERNAL, UNAVAILABLE])
def test_what_may_or_may_not_have_arrived_widens_the_bounds(status: int | None) -> None:
    counters = noted((VALID, OK), (VALID, status))
    assert counters.successes == counters.received(True) == CounterRange(1, 2)


def test_what_is_in_flight_is_not_known_either() -> None:
    counters = ExpectedCounters()
    counters.add_sent(VALID)
    assert counters.received(True) == CounterRange(0, 1)
    counters.add_ended(VALID, OK)
    assert counters.received(True) == CounterRange(1, 1)


def test_what_names_no_model_is_never_counted() -> None:
    assert noted((UNREADABLE, INTERNAL), (UNREADABLE, None)).received(True) == CounterRange(0, 0)


@pytest.mark.parametrize("sent", [WRONG, UNREADABLE], ids=["wrong", "unreadable"])
def test_an_answer_to_a_wrong_request_is_unexpected(sent: AttackRequest) -> None:
    assert noted((sent, OK)).unexpected == {f"OK for {sent.name}": 1}
    assert not noted((sent, INVALID_ARGUMENT)).unexpected


def test_a_valid_request_that_is_refused_as_wrong_is_unexpected() -> None:
    assert noted((VALID, INVALID_ARGUMENT)).unexpected == {"status 3 for a valid request": 1}
    assert not noted((VALID, UNAVAILABLE)).unexpected


def test_the_canary_s_requests_count_as_valid_ones() -> None:
    counters = ExpectedCounters(answered=1)
    counters.add_canary(
        CanaryReport(
            sent=7,
            answered=3,
            wrong=0,
            failures={},
            p50=1.0,
            p99=2.0,
            worst=3.0,
            lag_p99=0.1,
            statuses={INVALID_ARGUMENT: 1, UNAVAILABLE: 3},
        )
    )
    assert (counters.answered, counters.refused, counters.lost, counters.in_flight) == (4, 1, 3, 0)
    assert counters.unexpected == {"status 3 for a request of the canary": 1}


def test_a_range_holds_what_lies_between_its_ends() -> None:
    expected = CounterRange(2, 1000)
    assert 2 in expected
    assert 1000 in expected
    assert 1 not in expected
    assert 1001 not in expected
    assert (str(expected), str(CounterRange(3, 3))) == ("2 to 1,000", "3")
