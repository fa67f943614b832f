import math

import numpy as np
import pytest
from clients.chances import is_plausible
from clients.made_runs import SECOND, made_report
from clients.simulated_servers import Server, noisy, probe, queue, rate_of_md1

from yais.clients.siege.find_max import IdleDetector, Judge, Sample, SequentialTest
from yais.clients.siege.search import ProbeOutcome
from yais.clients.stats.recorder import Recorder
from yais.clients.stats.report import Report
from yais.clients.stats.slo import Measured, Proportion, parse_objectives

MS = 10**6


def shown(server: Server, rate: float, seed: int, longest: float = 8.0) -> ProbeOutcome | None:
    judge = Judge(parse_objectives("p99<10ms"), longest=longest)
    test = SequentialTest(judge)
    point = judge.conclude(rate, probe(server, rate, test, longest, np.random.default_rng(seed)), test)
    return point.outcome if point.certain else None


@pytest.mark.parametrize(("share", "wrong"), [(0.0105, "kept"), (0.0095, "missed")])
def test_what_is_shown_is_wrong_no_more_often_than_the_confidence_allows(share: float, wrong: ProbeOutcome) -> None:
    outcomes = [shown(noisy(0.001, 0.05, lambda rate: share), 400, seed) for seed in range(60)]
    assert is_plausible(outcomes.count(wrong), len(outcomes), 0.01)


@pytest.mark.parametrize(("of_the_true_rate", "wrong"), [(1.02, "kept"), (0.98, "missed")])
def test_what_is_shown_of_a_queue_is_wrong_no_more_often_either(of_the_true_rate: float, wrong: ProbeOutcome) -> None:
    rate = of_the_true_rate * rate_of_md1(0.001, 0.010, 0.99)
    outcomes = [shown(queue(0.001), rate, seed, longest=16.0) for seed in range(60)]
    assert is_plausible(outcomes.count(wrong), len(outcomes), 0.01)


@pytest.mark.parametrize(("share", "right"), [(0.03, "missed"), (0.001, "kept")])
def test_what_is_clear_is_shown_early(share: float, right: ProbeOutcome) -> None:
    judge = Judge(parse_objectives("p99<10ms"))
    test = SequentialTest(judge)
    server = noisy(0.001, 0.05, lambda rate: share)
    report = probe(server, 1000.0, test, 60.0, np.random.default_rng(1))
    point = judge.conclude(1000.0, report, test)
    assert (point.outcome, point.certain) == (right, True)
    assert report.elapsed < 9


def measured(latencies: list[float], failed: int = 0) -> Measured:
    return Measured.of(made_report(np.array(latencies + [0.0] * failed), failed=failed))


def looked(judge: Judge, parts: list[tuple[int, int]], in_flight: int = 0) -> ProbeOutcome | None:
    """A test that sees as many requests of 1 and of 30 ms in each of 16 parts."""
    test, seen = SequentialTest(judge), [0, 0]
    for quick, slow in parts:
        seen = [seen[0] + quick, seen[1] + slow]
        outcome = test.check(measured([0.001] * seen[0] + [0.030] * seen[1]), in_flight)
    return outcome


def test_what_is_in_flight_may_yet_be_over() -> None:
    judge = Judge(parse_objectives("p99<20ms"))
    assert looked(judge, [(100, 0)] * 16) == "kept"
    assert looked(judge, [(100, 0)] * 16, in_flight=10) is None


def test_requests_over_that_come_in_bursts_show_less() -> None:
    judge = Judge(parse_objectives("p99<20ms"))
    assert looked(judge, [(96, 4)] * 16) == "missed"
    assert looked(judge, [(100, 0)] * 15 + [(36, 64)]) is None


def test_requests_that_are_slow_together_show_less_even_when_none_is_over() -> None:
    judge = Judge(parse_objectives("p99<20ms"))

    def outcome(parts: list[int]) -> ProbeOutcome | None:
        test, quick, slow = SequentialTest(judge), 0, 0
        for of_200 in parts:
            quick, slow = quick + 200 - of_200, slow + of_200
            last = test.check(measured([0.001] * quick + [0.015] * slow), 0)
        return last

    assert outcome([10] * 16) == "kept"
    assert outcome([80, 80, *[0] * 14]) is None


def test_one_failure_may_already_show_that_an_objective_is_missed() -> None:
    judge = Judge(parse_objectives("p99<20ms, errors<=0%"))
    test = SequentialTest(judge)
    for _ in range(15):
        assert test.check(measured([0.001] * 50), 0) is None
    assert test.check(measured([0.001] * 50, failed=1), 0) == "missed"


def test_the_looks_are_each_twice_as_late_as_the_one_before() -> None:
    judge = Judge(parse_objectives("p99<20ms"), shortest=1.0, longest=60.0)
    test, checkpoints = SequentialTest(judge), list[float]()
    while test.next_checkpoint <= 60:
        checkpoints.append(test.next_checkpoint)
        test.check(measured([0.001]), 0)
    assert checkpoints[:17] == [*(number / 16 for number in range(1, 17)), 1.125]
    assert [each for each in (1, 2, 4, 8, 16, 32) if each in checkpoints] == [1, 2, 4, 8, 16, 32]
    assert len(checkpoints) < 64
    assert judge.checks == 7


