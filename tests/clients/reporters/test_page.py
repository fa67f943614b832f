import base64
import hashlib
import re
from dataclasses import asdict, fields, replace

import grpc
import numpy as np
import pytest
from clients.entries import plain, write
from clients.made_runs import made_report
from clients.pages import Page

from yais.clients.reporters.html import NamedReport
from yais.clients.reporters.html.page import page
from yais.clients.stats.histogram import milliseconds
from yais.clients.stats.outcomes import OK, Counts
from yais.clients.stats.recorder import Recorder
from yais.clients.stats.report import Failure, Report, RunInfo, summarise
from yais.clients.stats.slo import assess, parse_objectives

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)><!--<script>\"'&amp;\ud800é"


def run_of(*, failed: int = 7, dropped: int = 3, **parts: object) -> Report:
    latency = np.random.default_rng(3).gamma(2, 0.004, 4000)
    return replace(made_report(latency, failed=failed, dropped=dropped), **parts)


@pytest.fixture(scope="module")
def report() -> Report:
    return run_of()


@pytest.fixture(scope="module")
def read(report: Report) -> Page:
    return Page(page([NamedReport("", report)]))


@pytest.fixture(scope="module")
def two(report: Report) -> Page:
    return Page(page([NamedReport("before", report), NamedReport("after", run_of(failed=1000))]))


def test_the_table_of_counts_says_what_the_report_says(report: Report, read: Page) -> None:
    rows = read.rows("counts")
    shown = {name.replace(" ", "_"): int(cells[0].replace(",", "")) for name, cells in rows.items()}
    assert shown == {**asdict(report.counts), "failed": report.counts.failed}
    del shown["failed"]
    Counts(**shown).check()
    assert rows["dropped"][1] == f"{3 / 4000:.2%}"
    assert rows["failed"][1] == f"{7 / 3997:.2%}"


def test_a_share_is_that_of_what_it_is_a_part_of(report: Report) -> None:
    counts = Counts(1000, 800, 200, 500, rejected=10, timed_out=20, cancelled=30, errored=80, wrong=160, late=50)
    counts.check()
    rows = Page(page([NamedReport("", replace(report, counts=counts))])).rows("counts")
    assert {name: cells[1] for name, cells in rows.items()} == {
        "offered": "",
        "dropped": "20.00%",
        "sent": "80.00%",
        "completed": "62.50%",
        "late": "10.00%",
        "failed": "37.50%",
        "rejected": "3.33%",
        "timed out": "6.67%",
        "cancelled": "10.00%",
        "errored": "26.67%",
        "wrong": "53.33%",
    }


def test_the_table_of_percentiles_says_what_the_report_says(report: Report, read: Page) -> None:
    rows = read.rows("percentiles")
    for name, value in report.latency.ms.items():
        assert rows[name] == [milliseconds(value), milliseconds(report.service.ms[name]), milliseconds(0)]
    assert rows["mean"][0] == milliseconds(report.latency.mean)


def test_an_invalid_run_is_shown_with_whose_limit_it_was(read: Page) -> None:
    assert "INVALID: siege did not send all requests" in read.text
    assert "siege dropped 3 of 4,000 requests (0.1%)" in read.text
    assert [attributes["class"] for attributes in read.all("article")] == ["outcome invalid"]


def test_a_valid_run_is_shown_as_one() -> None:
    read = Page(page([NamedReport("", run_of(failed=0, dropped=0))]))
    assert "INVALID" not in read.text.replace("the run is INVALID.", "")
    assert [attributes["class"] for attributes in read.all("article")] == ["outcome valid"]


def test_a_run_with_failures_is_shown_as_failed() -> None:
    read = Page(page([NamedReport("", run_of(dropped=0))]))
    assert "FAILED: 7 of 4,000 requests failed (0.2%): 7 errored" in read.text
    assert [attributes["class"] for attributes in read.all("article")] == ["outcome failed"]


def test_objectives_stand_by_the_verdict(report: Report) -> None:
    read = Page(page([NamedReport("", report, assess(parse_objectives("p50<1s, errors<0.1%"), report))]))
    assert "objective p50<1s: kept" in read.text
    assert "objective errors<0.1%: MISSED, 0.1751%" in read.text
    assert [item["class"] for item in read.all("li")[-2:]] == ["kept", "missed"]


def test_several_runs_stand_beside_each_other(report: Report, two: Page) -> None:
    other = run_of(failed=1000)
    assert two.rows("counts")["failed"] == ["7", f"{7 / 3997:.2%}", "1,000", f"{1000 / 3997:.2%}"]
    assert two.rows("percentiles")["p99"][:2] == [milliseconds(each.latency.ms["p99"]) for each in (report, other)]
    assert two.tables["counts"][0] == ["", "before", "after"]
    assert "siege: before, after" in two.text


