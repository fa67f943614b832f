import asyncio
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from clients.chances import is_plausible
from clients.made_runs import made_report
from clients.simulated_servers import Server, constant, noisy, poisson, probe, queue, rate_of_md1
from hypothesis import example, given
from hypothesis import strategies as st

from yais.clients.siege.find_max import Judge, SequentialTest, run_search
from yais.clients.siege.search import Curve, Point, ProbeOutcome, Search, SearchResult
from yais.clients.stats.report import Report, RunInfo
from yais.clients.stats.slo import parse_objectives

MS = 10**6


def rates(search: Search, answer: Callable[[float], ProbeOutcome]) -> Iterator[float]:
    while (rate := search.next_rate()) is not None:
        yield rate
        search.record(rate, answer(rate))


def keeps_up_to(limit: float) -> Callable[[float], ProbeOutcome]:
    return lambda rate: "kept" if rate <= limit else "missed"


def test_the_rate_is_doubled_until_it_is_missed_then_bisected_and_the_answer_is_tried_twice() -> None:
    search = Search(100, tolerance=0.1)
    assert list(rates(search, keeps_up_to(530))) == [100, 200, 400, 800, 600, 500, 550, 500]
    assert (search.result.end, search.result.rate, search.result.missed) == ("found", 500, 550)


def test_a_start_that_is_missed_is_halved_until_it_is_kept() -> None:
    search = Search(100, tolerance=0.3)
    assert list(rates(search, keeps_up_to(30))) == [100, 50, 25, 37.5, 31.25, 25]
    assert (search.result.rate, search.result.missed) == (25, 31.25)


@given(st.floats(0.2, 9e5), st.floats(1, 1000), st.floats(0.001, 0.5))
# Below a thousandth of the start, but above the last rate that is tried there, which is kept.
@example(limit=0.890625, start=898.0, tolerance=0.015625)
def test_whatever_the_server_keeps_is_found_within_the_tolerance(limit: float, start: float, tolerance: float) -> None:
    search = Search(start, tolerance, most_probes=60)
    tried = list(rates(search, keeps_up_to(limit)))
    result = search.result
    if limit < start / 1024:
        assert result.end == "none"
    else:
        assert result.rate is not None
        assert result.rate <= limit < result.rate * (1 + tolerance)
        assert tried.count(result.rate) == 2


def test_a_server_that_keeps_nothing_has_no_rate() -> None:
    search = Search(100)
    assert len(list(rates(search, lambda rate: "missed"))) == 11
    assert (search.result.end, search.result.rate) == ("none", None)


def test_a_server_that_keeps_everything_ends_the_search_at_the_ceiling() -> None:
    search = Search(100, ceiling=1000)
    assert list(rates(search, lambda rate: "kept")) == [100, 200, 400, 800, 1000, 1000]
    assert (search.result.end, search.result.rate) == ("ceiling", 1000)


def test_a_generator_that_cannot_keep_up_twice_ends_the_search_without_a_number() -> None:
    search = Search(100)
    assert list(rates(search, lambda rate: "invalid" if rate > 300 else "kept")) == [100, 200, 400, 400]
    assert (search.result.end, search.result.rate, search.result.kept) == ("generator", None, 200)


def test_a_probe_that_is_invalid_once_is_made_again() -> None:
    answers = iter(["kept", "invalid", "missed", "kept", "invalid", "kept"])
    search = Search(100, tolerance=0.5)
    assert list(rates(search, lambda rate: next(answers))) == [100, 200, 200, 150, 150, 150]  # type: ignore[arg-type]
    assert search.result.rate == 150


def test_a_rate_that_is_missed_the_second_time_is_searched_below() -> None:
    seen: list[float] = []

    def answer(rate: float) -> ProbeOutcome:
        seen.append(rate)
        return "missed" if rate > 300 or (rate == 300 and seen.count(rate) > 1) else "kept"

    search = Search(100, tolerance=0.4)
    assert list(rates(search, answer)) == [100, 200, 400, 300, 300, 250, 250]
    assert (search.result.rate, search.result.missed) == (250, 300)


