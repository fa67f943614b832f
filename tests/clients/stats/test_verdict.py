from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
import pytest
from clients.entries import MS, SECOND, Entry, plain, write
from clients.simulated_queue import Gaps, simulated

from yais.clients.reporters.text import verdict_lines
from yais.clients.stats.outcomes import DROPPED, OK, WRONG
from yais.clients.stats.recorder import Recorder
from yais.clients.stats.report import Loop, Report, RunInfo, summarise
from yais.clients.stats.verdict import Verdict, exit_code, grows, judge

SEEDS = range(10)


def report(entries: list[Entry], **info: object) -> Report:
    return summarise(write(entries).tally, replace(RunInfo(), **info))  # type: ignore[arg-type]


def steady(count: int = 1000, lag: int = 0) -> list[Entry]:
    return [plain(OK, number * 10 * MS, lag, MS) for number in range(count)]


def test_a_run_on_time_that_was_answered_is_valid() -> None:
    assert judge(report(steady())) == Verdict("valid")


def test_a_run_of_nothing_is_valid() -> None:
    assert judge(report([])) == Verdict("valid")


@pytest.mark.parametrize(("late", "limit"), [(9, None), (11, "generator")], ids=["0.9 %", "1.1 %"])
def test_more_than_one_late_send_in_a_hundred_is_the_generator_s_limit(late: int, limit: str | None) -> None:
    verdict = judge(report(steady(1000 - late) + steady(late, lag=5 * MS)))
    assert verdict.limit == limit
    if limit:
        assert "siege itself was late: it sent 1.1% of the requests more than 1ms after" in verdict.reasons[0]
        assert "p99 is 5.00 ms" in verdict.reasons[0]


def test_the_suggested_bound_is_above_that_which_was_missed_even_if_the_p99_is_not() -> None:
    # Of 160 requests two are more than 1 %, and the 99th percentile is the third slowest one.
    verdict = judge(report(steady(158) + steady(2, lag=5 * MS)))
    assert "the send lag's p99 is 0.00 ms" in verdict.reasons[0]
    assert verdict.reasons[-1].startswith("--max-lag 2ms accepts that much")


def test_the_bound_of_the_send_lag_can_be_moved() -> None:
    assert judge(report(steady(lag=5 * MS), max_lag=6.0)).result == "valid"
    assert judge(report(steady(lag=5 * MS), max_lag=4.0)).result == "invalid"


@pytest.mark.parametrize(("cpu", "is_told"), [((0.2, 0.94), False), ((0.2, 0.95), True)])
@pytest.mark.parametrize("loop", ["open", "closed"])
def test_that_siege_s_core_was_busy_is_told_and_no_limit_by_itself(
    cpu: tuple[float, ...], is_told: bool, loop: Loop
) -> None:
    verdict = judge(report(steady(), cpu=cpu, loop=loop))
    assert verdict.result == "valid"
    assert ["its event loop used 95% of a core" in remark for remark in verdict.remarks] == [True] * is_told


def test_what_was_dropped_is_the_cap_s_limit() -> None:
    verdict = judge(report([*steady(99), plain(DROPPED, SECOND)], max_outstanding=950))
    assert verdict.limit == "cap"
    assert verdict.reasons == (
        "siege dropped 1 of 100 requests (1.0%), because 950 requests were in flight (--max-outstanding)",
    )


def piling_up(seconds: int, rate: int, load: float) -> list[Entry]:
    """A server that takes one request at a time, and for each the same time."""
    gap = SECOND // rate
    return [plain(OK, number * gap, 0, round(number * gap * (load - 1)) + MS) for number in range(seconds * rate)]


def test_in_flight_that_grows_is_the_server_s_limit() -> None:
    verdict = judge(report(piling_up(10, 100, 1.5)))
    assert verdict.limit == "server"
    assert verdict.reasons == (
        "the server fell behind: in 9 s the requests in flight grew from 33 to 333, while 100.0 a second were offered",
    )


def test_the_seconds_after_the_schedule_do_not_hide_the_growth() -> None:
    run = report(piling_up(10, 100, 3.0))
    assert len(run.intervals) == 30
    assert judge(run).limit == "server"


