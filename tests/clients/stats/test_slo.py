import json
from contextlib import suppress
from fractions import Fraction

import click
import numpy as np
import pytest
from click.testing import CliRunner
from clients.made_runs import made_report
from hypothesis import given
from hypothesis import strategies as st

from yais.clients.siege.report_cli import OBJECTIVES
from yais.clients.stats.slo import (
    COMPARISONS,
    Measured,
    Objective,
    ObjectiveError,
    Proportion,
    assess,
    parse_objectives,
)

MS = 10**6


@pytest.mark.parametrize(
    ("text", "metric", "comparison", "bound", "within"),
    [
        ("p99<20ms", "p99", "<", 20 * MS, 0),
        ("p99.99 <= 1.5 s", "p99.99", "<=", 1500 * MS, 0),
        ("p5>3us", "p5", ">", 3000, 0),
        ("max<250µs", "max", "<", 250_000, 0),
        ("mean>=0.1ms", "mean", ">=", 100_000, 0),
        ("errors<0.1%", "errors", "<", Fraction(1, 1000), 0),
        ("dropped<=0%", "dropped", "<=", 0, 0),
        ("late < 100 %", "late", "<", 1, 0),
        ("rate>=2500/s", "rate", ">=", 2500, 0),
        ("goodput>1000.5/s@50ms", "goodput", ">", Fraction("1000.5"), 50 * MS),
        (" goodput > 1 /s @ 2 s ", "goodput", ">", 1, 2000 * MS),
    ],
)
def test_an_objective_is_a_metric_a_comparison_and_a_value_with_its_unit(
    text: str, metric: str, comparison: str, bound: Fraction, within: int
) -> None:
    assert parse_objectives(text) == (Objective("".join(text.split()), metric, comparison, Fraction(bound), within),)


def test_several_objectives_are_separated_by_commas() -> None:
    assert [str(objective) for objective in parse_objectives("p99 < 20ms,errors<0.1% , max<1s")] == [
        "p99<20ms",
        "errors<0.1%",
        "max<1s",
    ]


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        ("", 0, "a metric"),
        ("p99<20ms,", 9, "a metric"),
        ("q99<20ms", 0, "a metric"),
        ("p0<20ms", 0, "a metric"),
        ("p100<20ms", 0, "a metric"),
        ("p99.<20ms", 3, "<, <=, > or >="),
        ("P99<20ms", 0, "a metric"),
        ("p99=20ms", 3, "<, <=, > or >="),
        ("p99<ms", 4, "a number"),
        ("p99<-1ms", 4, "a number"),
        ("p99<20", 6, "us, µs, ms or s"),
        ("p99<20%", 6, "us, µs, ms or s"),
        ("p99 < 20 msec", 9, "us, µs, ms or s"),
        ("p99<0ms", 4, "more than 0"),
        ("errors<1", 8, "%"),
        ("errors<101%", 7, "at most 100 %"),
        ("rate>5s", 6, "/s"),
        ("rate>0/s", 5, "more than 0"),
        ("goodput>5/s", 11, "@ and a time, as in goodput>1000/s@50ms"),
        ("goodput>5/s@5%", 13, "us, µs, ms or s"),
        ("p99<20ms errors<1%", 9, "a comma or the end"),
        ("p99<20ms@5ms", 8, "a comma or the end"),
    ],
)
def test_what_is_no_objective_is_told_with_its_place_and_what_was_expected(text: str, at: int, expected: str) -> None:
    with pytest.raises(ObjectiveError) as raised:
        parse_objectives(text)
    assert raised.value.expected.startswith(expected)
    message, shown, caret = str(raised.value).split("\n")
    assert message == f"expected {raised.value.expected}"
    assert (shown, caret) == (f"  {text}", " " * (2 + at) + "^")


@given(st.text(alphabet="p9.<>=ms%/s@,goodputrate 0"))
def test_any_other_text_is_refused_at_a_place_within_it(text: str) -> None:
    with suppress(ObjectiveError):
        # What is accepted can be written down, and read again.
        parsed = parse_objectives(text)
        assert parse_objectives(",".join(map(str, parsed))) == parsed
        return
    with pytest.raises(ObjectiveError) as raised:
        parse_objectives(text)
    assert 0 <= raised.value.at <= len(text)


def test_a_bad_option_is_bad_usage() -> None:
    @click.command()
    @click.option("--slo", type=OBJECTIVES)
    def main(slo: tuple[Objective, ...] | None) -> None:
        click.echo(slo)

    runner = CliRunner()
    assert "text='p99<1s'" in runner.invoke(main, ["--slo", "p99<1s"]).output
    result = runner.invoke(main, ["--slo", "p99<1x"])
    assert result.exit_code == 2
    assert "'--slo': expected us, µs, ms or s\n  p99<1x\n       ^" in result.output


def kept(text: str, **run: int) -> bool:
    """Of a run of 1000 requests, a thousand a second, that took 1 to 1000 ms."""
    (assessment,) = assess(parse_objectives(text), made_report(np.arange(1, 1001) / 1000, **run))
    return assessment.kept


