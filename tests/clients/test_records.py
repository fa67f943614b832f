import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yais.clients.records import HELD_BACK, OK, Records
from yais.clients.rendering import milliseconds, render
from yais.clients.report import Failure, summarise

MS = 1_000_000

statuses = st.sampled_from([OK, HELD_BACK, *(code for code in grpc.StatusCode if code is not grpc.StatusCode.OK)])
outcomes = st.tuples(statuses, st.integers(0, 10**12), st.integers(0, 10**10), st.integers(0, 10**10))


def write(entries: list[tuple[int | grpc.StatusCode, int, int, int]]) -> Records:
    records = Records()
    for status, due, lag, service in entries:
        if status == HELD_BACK:
            records.hold_back(due)
        elif isinstance(status, grpc.StatusCode):
            records.add_failure(due, due + lag, due + lag + service, status, f"text {due}")
        else:
            records.add(due, due + lag, due + lag + service)
    return records


@given(st.lists(outcomes))
def test_the_counts_always_add_up(entries: list[tuple[int | grpc.StatusCode, int, int, int]]) -> None:
    report = summarise(write(entries), 10.0)
    assert report.offered == len(entries) == report.sent + report.held_back
    assert report.sent == report.completed + report.failed
    assert report.failed == sum(report.failed_by_status.values()) == sum(kind.count for kind in report.failures)
    assert report.clean == all(status == OK for status, *_ in entries)


@given(st.lists(outcomes))
def test_a_latency_is_a_lag_and_a_service_time(entries: list[tuple[int | grpc.StatusCode, int, int, int]]) -> None:
    completed = [entry for entry in entries if entry[0] == OK]
    report = summarise(write(entries))
    assert report.latency.get("max") == max(((lag + service) / 1e6 for _, _, lag, service in completed), default=None)
    assert report.service.get("max") == max((service / 1e6 for *_, service in completed), default=None)


def test_an_empty_run_has_a_report() -> None:
    report = summarise(Records(), 5.0)
    assert (report.offered, report.elapsed, report.rate_answered, report.latency) == (0, 0.0, 0.0, {})
    assert report.clean
    assert "offered 0 = sent 0 + held back 0; sent 0 = completed 0 + failed 0" in render(report)


def test_percentiles_are_durations_that_were_measured() -> None:
    records = write([(OK, number * MS, 0, number * MS) for number in range(1, 1001)])
    assert summarise(records).latency == {
        "p50": 500.0,
        "p90": 900.0,
        "p95": 950.0,
        "p99": 990.0,
        "p99.9": 999.0,
        "max": 1000.0,
    }


@pytest.mark.parametrize("size", [1, 2, 10, 999])
def test_percentiles_agree_with_the_definition(size: int) -> None:
    durations = np.random.default_rng(size).integers(0, 10**9, size)
    report = summarise(write([(OK, 0, 0, int(duration)) for duration in durations]))
    for quantile, value in ((0.5, report.latency["p50"]), (0.99, report.latency["p99"])):
        assert (durations <= value * 1e6).mean() >= quantile
        assert (durations < value * 1e6).mean() < quantile


def test_failures_and_held_back_arrivals_have_no_latency() -> None:
    report = summarise(
        write([(OK, 0, MS, 2 * MS), (grpc.StatusCode.UNAVAILABLE, 0, 4 * MS, 9 * MS), (HELD_BACK, 0, 0, 0)])
    )
    assert report.latency["max"] == 3.0
    assert report.service["max"] == 2.0
    assert report.lag["max"] == 4.0


def test_rates_of_a_short_schedule_are_not_overstated() -> None:
    records = write([(OK, number * 100 * MS, 0, 5 * MS) for number in range(10)])
    report = summarise(records, 10.0)
    assert report.rate_sent == report.rate_answered == pytest.approx(10.0)
    assert report.elapsed == pytest.approx(1.0)


def test_a_tail_of_late_answers_lowers_the_rate_answered_only() -> None:
    records = write([(OK, number * 100 * MS, 0, 1100 * MS) for number in range(10)])
    report = summarise(records, 10.0)
    assert report.rate_sent == pytest.approx(10.0)
    assert report.rate_answered == pytest.approx(5.0)


def test_texts_are_counted_by_kind_and_bounded() -> None:
    records = Records()
    for number in range(100):
        records.add_failure(0, 0, 1, grpc.StatusCode.INTERNAL, f"request {number} broke")
        records.add_failure(0, 0, 1, grpc.StatusCode.UNAVAILABLE, "Server draining")
    report = summarise(records)
    assert report.failed_by_status == {"INTERNAL": 100, "UNAVAILABLE": 100}
    assert report.failures[0] == Failure("UNAVAILABLE", "Server draining", 100)
    assert len(report.failures) < 20
    assert sum(kind.count for kind in report.failures) == 200


def test_an_open_loop_reports_service_time_and_lag_beside_the_latency() -> None:
    text = render(summarise(write([(OK, 0, 2_300_000, 10 * MS), (HELD_BACK, 5 * MS, 0, 0)]), 200.0))
    assert text.splitlines() == [
        "offered 2 = sent 1 + held back 1; sent 1 = completed 1 + failed 0",
        "rate 200.0/s asked, 100.0/s sent, 81.3/s answered over 12 ms",
        "",
        "latency from the due time to the answer",
        "p50   12.3 ms",
        "p90   12.3 ms",
        "p95   12.3 ms",
        "p99   12.3 ms",
        "p99.9 12.3 ms",
        "max   12.3 ms",
        "",
        "              service      send lag",
        "  p50         10.0 ms       2.30 ms",
        "  p90         10.0 ms       2.30 ms",
        "  p95         10.0 ms       2.30 ms",
        "  p99         10.0 ms       2.30 ms",
        "  p99.9       10.0 ms       2.30 ms",
        "  max         10.0 ms       2.30 ms",
    ]


def test_a_closed_loop_reports_latency_and_failures_only() -> None:
    text = render(summarise(write([(OK, 0, 0, MS), (grpc.StatusCode.NOT_FOUND, 1, 0, MS)])))
    assert text.splitlines()[:5] == [
        "sent 2 = completed 1 + failed 1",
        "rate 1,000.0/s answered over 1 ms",
        "failed 1 x NOT_FOUND: text 1",
        "",
        "latency from the send to the answer",
    ]
    assert "lag" not in text


@pytest.mark.parametrize(("value", "text"), [(0.0421, "0.042"), (1.0, "1.00"), (12.34, "12.3"), (1234.5, "1234.5")])
def test_milliseconds_have_three_significant_digits(value: float, text: str) -> None:
    assert milliseconds(value) == text