@pytest.mark.parametrize(("shortest", "longest", "looks"), [(2, 2, 1), (2, 1, 1), (2, 4, 2), (2, 60, 6), (2, 64, 6)])
def test_the_risk_is_divided_by_the_looks(shortest: float, longest: float, looks: int) -> None:
    assert Judge((), shortest=shortest, longest=longest).checks == looks


def test_evidence_that_comes_in_bursts_is_worth_as_many_fewer_requests() -> None:
    share = parse_objectives("p99<1s")[0].quantile
    assert share is not None
    assert Sample(Proportion(0, 459, 1 - share)).shows_fewer(0.01)
    assert not Sample(Proportion(0, 459, 1 - share), design_effect=1.01).shows_fewer(0.01)
    assert not Sample(Proportion(0, 459, 1 - share), in_flight=1).shows_fewer(0.01)
    assert Sample(Proportion(200, 10_000, 1 - share)).shows_more(0.01)
    assert not Sample(Proportion(200, 10_000, 1 - share), design_effect=40).shows_more(0.01)


@pytest.mark.parametrize(
    ("slo", "report", "outcome", "certain"),
    [
        ("p99<20ms", made_report(np.full(2000, 0.01)), "kept", True),
        ("p99<20ms", made_report(np.full(400, 0.01)), "kept", False),
        ("p99<20ms", made_report(np.full(2000, 0.03)), "missed", True),
        ("p99<20ms, rate>900/s", made_report(np.full(2000, 0.01)), "kept", False),
        ("p99<20ms, rate>1100/s", made_report(np.full(2000, 0.01)), "missed", False),
        ("mean<20ms", made_report(np.full(2000, 0.01)), "kept", False),
        ("errors<1%", made_report(np.full(2000, 0.01), dropped=1), "missed", False),
        ("errors<1%, dropped<1%", made_report(np.full(2000, 0.01), dropped=1), "kept", True),
        ("p99<20ms", made_report(np.full(2000, 0.01), lag=0.002), "invalid", False),
        ("p99<20ms", made_report(np.arange(12_000) / 4000), "missed", True),
        ("p99<9s", made_report(np.arange(12_000) / 4000), "missed", False),
    ],
    ids=[
        "clearly kept",
        "kept by too few",
        "clearly missed",
        "a rate as measured",
        "a rate missed",
        "a mean as measured",
        "dropped",
        "dropped as often as may be",
        "siege late",
        "a queue that grows",
        "a queue that grows below the bound",
    ],
)
def test_a_probe_is_concluded_as_measured_and_certain_where_shown(
    slo: str, report: Report, outcome: ProbeOutcome, certain: bool
) -> None:
    judge = Judge(parse_objectives(slo))
    point = judge.conclude(1000.0, report, SequentialTest(judge))
    assert (point.outcome, point.certain) == (outcome, certain)


class FakeSender:
    """A sender whose requests all take 1 ms, at a thousand a second of a clock that goes by sleeping."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.counted_from = 5 * SECOND
        self.in_flight = 0
        self.now = self.counted_from
        self.stopped_at: float | None = None
        self.recorder.start(self.counted_from)

    async def sleep(self, seconds: float) -> None:
        for _ in range(round(seconds * 1000)):
            self.recorder.add(self.now, self.now, self.now + MS)
            self.now += MS

    def stop(self) -> None:
        self.stopped_at = (self.now - self.counted_from) / SECOND


async def test_a_watch_stops_its_sender_at_the_first_look_that_shows_something() -> None:
    sender = FakeSender()
    await SequentialTest(Judge(parse_objectives("p99<20ms"), shortest=0.4)).follow(
        sender, lambda: sender.now, sender.sleep
    )
    # 0.4 s are too few for 99 % of confidence in one of eight looks.
    assert sender.stopped_at == pytest.approx(0.8)


async def test_the_server_has_settled_when_a_lone_request_takes_hardly_longer_than_at_the_start() -> None:
    latencies = iter([MS] * 9 + [50 * MS] * 18 + [math.inf] * 4 + [MS] * 5)
    slept: list[float] = []

    async def ping() -> float:
        return next(latencies)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    idle = IdleDetector(ping, sleep=sleep)
    assert await idle.wait_until_idle()
    assert slept == []
    assert await idle.wait_until_idle()
    assert slept == [0.1, 0.1]


async def test_a_server_that_does_not_settle_is_not_waited_for_any_longer() -> None:
    latencies, slept = iter([MS] * 9 + [2 * MS] * 900), []

    async def ping() -> float:
        return next(latencies)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    idle = IdleDetector(ping, patience=5.0, sleep=sleep)
    assert await idle.wait_until_idle()
    assert not await idle.wait_until_idle()
    assert sum(slept) == pytest.approx(5.0)