@pytest.mark.parametrize(
    ("met", "missed", "run"),
    [
        ("p50<501ms", "p50<499ms", {}),
        ("p50>499ms", "p50>501ms", {}),
        ("p99<992ms", "p99<989ms", {}),
        ("p99.9<=1s", "p99.9<997ms", {}),
        ("max<1002ms", "max<998ms", {}),
        ("mean<501ms", "mean<499ms", {}),
        ("errors<2.1%", "errors<2%", {"failed": 20}),
        ("errors<=2%", "errors<1.9%", {"failed": 20}),
        ("errors<=2.5%", "errors<2.4%", {"failed": 20, "dropped": 200}),
        ("dropped<=20%", "dropped<20%", {"failed": 20, "dropped": 200}),
        ("late<=40%", "late<39.9%", {"late_after": 600 * MS}),
        ("late<=20%", "late<19.9%", {"late_after": 600 * MS, "dropped": 200}),
        ("rate>500/s", "rate>501/s", {}),
        ("rate>=490/s", "rate>491/s", {"failed": 20}),
        ("goodput>249/s@500ms", "goodput>251/s@500ms", {}),
        ("goodput>200/s@2s", "goodput>=500.5/s@2s", {"failed": 20}),
    ],
)
def test_an_objective_is_kept_up_to_its_bound(met: str, missed: str, run: dict[str, int]) -> None:
    assert kept(met, **run)
    assert not kept(missed, **run)


@pytest.mark.parametrize("run", [{"failed": 11}, {"dropped": 11}])
def test_a_server_that_refuses_does_not_keep_a_percentile_by_being_quick_with_the_rest(run: dict[str, int]) -> None:
    assert kept("p98<2s", **run)
    assert not kept("p99<2s", **run)
    assert not kept("max<2s", **run)
    (assessment,) = assess(parse_objectives("p99<2s"), made_report(np.full(1000, 0.001), **run))
    assert str(assessment) == "objective p99<2s: MISSED, too many were not completed"


@pytest.mark.parametrize("text", ["p99<1s", "mean<1s", "errors<1%", "goodput>1/s@1s", "rate>1/s", "late<1%"])
def test_nothing_keeps_no_objective(text: str) -> None:
    (assessment,) = assess(parse_objectives(text), made_report(np.zeros(0)))
    assert str(assessment) == f"objective {text}: MISSED, nothing was measured"
    assert assessment.as_json()["measured"] is None


@given(
    st.lists(st.floats(0, 0.05), max_size=300),
    st.integers(0, 5),
    st.sampled_from(["p50", "p99", "p99.9", "max"]),
    st.sampled_from(["<", "<="]),
)
def test_a_percentile_is_kept_exactly_when_no_more_requests_are_over_than_may_be(
    latencies: list[float], failed: int, metric: str, comparison: str
) -> None:
    report = made_report(np.array([*latencies, *[0.0] * failed]), failed=failed)
    (objective,) = parse_objectives(f"{metric}{comparison}20ms")
    share = objective.share(Measured.of(report))
    assert share is not None
    (assessment,) = assess([objective], report)
    assert assessment.kept == (share.total > 0 and share.over <= share.allowed * share.total)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("p99<500ms", Proportion(501, 1000, Fraction(1, 100))),
        ("errors<1%", Proportion(20, 800, Fraction(1, 100))),
        ("dropped<1%", Proportion(200, 1000, Fraction(1, 100))),
        ("late<=1%", Proportion(180, 1000, Fraction(1, 100))),
        ("p99>500ms", None),
        ("mean<1s", None),
        ("goodput<5/s@1s", None),
    ],
)
def test_what_bounds_how_many_may_go_wrong_is_a_share(text: str, share: Proportion | None) -> None:
    (objective,) = parse_objectives(text)
    report = made_report(np.arange(1, 1001) / 1000, failed=20, dropped=200, late_after=600 * MS)
    found = objective.share(Measured.of(report))
    assert found == share


@pytest.mark.parametrize(
    ("text", "line", "document"),
    [
        ("p50<1s", "kept, 500.2 ms", {"unit": "ms", "bound": 1000.0, "measured": pytest.approx(500, rel=1e-3)}),
        ("errors<1%", "MISSED, 2.0000%", {"unit": "of 1", "bound": 0.01, "measured": 0.02}),
        ("rate>1/s", "kept, 490.2/s", {"unit": "1/s", "bound": 1.0, "measured": pytest.approx(980 / 1.999, rel=1e-3)}),
    ],
)
def test_an_assessment_has_a_line_and_a_document(text: str, line: str, document: dict[str, object]) -> None:
    (assessment,) = assess(parse_objectives(text), made_report(np.arange(1, 1001) / 1000, failed=20))
    assert str(assessment) == f"objective {text}: {line}"
    expected = {"objective": text, "kept": line.startswith("kept"), **document}
    assert json.loads(json.dumps(assessment.as_json())) == expected


def test_every_comparison_can_be_written() -> None:
    assert {parse_objectives(f"p99{sign}1s")[0].comparison for sign in COMPARISONS} == {"<", "<=", ">", ">="}
