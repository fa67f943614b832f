import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from clients.made_runs import made_report

from yais.clients.reporters import document
from yais.clients.siege.compare_cli import main, split
from yais.clients.stats.compare import Comparison, Estimate, Side, compare, errors, quantile
from yais.clients.stats.report import Report

P99_OF_EXPONENTIAL = -math.log(0.01)


def exponential(seed: int, count: int = 2000, mean: float = 0.010, rate: float = 1000.0) -> Report:
    return made_report(np.random.default_rng(seed).exponential(mean, count), rate)


def compared(a: Report, b: Report, metric: str, confidence: float = 0.95) -> Comparison:
    return compare(Side.of([a]), Side.of([b]), metric, confidence)


@pytest.mark.parametrize(("percentile", "true"), [(50, 10 * math.log(2)), (99, 10 * P99_OF_EXPONENTIAL)])
def test_the_interval_has_the_true_percentile_in_it_as_often_as_it_says(percentile: float, true: float) -> None:
    estimates = [quantile(Side.of([exponential(seed)]), percentile, 0.9) for seed in range(120)]
    covered = sum(each.low <= true <= each.high for each in estimates)
    # 90 % of 120, less three standard deviations.
    assert covered >= 98
    # Half of the risk on each side: 5 % of 120, and three standard deviations.
    assert sum(each.high < true for each in estimates) <= 13
    assert sum(each.low > true for each in estimates) <= 13
    assert covered < 120


def test_an_interval_needs_enough_requests_above_the_percentile() -> None:
    few, many = (quantile(Side.of([exponential(1, count)]), 99.0, 0.95) for count in (300, 3000))
    assert math.isinf(few.high)
    assert math.isfinite(many.high)
    assert few.low > 0


def test_an_interval_names_latencies_that_occurred() -> None:
    estimate = quantile(Side.of([made_report(np.repeat([0.001, 0.002, 0.003], [500, 480, 20]))]), 99.0, 0.95)
    assert estimate.value == pytest.approx(3.0, rel=1e-3)
    assert estimate.low == pytest.approx(3.0, rel=2e-3)
    assert estimate.high == pytest.approx(3.0, rel=1e-3)


def test_latencies_that_are_long_together_make_the_interval_wider() -> None:
    alone = np.random.default_rng(3).permuted(np.repeat([0.001, 0.030], [19_400, 600]))
    together = alone.copy().reshape(20, 1000)
    together[:] = 0.001
    together[[4, 15], :300] = 0.030
    even, uneven = (quantile(Side.of([made_report(run.ravel())]), 98.0, 0.95) for run in (alone, together))
    assert even.low == pytest.approx(30.0, rel=2e-3)
    assert uneven.low < 2


def test_runs_of_one_server_seldom_seem_to_differ() -> None:
    told = [
        metric
        for seed in range(60)
        for metric in ("p50", "p99")
        if compared(exponential(2 * seed), exponential(2 * seed + 1), metric).verdict != "no significant difference"
    ]
    assert len(told) <= 7


@pytest.mark.parametrize("metric", ["p50", "p90", "p99"])
def test_a_difference_that_is_there_is_told(metric: str) -> None:
    quick, slow = exponential(1, 5000), exponential(2, 5000, mean=0.020)
    worse, better = compared(quick, slow, metric), compared(slow, quick, metric)
    assert (worse.verdict, better.verdict) == ("worse", "better")
    assert worse.ratio.low < 2 < worse.ratio.high
    assert worse.difference.low < 10 * {"p50": math.log(2), "p90": math.log(10), "p99": math.log(100)}[metric]
    assert worse.difference.value == pytest.approx(-better.difference.value)
    assert worse.difference.low == worse.b.low - worse.a.high > 0


def rates(seed: int, rate: float) -> Report:
    """Thirty seconds with Poisson numbers of answers in each."""
    due = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, round(rate * 40)))
    due = due[due < 30]
    latency = np.full(due.size, 1e-4)
    report = made_report(latency, due.size / 30)
    counts = np.bincount(due.astype(int), minlength=30)
    return replace(
        report,
        intervals=tuple(
            replace(each, counts=replace(each.counts, completed=int(completed)))
            for each, completed in zip(report.intervals[:30], counts, strict=True)
        ),
    )


def test_rates_are_told_apart_by_how_much_the_seconds_vary() -> None:
    told = [compared(rates(seed, 200), rates(seed + 100, 200), "rate").verdict for seed in range(20)]
    assert told.count("no significant difference") >= 16
    slower = compared(rates(1, 200), rates(2, 160), "rate")
    assert slower.verdict == "worse"
    assert compared(rates(2, 160), rates(1, 200), "rate").verdict == "better"
    assert slower.difference.low < -40 < slower.difference.high < 0
    assert slower.ratio.low < 0.8 < slower.ratio.high
    assert slower.a.low < slower.a.value < slower.a.high


def test_a_resampling_is_the_same_each_time() -> None:
    assert compared(rates(1, 200), rates(2, 190), "rate") == compared(rates(1, 200), rates(2, 190), "rate")


def test_only_seconds_that_were_full_make_a_rate() -> None:
    comparison = compared(made_report(np.full(2500, 1e-4)), made_report(np.full(3900, 1e-4)), "rate")
    assert (comparison.a.value, comparison.b.value) == (1000, 1000)
    assert comparison.verdict == "no significant difference"