def test_a_server_that_never_keeps_a_rate_twice_ends_as_unsteady() -> None:
    seen: list[float] = []

    def answer(rate: float) -> ProbeOutcome:
        seen.append(rate)
        return "kept" if rate < 1e5 and seen.count(rate) == 1 else "missed"

    search = Search(100, most_probes=30)
    assert len(list(rates(search, answer))) == 30
    assert (search.result.end, search.result.rate) == ("unsteady", None)


def test_a_search_that_is_abandoned_asks_for_no_other_rate() -> None:
    search = Search(100)
    search.record(100, "kept")
    search.abandon()
    assert search.next_rate() is None
    assert (search.result.end, search.result.kept, search.result.rate) == ("interrupted", 100, None)


def test_a_search_that_goes_on_has_no_finding() -> None:
    with pytest.raises(RuntimeError, match="not over"):
        _ = Search(100).result


@pytest.mark.parametrize("start", [0.0, -1.0, 2e6, math.nan])
def test_a_search_starts_at_a_rate_that_may_be_tried(start: float) -> None:
    with pytest.raises(ValueError, match="cannot start at"):
        Search(start)


async def always() -> bool:
    return True


def found(server: Server, slo: str, seed: int, longest: float, start: float = 100.0, arrivals: Any = poisson) -> Curve:
    random = np.random.default_rng(seed)
    judge = Judge(parse_objectives(slo), longest=longest)

    async def try_rate(rate: float, test: SequentialTest) -> Report:
        return probe(server, rate, test, longest, random, arrivals)

    return asyncio.run(run_search(Search(start), try_rate, judge, always))


def test_the_rate_of_a_queue_is_the_one_that_theory_gives() -> None:
    service, bound = 0.001, 0.010
    true = rate_of_md1(service, bound, 0.99)
    assert true == pytest.approx(773.5, abs=0.1)
    answers = [found(queue(service), "p99<10ms", seed, longest=16).result.rate for seed in range(8)]
    off = [abs((answer or 0) / true - 1) for answer in answers]
    assert is_plausible(sum(error > 0.05 for error in off), len(off), 0.05)
    assert np.mean(off) < 0.03


def test_the_rate_of_a_noisy_server_is_the_one_at_which_as_many_are_slow_as_may_be() -> None:
    server = noisy(0.001, 0.050, lambda rate: 0.01 * (rate / 500) ** 4)
    answers = [found(server, "p99<10ms", seed, longest=16).result.rate for seed in range(8)]
    off = [abs((answer or 0) / 500 - 1) for answer in answers]
    assert is_plausible(sum(error > 0.06 for error in off), len(off), 0.05)
    assert np.mean(off) < 0.03


def test_a_server_that_stalls_too_long_keeps_no_rate() -> None:
    curve = found(queue(0.001, stall=0.05), "p99<10ms", 0, longest=4, arrivals=constant)
    assert (curve.result.end, curve.exit_code) == ("none", 5)


def test_a_server_that_stalls_keeps_what_it_catches_up_with() -> None:
    curve = found(queue(0.001, stall=0.02), "p90<10ms", 0, longest=4, arrivals=constant)
    # The backlog of 20 ms shrinks by 1 - rate / 1000 seconds a second. What is due while more than 9 ms of it are left
    # takes more than 10 ms; those 11 ms must have gone after a tenth of each second.
    assert curve.result.rate == pytest.approx(1000 * (1 - 0.011 / 0.1), rel=0.015)


async def drive(search: Search, limit: float, settled: bool = True) -> tuple[Curve, list[Point]]:
    seen: list[Point] = []

    async def try_rate(rate: float, test: SequentialTest) -> Report:
        return made_report(np.full(2000, 0.001 if rate <= limit else 0.030), rate)

    async def wait_until_idle() -> bool:
        return settled

    curve = await run_search(
        search, try_rate, Judge(parse_objectives("p99<20ms, errors<1%")), wait_until_idle, seen.append
    )
    return curve, seen