def test_a_schedule_that_begins_with_a_pause_is_judged_by_its_own_seconds() -> None:
    recorder = Recorder()
    recorder.start(0)
    paused = [(status, due + 20 * SECOND, lag, service, 0) for status, due, lag, service, _ in piling_up(10, 100, 1.5)]
    assert judge(summarise(write(paused, recorder).tally)).limit == "server"


def test_of_several_limits_the_generator_s_counts_and_all_are_told() -> None:
    entries = [plain(OK, due, 2 * MS, service) for _, due, _, service, _ in piling_up(10, 100, 1.5)]
    verdict = judge(report([*entries, plain(DROPPED, SECOND)]))
    assert verdict.limit == "generator"
    assert [reason.partition(" ")[0] for reason in verdict.reasons] == ["siege", "--max-lag", "siege", "the"]


def test_a_closed_loop_has_no_load_to_miss() -> None:
    assert judge(report(steady(lag=5 * MS), loop="closed", cpu=(1.0,))).result == "valid"


@pytest.mark.parametrize("gaps", ["constant", "random"])
@pytest.mark.parametrize("servers", [1, 16])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_load_of_90_percent_does_not_grow(gaps: Gaps, servers: int, seed: int) -> None:
    for rate, seconds in ((10, 60), (100, 20), (1000, 8)):
        assert not grows(*simulated(seed, rate, 0.9, seconds, gaps, servers))


@pytest.mark.parametrize("gaps", ["constant", "random"])
@pytest.mark.parametrize("servers", [1, 16])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_load_of_110_percent_grows(gaps: Gaps, servers: int, seed: int) -> None:
    assert grows(*simulated(seed, 1000, 1.1, 20, gaps, servers))


def test_a_load_of_110_percent_grows_at_once_where_nothing_is_random() -> None:
    assert grows([number * 10 for number in range(5)], [110] * 5)


def test_four_seconds_are_too_few() -> None:
    assert not grows([0, 100, 200, 300], [200] * 4)


def test_growth_of_less_than_a_hundredth_is_not_material() -> None:
    assert not grows(list(range(0, 90, 9)), [1000] * 10)
    assert grows(list(range(0, 110, 11)), [1000] * 10)


@pytest.mark.parametrize("at", range(10))
def test_a_single_jump_is_no_growth(at: int) -> None:
    assert not grows([5] * at + [500] * (10 - at), [200] * 10)


def test_a_slow_server_that_settles_is_no_growth() -> None:
    seconds = np.arange(1, 31)
    assert not grows((500 * (1 - np.exp(-seconds / 6))).astype(int).tolist(), [100] * 30)


