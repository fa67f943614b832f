import pytest

from yais.clients.siege.chaos.ledger import Bounds, Ledger, Shot

RIGHT = Shot(b"")
WRONG = Shot(b"", "a wrong request", is_right=False)
UNREADABLE = Shot(b"", "bytes", is_countable=False, is_right=False)
OK, CANCELLED, INVALID_ARGUMENT, INTERNAL, UNAVAILABLE = 0, 1, 3, 13, 14


def noted(*ends: tuple[Shot, int | None]) -> Ledger:
    ledger = Ledger()
    for shot, status in ends:
        ledger.sent(shot)
        ledger.ended(shot, status)
    return ledger


def test_what_was_answered_is_counted_exactly() -> None:
    ledger = noted((RIGHT, OK), (RIGHT, OK))
    assert ledger.successes == ledger.received(True) == Bounds(2, 2)


def test_what_the_service_refused_is_no_success_and_one_failure_where_refusals_are_counted() -> None:
    ledger = noted((RIGHT, OK), (WRONG, INVALID_ARGUMENT))
    assert ledger.successes == Bounds(1, 1)
    assert ledger.received(counts_refusals=True) == Bounds(2, 2)
    assert ledger.received(counts_refusals=False) == Bounds(1, 2)


@pytest.mark.parametrize("status", [None, CANCELLED, INTERNAL, UNAVAILABLE])
def test_what_may_or_may_not_have_arrived_widens_the_bounds(status: int | None) -> None:
    ledger = noted((RIGHT, OK), (RIGHT, status))
    assert ledger.successes == ledger.received(True) == Bounds(1, 2)


def test_what_is_under_way_is_not_known_either() -> None:
    ledger = Ledger()
    ledger.sent(RIGHT)
    assert ledger.received(True) == Bounds(0, 1)
    ledger.ended(RIGHT, OK)
    assert ledger.received(True) == Bounds(1, 1)


def test_what_names_no_model_is_never_counted() -> None:
    assert noted((UNREADABLE, INTERNAL), (UNREADABLE, None)).received(True) == Bounds(0, 0)


@pytest.mark.parametrize("shot", [WRONG, UNREADABLE], ids=["wrong", "unreadable"])
def test_an_answer_to_a_wrong_request_is_a_surprise(shot: Shot) -> None:
    assert noted((shot, OK)).surprises == {f"OK for {shot.name}": 1}
    assert not noted((shot, INVALID_ARGUMENT)).surprises


def test_a_right_request_that_is_refused_as_wrong_is_a_surprise() -> None:
    assert noted((RIGHT, INVALID_ARGUMENT)).surprises == {"status 3 for a right request": 1}
    assert not noted((RIGHT, UNAVAILABLE)).surprises


def test_bounds_hold_what_lies_between_them() -> None:
    bounds = Bounds(2, 1000)
    assert 2 in bounds
    assert 1000 in bounds
    assert 1 not in bounds
    assert 1001 not in bounds
    assert (str(bounds), str(Bounds(3, 3))) == ("2 to 1,000", "3")
