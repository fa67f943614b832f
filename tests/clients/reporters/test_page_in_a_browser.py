"""The page in Chromium, without a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from browsers import WAIT_MS, launched
from clients.made_runs import made_report
from PIL import Image
from playwright.sync_api import Browser, Locator
from playwright.sync_api import Page as Tab

from yais.clients.reporters.html import NamedReport
from yais.clients.reporters.html.page import page
from yais.clients.reporters.html.plots import plots
from yais.clients.stats.histogram import milliseconds
from yais.clients.stats.report import Failure, Report

# How high the legend of one run is at most, which has the lines' colours, too.
LEGEND_PX = 40


@dataclass(slots=True)
class Seen:
    """A page that was opened, what it asked for, and what the browser complained of."""

    tab: Tab
    file: Path
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def plot(self, name: str) -> Locator:
        return self.tab.locator(f"#{name} .plot")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def runs() -> list[NamedReport]:
    """With a stall from second 3 to 4, and failures at the end."""
    latency = np.random.default_rng(7).gamma(3, 0.003, 8000)
    latency[3000:4000] += np.linspace(1, 0, 1000)
    return [NamedReport("run.json", made_report(latency, failed=400, dropped=20))]


@pytest.fixture(scope="module")
def seen(browser: Browser, runs: list[NamedReport], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with opened(browser, runs, tmp_path_factory.mktemp("page")) as seen:
        yield seen


@contextmanager
def opened(browser: Browser, runs: list[NamedReport], folder: Path) -> Iterator[Seen]:
    """Loaded and drawn, in a browser that is offline."""
    file = folder / "run.html"
    file.write_text(page(runs), "ascii")
    with browser.new_context(viewport={"width": 1200, "height": 900}, offline=True) as context:
        context.set_default_timeout(WAIT_MS)
        seen = Seen(context.new_page(), file)
        watch(seen)
        seen.tab.goto(file.as_uri())
        for plot in plots(runs):
            seen.plot(plot.name).locator("canvas").first.wait_for()
        seen.tab.wait_for_function("Bokeh.documents.length == 1 && Bokeh.documents[0].is_idle")
        yield seen


def watch(seen: Seen) -> None:
    seen.tab.on("request", lambda request: seen.requests.append(request.url))
    seen.tab.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.tab.on(
        "console", lambda said: seen.complaints.append(said.text) if said.type in ("error", "warning") else None
    )


def test_it_works_without_a_network_and_asks_for_nothing(seen: Seen) -> None:
    assert seen.requests == [seen.file.as_uri()]
    assert seen.complaints == []


@pytest.mark.parametrize("name", ["throughput", "latency", "spectrum", "lag", "in-flight"])
def test_every_line_is_drawn(seen: Seen, runs: list[NamedReport], name: str, tmp_path: Path) -> None:
    plot = next(plot for plot in plots(runs) if plot.name == name)
    seen.plot(name).screenshot(path=tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))[LEGEND_PX:].reshape(-1, 3)
    for line in plot.lines:
        assert count_of(pixels, line.colour) > 20, line.name


def count_of(pixels: np.ndarray, colour: str) -> int:
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return int((np.abs(pixels.astype(int) - wanted).max(axis=1) < 24).sum())


def test_the_tables_say_what_the_report_says(seen: Seen, runs: list[NamedReport]) -> None:
    [report] = [run.report for run in runs]
    rows = seen.tab.locator("table.counts tbody tr").all_inner_texts()
    shown = {cells[0]: cells[1] for cells in (row.split("\t") for row in rows)}
    assert shown["offered"] == f"{report.counts.offered:,}"
    assert shown["failed"] == "400"
    percentiles = dict(row.split("\t")[:2] for row in seen.tab.locator("table.percentiles tbody tr").all_inner_texts())
    assert {name: percentiles[name] for name in report.latency.ms} == {
        name: milliseconds(value) for name, value in report.latency.ms.items()
    }


def test_the_verdict_is_what_is_seen_first(seen: Seen) -> None:
    sentence = seen.tab.get_by_text("INVALID: siege did not send all requests")
    box = sentence.bounding_box()
    assert box is not None
    assert box["y"] < 300


def test_the_pointer_finds_the_values_of_a_second(seen: Seen, runs: list[NamedReport]) -> None:
    hover(seen, "latency", 0.5)
    rows = tooltip(seen)
    second = runs[0].report.intervals[int(rows.pop("second:"))]
    assert set(rows) == {"p50:", "p90:", "p99:", "max:"}
    for name, value in rows.items():
        assert float(value.replace(",", "")) == pytest.approx(second.latency.ms[name.rstrip(":")], abs=6e-4)


def test_the_pointer_finds_the_latency_at_a_percentile(seen: Seen, runs: list[NamedReport]) -> None:
    hover(seen, "spectrum", 0.4)
    rows = tooltip(seen)
    percentile = float(rows["percentile:"].removesuffix(" %"))
    histogram = runs[0].report.latency.opened()
    low, high = (histogram.value_at(percentile + off) / 1e6 for off in (-0.01, 0.01))
    assert low - 1e-3 <= float(rows["latency:"].replace(",", "")) <= high + 1e-3


def hover(seen: Seen, name: str, share: float) -> None:
    """Over the middle of a plot, at a share of its width."""
    plot = seen.plot(name)
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    x, y = box["x"] + share * box["width"], box["y"] + box["height"] / 2
    seen.tab.mouse.move(x - 5, y)
    seen.tab.mouse.move(x, y)


def tooltip(seen: Seen) -> dict[str, str]:
    labels, values = (seen.tab.locator(f".bk-tooltip-row-{part}:visible") for part in ("label", "value"))
    values.first.wait_for()
    return {
        label.strip(): value.strip()
        for label, value in zip(labels.all_inner_texts(), values.all_inner_texts(), strict=True)
    }


def test_what_is_dragged_over_fills_all_plots_of_that_axis(
    browser: Browser, runs: list[NamedReport], tmp_path: Path
) -> None:
    with opened(browser, runs, tmp_path) as seen:
        before = x_ranges(seen)
        plot = seen.plot("throughput")
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        assert box is not None
        across, middle = box["width"], box["y"] + box["height"] / 2
        seen.tab.mouse.move(box["x"] + 0.4 * across, middle)
        seen.tab.mouse.down()
        seen.tab.mouse.move(box["x"] + 0.5 * across, middle)
        seen.tab.mouse.move(box["x"] + 0.6 * across, middle)
        seen.tab.mouse.up()
        seen.tab.wait_for_function(f"Bokeh.documents[0].roots()[0].x_range.start > {before[0][0]}")
        after = x_ranges(seen)
        assert after[0] == after[1] == after[4]
        assert before[0][0] < after[0][0] < after[0][1] < before[0][1]
        assert after[2] == after[3] == before[2]


def x_ranges(seen: Seen) -> list[list[float]]:
    ranges: list[list[float]] = seen.tab.evaluate(
        "Bokeh.documents[0].roots().map(figure => [figure.x_range.start, figure.x_range.end])"
    )
    return ranges


HOSTILE = "</script><img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"


def test_hostile_names_and_texts_do_nothing(browser: Browser, runs: list[NamedReport], tmp_path: Path) -> None:
    hostile = [
        NamedReport(name, hostile_report(runs[0].report))
        for name in (HOSTILE, "$$\\frac{1}{2}$$", "@y0{safe} $name {{ 7 * 7 }} %s")
    ]
    with opened(browser, hostile, tmp_path) as seen:
        hover(seen, "latency", 0.5)
        assert f"{HOSTILE}: p50:" in tooltip(seen)
        assert seen.tab.title().startswith("siege: </script><img")
        assert seen.tab.locator("img").count() == 0
        assert seen.requests == [seen.file.as_uri()]
        assert seen.complaints == []


def hostile_report(report: Report) -> Report:
    info = replace(report.info, command=HOSTILE, target=HOSTILE, versions={HOSTILE: HOSTILE})
    return replace(report, info=info, failures=(Failure(HOSTILE, HOSTILE, 3),))


def test_the_policy_stops_a_script_that_is_not_the_page_s_own(
    browser: Browser, runs: list[NamedReport], tmp_path: Path
) -> None:
    with opened(browser, runs, tmp_path) as seen:
        text = seen.file.read_text()
        seen.file.write_text(text.replace("</main>", f"{HOSTILE}</main>"))
        seen.tab.reload()
        seen.tab.wait_for_function("Bokeh.documents.length == 1")
        assert seen.tab.title() == "siege: run.json"
        assert len(seen.complaints) >= 3
        assert all("Content Security Policy" in complaint for complaint in seen.complaints)


def test_a_dark_screen_gets_a_dark_page_and_paper_a_light_one(seen: Seen) -> None:
    try:
        seen.tab.emulate_media(color_scheme="dark")
        assert looks(seen) == ("rgb(230, 233, 236)", "invert(0.9) hue-rotate(180deg)")
        seen.tab.emulate_media(color_scheme="dark", media="print")
        assert looks(seen) == ("rgb(29, 33, 37)", "none")
    finally:
        seen.tab.emulate_media(color_scheme="light", media="screen")


def looks(seen: Seen) -> tuple[str, str]:
    """The colour of the text, and what is done to the plots."""
    colour = seen.tab.locator("h1").evaluate("element => getComputedStyle(element).color")
    return colour, seen.plot("lag").evaluate("element => getComputedStyle(element).filter")
