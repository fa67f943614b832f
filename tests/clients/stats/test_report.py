import grpc
import pytest
from clients.entries import MS, plain, write

from yais.clients.reporters.text import render
from yais.clients.stats.histogram import milliseconds
from yais.clients.stats.outcomes import DROPPED, OK, WRONG, Counts
from yais.clients.stats.recorder import Recorder
from yais.clients.stats.report import RunInfo, summarise
from yais.clients.stats.verdict import Verdict

CLOSED = RunInfo(loop="closed")


def test_an_empty_run_has_a_report() -> None:
    report = summarise(Recorder().tally, RunInfo(rate_asked=5.0))
    assert (report.counts, report.elapsed, report.rate_answered, report.latency.ms) == (Counts(), 0.0, 0.0, {})
    assert report.clean
    assert "offered 0 = sent 0 + dropped 0; sent 0 = completed 0 + failed 0" in render(report)


def test_rates_of_a_short_schedule_are_not_overstated() -> None:
    report = summarise(write([plain(OK, number * 100 * MS, 0, 5 * MS) for number in range(10)]).tally)
    assert report.rate_sent == report.rate_answered == pytest.approx(10.0)
    assert report.elapsed == report.scheduled == pytest.approx(1.0)


def test_a_tail_of_late_answers_lowers_the_rate_answered_only() -> None:
    report = summarise(write([plain(OK, number * 100 * MS, 0, 1100 * MS) for number in range(10)]).tally)
    assert report.rate_sent == pytest.approx(10.0)
    assert report.rate_answered == pytest.approx(5.0)
    assert (report.scheduled, report.elapsed) == (pytest.approx(1.0), pytest.approx(2.0))


def test_an_open_loop_reports_service_time_and_lag_beside_the_latency() -> None:
    tally = write([plain(OK, 0, 2_300_000, 10 * MS), plain(DROPPED, 5 * MS)]).tally
    text = render(summarise(tally, RunInfo(rate_asked=200.0)), Verdict("invalid", "cap", reasons=("one was dropped",)))
    assert text.splitlines() == [
        "offered 2 = sent 1 + dropped 1; sent 1 = completed 1 + failed 0",
        "rate 200.0/s asked, 100.0/s sent, 81.3/s answered over 12 ms",
        "",
        "latency from the due time to the answer",
        "p50    12.3 ms",
        "p90    12.3 ms",
        "p95    12.3 ms",
        "p99    12.3 ms",
        "p99.9  12.3 ms",
        "p99.99 12.3 ms",
        "max    12.3 ms",
        "",
        "               service      send lag",
        "  p50          10.0 ms       2.30 ms",
        "  p90          10.0 ms       2.30 ms",
        "  p95          10.0 ms       2.30 ms",
        "  p99          10.0 ms       2.30 ms",
        "  p99.9        10.0 ms       2.30 ms",
        "  p99.99       10.0 ms       2.30 ms",
        "  max          10.0 ms       2.30 ms",
        "",
        "INVALID: siege did not send all requests",
        "  one was dropped",
    ]


def test_a_closed_loop_reports_latency_and_failures_and_says_what_it_is() -> None:
    text = render(summarise(write([plain(OK, 0, 0, MS), plain(grpc.StatusCode.NOT_FOUND, 1, 0, MS)]).tally, CLOSED))
    assert text.splitlines()[:5] == [
        "sent 2 = completed 1 + failed 1 (errored 1)",
        "closed loop: rate 1,000.0/s answered over 1 ms, which the server's pace set",
        "failed 1 x NOT_FOUND: text 1",
        "",
        "latency from the send to the answer",
    ]
    assert "lag" not in text


def test_outcomes_are_named_where_they_occurred() -> None:
    codes = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED, WRONG)
    recorder = Recorder(late_after=MS)
    tally = write([plain(OK, 0, 0, 2 * MS), *(plain(code) for code in codes)], recorder).tally
    assert render(summarise(tally, CLOSED)).splitlines()[0] == (
        "sent 5 = completed 1 + failed 4 (rejected 1, timed out 1, cancelled 1, wrong 1); completed late 1"
    )


def test_a_run_without_an_answer_still_tells_the_send_lag() -> None:
    text = render(summarise(write([plain(grpc.StatusCode.INTERNAL, 0, 3 * MS)]).tally))
    assert "  p50                -       3.00 ms" in text.splitlines()


def test_a_valid_run_says_so() -> None:
    assert render(summarise(write([plain(OK)]).tally), Verdict("valid")).splitlines()[-1].startswith("VALID: ")


def test_a_mix_is_reported_by_model() -> None:
    tally = write([(OK, 0, 0, MS, 0), (OK, 0, 0, 9 * MS, 1), (DROPPED, 0, 0, 0, 1)]).tally
    report = summarise(tally, RunInfo(kinds=("mlp", "identity")))
    assert [(kind.name, kind.counts.offered) for kind in report.kinds] == [("mlp", 1), ("identity", 2)]
    assert "identity: sent 1 = completed 1 + failed 0; p50 9.00 ms; p99 9.00 ms" in render(report).splitlines()


def test_a_run_of_one_model_is_not_reported_twice() -> None:
    assert summarise(write([plain(OK)]).tally, RunInfo(kinds=("mlp",))).kinds == ()


@pytest.mark.parametrize(
    "counts",
    [Counts(offered=2, sent=1, completed=1), Counts(1, 1, completed=2), Counts(1, 1, completed=1, late=2)],
    ids=["a lost request", "an answer too many", "more late than completed"],
)
def test_counts_that_do_not_add_up_are_found(counts: Counts) -> None:
    with pytest.raises(ValueError, match=f"counts that do not add up: offered {counts.offered}, sent 1"):
        counts.check()


@pytest.mark.parametrize(("value", "text"), [(0.0421, "0.042"), (1.0, "1.00"), (12.34, "12.3"), (1234.5, "1234.5")])
def test_milliseconds_have_three_significant_digits(value: float, text: str) -> None:
    assert milliseconds(value) == text