def test_one_second_has_no_rate_that_could_be_compared() -> None:
    comparison = compared(made_report(np.full(1500, 1e-4)), made_report(np.full(3900, 1e-4)), "rate")
    assert math.isnan(comparison.a.value)
    assert comparison.verdict == "no significant difference"


def test_errors_are_compared_as_shares_of_what_was_sent() -> None:
    few, many = (made_report(np.full(4000, 0.001), failed=failed) for failed in (4, 60))
    assert compared(few, many, "errors").verdict == "worse"
    assert compared(many, few, "errors").verdict == "better"
    assert compared(few, few, "errors").verdict == "no significant difference"
    estimate = errors(Side.of([many]), 0.95)
    assert estimate.low < estimate.value == 0.015 < estimate.high


@pytest.mark.parametrize("metric", ["p50", "errors", "rate"])
def test_an_empty_run_differs_from_none(metric: str) -> None:
    empty = made_report(np.zeros(0))
    assert compared(empty, exponential(1), metric).verdict == "no significant difference"
    assert compared(exponential(1), empty, metric).verdict == "no significant difference"


def test_the_runs_of_a_side_are_one() -> None:
    latencies = np.random.default_rng(1).exponential(0.01, 4000)
    halves = Side.of([made_report(latencies[:2000]), made_report(latencies[2000:])])
    whole = Side.of([made_report(latencies)])
    assert halves.latency == whole.latency
    assert quantile(halves, 99.0, 0.95).value == quantile(whole, 99.0, 0.95).value
    assert (halves.sent, len(halves.full)) == (4000, 4)


@pytest.mark.parametrize("metric", ["max", "mean", "p0", "p100", "goodput", ""])
def test_what_cannot_be_compared_is_refused(metric: str) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compared(exponential(1), exponential(2), metric)


def test_an_unbounded_estimate_tells_nothing() -> None:
    unbounded = Estimate(5.0, -math.inf, math.inf)
    value = Estimate(1.0, 1.0, 1.0)
    assert Comparison("p50", value, value, unbounded, value).verdict == "no significant difference"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    """Runs the command where the files q1 and q2 are of a quick server, s1 and s2 of a slow one."""
    for seed, name in enumerate(("q1", "q2", "s1", "s2")):
        document.write(exponential(seed, 5000, mean=0.01 if name < "r" else 0.02), tmp_path / f"{name}.json")
    document.write(replace(exponential(9), info=replace(exponential(9).info, schedule="sine")), tmp_path / "sine.json")
    (tmp_path / "broken.json").write_text("{")

    def invoke(arguments: str) -> Result:
        files = (str(tmp_path / word) if word.endswith(".json") else word for word in arguments.split())
        return CliRunner().invoke(main, list(files))

    return invoke


def test_two_reports_are_shown_side_by_side(run: Callable[..., Result]) -> None:
    result = run("q1.json s1.json --metric p50,errors")
    assert result.exit_code == 0
    titles, p50, failed, blank, legend = result.output.splitlines()
    assert titles.split() == ["A", "B", "difference", "ratio"]
    assert p50.startswith("p50     ")
    assert p50.endswith("worse")
    assert failed.split()[:5] == ["errors", "0.000%", "[0.000%", "to", "0.088%]"]
    assert failed.endswith("no significant difference")
    assert (blank, legend) == ("", "B against A; in brackets what is plausible with 0.95 confidence")


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        ("q1.json s1.json", 0),
        ("q1.json s1.json --fail-if-worse", 1),
        ("s1.json q1.json --fail-if-worse", 0),
        ("q1.json q2.json --fail-if-worse", 0),
        ("q1.json s1.json --fail-if-worse --metric rate", 0),
        ("q1.json q2.json --versus s1.json s2.json --fail-if-worse", 1),
        ("--fail-if-worse s1.json s2.json --versus q1.json", 0),
    ],
)
def test_the_exit_code_is_1_only_when_asked_for_and_worse(
    run: Callable[..., Result], arguments: str, exit_code: int
) -> None:
    result = run(arguments)
    assert (result.exit_code, result.exception is None or exit_code == 1) == (exit_code, True), result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("q1.json", "give two reports"),
        ("q1.json q2.json s1.json", "give two reports"),
        ("q1.json --versus q2.json --versus s1.json", "give two reports"),
        ("q1.json q2.json --versus", "on both sides"),
        ("--versus q1.json", "on both sides"),
        ("q1.json q1.json --versus s1.json", "given twice"),
        ("q1.json none.json", "none.json cannot be read: No such file or directory"),
        ("q1.json broken.json", "broken.json: no report: it is not a JSON object"),
        ("q1.json sine.json", "are of different schedules; --force compares them"),
        ("q1.json s1.json --metric p50,max", "--metric: 'max' cannot be compared"),
        ("q1.json s1.json --confidence 1", "--confidence"),
        ("q1.json --metrik p50", "give two reports"),
    ],
)
def test_bad_usage_is_told(run: Callable[..., Result], arguments: str, said: str) -> None:
    result = run(arguments)
    assert result.exit_code == 2
    assert said in result.output.replace("\n", " ")


def test_different_schedules_are_compared_by_force(run: Callable[..., Result]) -> None:
    assert run("q1.json sine.json --force").exit_code == 0


def test_versus_stands_between_the_sides() -> None:
    assert split(["a", "b"]) == (["a"], ["b"])
    assert split(["a", "b", "--versus", "c"]) == (["a", "b"], ["c"])


def test_help_ends_with_examples() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.output.rstrip().endswith("siege compare a1.json a2.json a3.json --versus b1.json b2.json b3.json")
