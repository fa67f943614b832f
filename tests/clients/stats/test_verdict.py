from dataclasses import replace

import grpc
import numpy as np
import pytest
from clients.entries import MS, SECOND, Entry, plain, write
from clients.simulated_queue import Gaps, simulated

from yais.clients.stats.outcomes import DROPPED, OK
from yais.clients.stats.recorder import Recorder
from yais.clients.stats.report import Loop, Report, RunInfo, summarise
from yais.clients.stats.verdict import Verdict, exit_code, grows, judge

SEEDS = range(10)


def report(entries: list[Entry], **info: object) -> Report:
    return summarise(write(entries).tally, replace(RunInfo(), **info))  # type: ignore[arg-type]


def steady(count: int = 1000, lag: int = 0) -> list[Entry]:
    return [plain(OK, number * 10 * MS, lag, MS) for number in range(count)]


def test_a_run_on_time_that_was_answered_is_valid() -> None:
    assert judge(report(steady())) == Verdict(True)


def test_a_run_of_nothing_is_valid() -> None:
    assert judge(report([])) == Verdict(True)


@pytest.mark.parametrize(("late", "limit"), [(9, None), (11, "generator")], ids=["0.9 %", "1.1 %"])
def test_more_than_one_late_send_in_a_hundred_is_the_generator_s_limit(late: int, limit: str | None) -> None:
    verdict = judge(report(steady(1000 - late) + steady(late, lag=5 * MS)))
    assert verdict.limit == limit
    if limit:
        assert "siege itself was late: 1.1% of the requests were sent more than 1 ms after" in verdict.reasons[0]
        assert "p99 is 5.00 ms" in verdict.reasons[0]


def test_the_bound_of_the_send_lag_can_be_moved() -> None:
    assert judge(report(steady(lag=5 * MS), max_lag=6.0)).valid
    assert not judge(report(steady(lag=5 * MS), max_lag=4.0)).valid


@pytest.mark.parametrize(("cpu", "is_told"), [((0.2, 0.94), False), ((0.2, 0.95), True)])
@pytest.mark.parametrize("loop", ["open", "closed"])
def test_that_siege_s_core_was_busy_is_told_and_no_limit_by_itself(
    cpu: tuple[float, ...], is_told: bool, loop: Loop
) -> None:
    verdict = judge(report(steady(), cpu=cpu, loop=loop))
    assert verdict.valid
    assert ["its event loop used 95% of a core" in remark for remark in verdict.remarks] == [True] * is_told


def test_what_was_dropped_is_the_cap_s_limit() -> None:
    verdict = judge(report([*steady(99), plain(DROPPED, SECOND)], max_outstanding=950))
    assert verdict.limit == "cap"
    assert verdict.reasons == (
        "1 of 100 requests (1.0%) were dropped while 950 requests were in flight (--max-outstanding)",
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
    assert len(verdict.reasons) == 3


def test_a_closed_loop_has_no_load_to_miss() -> None:
    assert judge(report(steady(lag=5 * MS), loop="closed", cpu=(1.0,))).valid


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


@pytest.mark.parametrize(
    ("entries", "verdict", "objective_met", "code"),
    [
        ([plain(OK)], None, None, 0),
        ([plain(OK)], Verdict(True), None, 0),
        ([plain(grpc.StatusCode.INTERNAL)], Verdict(True), None, 1),
        ([plain(DROPPED)], None, None, 1),
        ([plain(OK)], Verdict(False, "generator"), None, 3),
        ([plain(grpc.StatusCode.INTERNAL)], Verdict(False, "generator"), False, 3),
        ([plain(OK)], Verdict(False, "server"), True, 4),
        ([plain(DROPPED)], Verdict(False, "cap"), None, 4),
        ([plain(OK)], Verdict(True), False, 5),
        ([plain(grpc.StatusCode.INTERNAL)], Verdict(True), True, 0),
    ],
)
def test_the_exit_code_says_what_went_wrong(
    entries: list[Entry], verdict: Verdict | None, objective_met: bool | None, code: int
) -> None:
    assert exit_code(report(entries), verdict, objective_met) == code