async def test_the_curve_has_every_probe_as_a_table_and_as_a_document() -> None:
    curve, seen = await drive(Search(100, 0.5), 230)
    assert list(curve.points) == seen
    assert [point.rate for point in seen] == [100, 200, 400, 300, 200]
    assert curve.table().splitlines() == [
        "  asked  answered      p50      p99  errors  requests",
        "100.0/s   100.0/s  1.00 ms  1.00 ms   0.00%     2,000  kept",
        "200.0/s   200.0/s  1.00 ms  1.00 ms   0.00%     2,000  kept",
        "200.0/s   200.0/s  1.00 ms  1.00 ms   0.00%     2,000  kept",
        "300.0/s   298.8/s  30.0 ms  30.0 ms   0.00%     2,000  missed",
        "400.0/s   397.8/s  30.0 ms  30.0 ms   0.00%     2,000  missed",
        "",
        "highest rate that keeps p99<20ms, errors<1%: 200.0/s, shown with 0.99 confidence; 300.0/s does not",
    ]
    document = json.loads(json.dumps(curve.as_json()))
    assert (document["end"], document["rate"], document["missed"], document["shown"]) == ("found", 200, 300, 200)
    assert document["curve"][3]["outcome"] == "missed"
    assert curve.exit_code == 0


def test_the_rate_shown_is_one_that_no_probe_leaves_in_doubt() -> None:
    report = made_report(np.full(2000, 0.001))
    probes: list[tuple[float, ProbeOutcome, bool]] = [
        (100, "kept", True),
        (200, "kept", True),
        (400, "missed", True),
        (300, "kept", True),
        (300, "kept", False),
    ]
    points = tuple(Point.of(rate, report, outcome, certain) for rate, outcome, certain in probes)
    curve = Curve("p99<20ms", 0.99, points, SearchResult("found", 300, 400))
    assert curve.shown == 200
    assert curve.conclusion() == (
        "highest rate that keeps p99<20ms: 300.0/s, as measured (200.0/s shown with 0.99 confidence); 400.0/s does not"
    )
    assert "(no rate shown" in replace(curve, points=points[2:]).conclusion()


async def test_a_point_says_that_the_server_had_not_settled() -> None:
    curve, seen = await drive(Search(100, 0.5), 230, settled=False)
    assert str(seen[0]).endswith("requests 2,000  kept, server had not settled")
    assert not curve.points[0].settled


async def test_a_probe_that_was_cut_short_is_left_out() -> None:
    search = Search(100)

    async def try_rate(rate: float, test: SequentialTest) -> Report:
        if rate == 400:
            search.abandon()
        return made_report(np.full(2000, 0.001), rate)

    curve = await run_search(search, try_rate, Judge(parse_objectives("p99<20ms")), always)
    assert [point.rate for point in curve.points] == [100, 200]
    assert (curve.exit_code, curve.conclusion()) == (1, "interrupted: 200.0/s was kept, no rate missed")


async def test_a_generator_that_is_late_is_no_limit_of_the_server() -> None:
    async def try_rate(rate: float, test: SequentialTest) -> Report:
        return made_report(np.full(2000, 0.01), rate, lag=rate / 300 / 1000)

    curve = await run_search(Search(100), try_rate, Judge(parse_objectives("p99<20ms")), always)
    assert [point.outcome for point in curve.points] == ["kept", "kept", "invalid", "invalid"]
    assert (curve.exit_code, curve.as_json()["rate"]) == (3, None)
    assert curve.conclusion().startswith("INVALID: siege did not send a probe on time, twice; 200.0/s was kept")
    *_, late, advice = curve.table().splitlines()
    assert late.startswith("  siege itself was late: it sent 100.0% of the requests")
    assert advice.startswith("  --max-lag 2ms accepts that much")


def test_info_of_a_made_report_are_those_of_an_open_loop() -> None:
    assert made_report(np.ones(1)).info == RunInfo(schedule="constant", rate_asked=1000.0)
