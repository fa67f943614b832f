from dataclasses import replace

import grpc
import numpy as np
import pytest
from bokeh.models import Scatter
from clients.entries import MS, SECOND, plain, write
from clients.made_runs import made_report

from yais.clients.reporters.html import NamedReport
from yais.clients.reporters.html.bokeh import draw
from yais.clients.reporters.html.plots import Plot, PlotLine, plots, rests, values_at
from yais.clients.stats.outcomes import DROPPED, OK
from yais.clients.stats.report import Distribution, Report, RunInfo, summarise


def plots_of(*reports: Report) -> dict[str, Plot]:
    return {
        plot.name: plot
        for plot in plots([NamedReport(f"run {number}", report) for number, report in enumerate(reports)])
    }


def lines_of(plot: Plot) -> dict[str, PlotLine]:
    return {line.name: line for line in plot.lines}


def made(count: int = 3000, **parts: object) -> Report:
    return made_report(np.random.default_rng(5).gamma(2, 0.004, count), **parts)  # type: ignore[arg-type]


def test_throughput_is_what_happened_in_each_second() -> None:
    entries = [
        plain(OK, 0, MS, 20 * MS),
        plain(OK, 10 * MS, 0, 1200 * MS),
        plain(grpc.StatusCode.INTERNAL, 20 * MS, 0, MS),
        plain(DROPPED, 1100 * MS),
        plain(OK, 1600 * MS, 0, 100 * MS),
    ]
    lines = lines_of(plots_of(summarise(write(entries).tally))["throughput"])
    assert {name: line.values.tolist() for name, line in lines.items()} == {
        "asked": [3, 2],
        "sent": [3, 1],
        "answered": [1, 2],
        "failed": [1, 0],
        "dropped": [0, 1],
    }


def test_a_last_second_that_hardly_began_is_no_rate() -> None:
    whole = [plain(OK, number * 100 * MS, 0, MS) for number in range(20)]
    straggler = plain(OK, 1900 * MS, 0, 300 * MS)
    report = summarise(write([*whole, straggler]).tally)
    assert len(report.intervals) == 3
    shown = plots_of(report)
    assert lines_of(shown["throughput"])["answered"].values.tolist()[:2] == [10, 10]
    assert np.isnan(lines_of(shown["throughput"])["answered"].values[2])
    assert lines_of(shown["latency"])["max"].values[2] == pytest.approx(300, rel=1e-3)


def test_dropped_has_a_line_only_where_something_was() -> None:
    assert "dropped" not in lines_of(plots_of(made())["throughput"])
    assert "dropped" in lines_of(plots_of(made(dropped=1))["throughput"])


def test_latency_over_time_is_that_of_each_second() -> None:
    report = made()
    lines = lines_of(plots_of(report)["latency"])
    for name in ("p50", "p90", "p99", "max"):
        assert lines[name].values.tolist() == [second.latency.ms[name] for second in report.intervals]


def test_a_second_in_which_nothing_completed_has_no_latency() -> None:
    report = summarise(write([plain(OK, 0, 0, MS), plain(OK, 2 * SECOND, 0, MS)]).tally)
    values = lines_of(plots_of(report)["latency"])["p50"].values
    assert np.isnan(values).tolist() == [False, True, False]


def test_in_flight_is_that_at_the_end_of_each_second() -> None:
    report = summarise(write([plain(OK, 0, 0, 1500 * MS), plain(OK, 10 * MS, 0, 2500 * MS)]).tally)
    assert lines_of(plots_of(report)["in-flight"])["in flight"].values.tolist() == [2, 1, 0]


def test_the_spectrum_has_the_report_s_percentiles() -> None:
    report = made(20_000)
    x = np.array([2, 10, 20, 100, 1000, 10_000])
    plot = plots_of(report)["spectrum"]
    line = lines_of(plot)["latency"].values
    for at, name in zip(x, ("p50", "p90", "p95", "p99", "p99.9", "p99.99"), strict=True):
        nearest = np.abs(np.log(plot.x / at)).argmin()
        low, high = line[max(nearest - 1, 0)], line[nearest + 1]
        assert low <= report.latency.ms[name] <= high
    assert line[0] == report.latency.opened().values_at([0])[0] / 1e6
    assert line[-1] == report.latency.ms["max"]
    assert (np.diff(line) >= 0).all()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 1000, 4913, 1_000_003])