def test_a_rising_load_has_more_in_flight_without_growth() -> None:
    offered = list(range(100, 1100, 50))
    assert not grows([rate // 2 for rate in offered], offered)
    assert grows([rate // 2 + 20 * second**2 for second, rate in enumerate(offered)], offered)


def test_a_load_in_waves_is_no_growth_unless_the_server_falls_behind() -> None:
    seconds = np.arange(60)
    offered = (1000 + 500 * np.sin(2 * np.pi * seconds / 10)).astype(int)
    assert not grows((offered // 10).tolist(), offered.tolist())
    assert grows((offered // 10 + 100 * seconds).tolist(), offered.tolist())


class Row(NamedTuple):
    """A row of the table in docs/siege.md: what happened, how the verdict begins, and how siege exits."""

    happened: list[Entry]
    verdict: str
    code: int
    code_if_met: int
    code_if_missed: int


LATE = steady(lag=5 * MS)
REFUSED = [plain(grpc.StatusCode.UNAVAILABLE, number * 10 * MS) for number in range(100)]
TIMED_OUT = [plain(grpc.StatusCode.DEADLINE_EXCEEDED)]
TABLE = {
    "all answered": Row(steady(), "VALID: ", 0, 0, 5),
    "nothing due": Row([], "VALID: ", 0, 0, 5),
    "refused": Row([*steady(), *REFUSED], "FAILED: 100 of 1,100 requests failed (9.1%): 100 rejected", 1, 0, 5),
    "timed out": Row([*steady(), *TIMED_OUT], "FAILED: 1 of 1,001 requests failed (0.1%): 1 timed out", 1, 0, 5),
    "cancelled": Row(
        [*steady(), plain(grpc.StatusCode.CANCELLED)], "FAILED: 1 of 1,001 requests failed (0.1%): 1 cancelled", 1, 0, 5
    ),
    "errored": Row(
        [*steady(), plain(grpc.StatusCode.INTERNAL)], "FAILED: 1 of 1,001 requests failed (0.1%): 1 errored", 1, 0, 5
    ),
    "wrong": Row([*steady(), plain(WRONG)], "FAILED: 1 of 1,001 requests failed (0.1%): 1 wrong", 1, 0, 5),
    "siege late": Row(LATE, "INVALID: siege did not send on time", 3, 3, 3),
    "siege late, refused": Row([*LATE, *REFUSED], "INVALID: siege did not send on time", 3, 3, 3),
    "dropped": Row([*steady(), plain(DROPPED)], "INVALID: siege did not send all requests", 4, 4, 4),
    "server behind": Row(piling_up(10, 100, 1.5), "INVALID: the server did not keep up", 4, 4, 4),
}


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_each_outcome_has_its_verdict_and_its_exit_code(row: Row) -> None:
    run = report(row.happened)
    assert verdict_lines(judge(run))[0].startswith(row.verdict)
    codes = tuple(exit_code(judge(run, met), met) for met in (None, True, False))
    assert codes == (row.code, row.code_if_met, row.code_if_missed)


def test_the_table_of_the_documentation_has_these_rows() -> None:
    """Without what happened in words."""
    text = (Path(__file__).parents[3] / "docs" / "siege.md").read_text()
    section = text.partition("what happened | verdict |")[2].partition("\n\n")[0]
    documented = {tuple(cell.strip() for cell in line.split("|")[2:6]) for line in section.splitlines()[2:]}
    rows = {
        (row.verdict.partition(":")[0], str(row.code), str(row.code_if_met), str(row.code_if_missed))
        for row in TABLE.values()
    }
    assert documented == rows


@pytest.mark.parametrize("met", [None, False])
def test_what_failed_is_named_first_with_its_most_frequent_text_and_lost_connections(met: bool | None) -> None:
    entries = [*steady(200), *REFUSED, *TIMED_OUT]
    first, *others = verdict_lines(judge(report(entries, connections_lost=2), met))
    assert first == "FAILED: 101 of 301 requests failed (33.6%): 100 rejected, 1 timed out"
    assert others == [
        "  most often, 34 times: UNAVAILABLE: text 0",
        "  siege lost its connection to the server 2 times",
    ]


def test_of_an_invalid_run_what_failed_is_named_before_the_limit() -> None:
    _, failed, _, late, *_ = verdict_lines(judge(report([*LATE, *REFUSED])))
    assert failed.startswith("  100 of 1,100 requests failed")
    assert late.startswith("  siege itself was late")


def test_objectives_that_are_met_allow_what_failed_and_it_is_still_told() -> None:
    first, failed, _ = verdict_lines(judge(report([*steady(), *REFUSED]), objectives_met=True))
    assert first == "VALID: the load was the one asked for, and the objectives allow what failed"
    assert failed == "  100 of 1,100 requests failed (9.1%): 100 rejected"


def test_a_connection_that_was_lost_without_a_failure_changes_nothing() -> None:
    assert judge(report(steady(), connections_lost=1)) == Verdict("valid")


def test_failures_of_a_closed_loop_fail_it_as_well() -> None:
    assert judge(report(REFUSED, loop="closed")).result == "failed"


@pytest.mark.parametrize(
    ("info", "cause"),
    [
        ({"cpu": (0.97,)}, "siege itself was busy: its event loop used 97% of a core"),
        (
            {"cpu": (0.2,), "cores": 2, "busy_cores": 1.9},
            "siege used 0.20 cores, everything else 1.70, of 2: siege shares its cores with the server or others; run "
            "it on another machine",
        ),
        (
            {"cpu": (0.2,), "cores": 2, "busy_cores": 0.5},
            "siege used 0.20 cores, everything else 0.30, of 2: there was",
        ),
    ],
)
def test_a_late_siege_says_where_the_cores_went_and_what_to_do(info: dict[str, object], cause: str) -> None:
    verdict = judge(report(LATE, **info))
    late, why, accept = verdict.reasons
    assert late.startswith("siege itself was late")
    assert why.startswith(cause)
    assert accept.startswith("--max-lag 10ms accepts that much")
    assert verdict.remarks == ()