def test_in_a_closed_loop_nothing_lags() -> None:
    report = run_of(info=RunInfo(loop="closed"))
    read = Page(page([NamedReport("", report)]))
    assert read.rows("percentiles")["p99"] == [*[milliseconds(report.latency.ms["p99"])] * 2, "-"]
    assert read.text.count("There is nothing to draw.") == 1


def test_a_run_of_nothing_has_a_page_without_plots_and_scripts() -> None:
    read = Page(page([NamedReport("nothing", summarise(Recorder().tally))]))
    assert read.text.count("There is nothing to draw.") == 5
    assert read.scripts == []
    assert read.rows("percentiles")["p99"] == ["-", "-", "-"]
    assert read.rows("counts")["offered"] == ["0", ""]


def test_it_is_known_which_address_got_how_many(report: Report) -> None:
    info = replace(report.info, addresses={"10.0.0.1:50051": 2500, "10.0.0.2:50051": 1500})
    rows = Page(page([NamedReport("", replace(report, info=info))])).rows("info")
    assert rows["sent to each address"] == ["10.0.0.1:50051 2,500, 10.0.0.2:50051 1,500"]


def test_failures_and_a_mix_are_listed() -> None:
    entries = [(OK, 0, 0, 2_000_000, 0), (OK, 5, 0, 3_000_000, 1), (grpc.StatusCode.INTERNAL, 7, 0, 9_000_000, 1)]
    report = summarise(write(entries).tally, RunInfo(kinds=("mlp", "resnet")))
    told = replace(report, failures=(Failure("INTERNAL", "it broke", 1),))
    read = Page(page([NamedReport("", told)]))
    assert read.rows("kinds")["mlp"] == ["1", "1", "2.00", "2.00"]
    assert read.rows("kinds")["resnet"] == ["2", "1", "3.00", "3.00"]
    assert read.rows("failures")["INTERNAL"] == ["1", "it broke"]


def test_hostile_texts_are_shown_as_texts(report: Report, two: Page) -> None:
    texts = {field.name: HOSTILE for field in fields(RunInfo) if field.type is str}
    info = replace(report.info, **texts, versions={HOSTILE: HOSTILE}, kinds=(HOSTILE, HOSTILE))
    hostile = replace(report, info=info, failures=(Failure(HOSTILE, HOSTILE, 1),))
    text = page([NamedReport(HOSTILE, hostile), NamedReport("after", report)])
    read = Page(text)
    shown = [cell for row in [*read.tables["info"], *read.tables["failures"]] for cell in row if "alert(1)" in cell]
    assert len(shown) == 1 + len(texts) + 2 + 2
    # Half of a surrogate pair is no letter.
    assert all(HOSTILE.replace("\ud800", "\ufffd") in cell for cell in shown)
    assert {tag for tag, _ in read.elements} == {tag for tag, _ in two.elements}
    assert len(read.scripts) == len(two.scripts)
    assert text.isascii()


def test_nothing_is_asked_for_outside_the_page(read: Page) -> None:
    named = [value for _, attributes in read.elements for key in ("src", "href") if (value := attributes.get(key))]
    assert named
    ids = {f"#{attributes['id']}" for _, attributes in read.elements if "id" in attributes}
    assert set(named) <= ids


def test_the_policy_lets_the_page_s_own_scripts_run_and_nothing_else(read: Page) -> None:
    [policy] = [meta["content"] for meta in read.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in read.scripts]
    assert rules["script-src"].split() == [f"'sha256-{digest}'" for digest in digests]
    assert rules["default-src"] == "'none'"
    assert not re.search("unsafe-eval|http|\\*", str(policy))
    assert not {"connect-src", "font-src", "frame-src"} & set(rules)


def test_a_screen_reader_finds_its_way(two: Page) -> None:
    assert two.all("html") == [{"lang": "en"}]
    assert [tag for tag, _ in two.elements].count("h1") == 1
    assert len(two.all("caption")) == len(two.all("table")) > 3
    assert all("scope" in head for head in two.all("th"))
    ids = [attributes["id"] for _, attributes in two.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = [str(attributes["aria-labelledby"]) for _, attributes in two.elements if "aria-labelledby" in attributes]
    assert set(labels) <= set(ids)


def test_a_run_that_only_failed_has_no_latency() -> None:
    report = summarise(write([plain(grpc.StatusCode.INTERNAL, 0, 0, 1_000_000)]).tally)
    read = Page(page([NamedReport("", report)]))
    assert read.rows("percentiles")["p50"] == ["-", "-", milliseconds(0)]
    assert read.text.count("There is nothing to draw.") == 2