def test_the_spectrum_reaches_the_slowest_however_many_there_are(count: int) -> None:
    x = rests(count)
    counts = np.zeros(4096, np.int64)
    counts[[5, 2000]] = count - 1, 1
    distribution = Distribution.of(type(made(1).latency.opened())(counts))
    values = values_at(distribution, x)
    assert values[-1] == 2000 / 1e6
    assert count == 1 or values[0] == 5 / 1e6
    assert np.allclose(np.diff(np.log(x)), np.log(x[1]))


def test_of_a_shorter_run_nothing_is_drawn_past_its_end() -> None:
    long, short = made(4000), made(1000)
    shown = plots_of(long, short)
    spectrum = shown["spectrum"]
    values = lines_of(spectrum)["run 1: latency"].values
    assert np.isnan(values[spectrum.x > 4 * 1000 * 1.02]).all()
    assert not np.isnan(values[spectrum.x < 4 * 1000]).any()
    assert np.isnan(lines_of(shown["in-flight"])["run 1: in flight"].values).sum() == 3


def test_the_bound_of_the_send_lag_is_drawn_beside_it() -> None:
    report = made()
    bounded = replace(report, info=replace(report.info, max_lag=2.5))
    assert set(lines_of(plots_of(bounded)["lag"])["bound"].values) == {2.5}


def test_a_closed_loop_asks_for_no_rate_and_has_no_lag() -> None:
    shown = plots_of(replace(made(), info=RunInfo(loop="closed")))
    assert "asked" not in lines_of(shown["throughput"])
    assert shown["lag"].lines == ()


def test_one_run_shows_everything_in_colours_of_its_own() -> None:
    for plot in plots_of(made(dropped=1)).values():
        assert all(line.shown for line in plot.lines)
        assert len({line.colour for line in plot.lines}) == len(plot.lines)


def test_of_several_runs_each_has_a_colour_and_the_rest_waits_in_the_legend() -> None:
    for plot in plots_of(made(), made()).values():
        for run in (0, 1):
            assert len({line.colour for line in plot.lines if line.run == run}) == 1
            lines = [line for line in plot.lines if line.run == run]
            assert len({line.dash for line in lines}) == len(lines)
        assert len({line.colour for line in plot.lines}) == 2
    assert [line.name for line in plot.lines] == ["run 0: in flight", "run 1: in flight"]
    shown = [line.name for line in plots_of(made(), made())["latency"].lines if line.shown]
    assert shown == ["run 0: p50", "run 0: p99", "run 1: p50", "run 1: p99"]


def test_a_lone_second_is_a_dot() -> None:
    report = summarise(write([plain(OK, 0, 0, MS), plain(OK, 2 * SECOND, 0, MS)]).tally)
    shown = plots([NamedReport("", report)])
    dots = {
        plot.name: sum(isinstance(renderer.glyph, Scatter) for renderer in drawn.renderers)
        for plot, drawn in zip(shown, draw(shown), strict=True)
    }
    assert dots["latency"] == 4
    assert dots["in-flight"] == dots["spectrum"] == 0


def test_plots_of_the_same_x_are_zoomed_together() -> None:
    drawn = dict(zip((shown := plots_of(made())), draw(list(shown.values())), strict=True))
    assert drawn["throughput"].x_range is drawn["latency"].x_range is drawn["in-flight"].x_range
    assert drawn["spectrum"].x_range is drawn["lag"].x_range is not drawn["latency"].x_range
    assert (drawn["throughput"].x_range.start, drawn["throughput"].x_range.end) == (
        0,
        3 - 1 + (len(made().intervals) > 3),
    )


def test_durations_of_less_than_a_microsecond_are_drawn_at_one() -> None:
    [_, _, _, lag, _] = draw(plots([NamedReport("", made())]))
    source = lag.renderers[0].data_source
    assert set(source.data["y0"]) == {1e-3}
