from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from clients.made_runs import made_report
from clients.pages import Page

from yais.clients.reporters import document, html
from yais.clients.reporters.html import missing_libraries
from yais.clients.siege import report_cli


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, which is the working one, with two reports."""
    for name, scale in (("before", 0.01), ("after", 0.004)):
        document.write(made_report(np.random.default_rng(1).exponential(scale, 2000)), tmp_path / f"{name}.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plot(*arguments: str) -> Result:
    return CliRunner().invoke(report_cli.plot, arguments)


def test_a_report_becomes_a_page(saved: Path) -> None:
    result = plot("before.json")
    assert (result.exit_code, result.output) == (0, "")
    assert Page((saved / "plot.html").read_text()).rows("counts")["completed"] == ["2,000", "100.00%"]


def test_several_are_named_after_their_files_and_held_against_objectives(saved: Path) -> None:
    assert plot("before.json", "after.json", "--slo", "p50<4ms", "--output", "both.html").exit_code == 0
    read = Page((saved / "both.html").read_text())
    assert read.tables["counts"][0] == ["", "before.json", "after.json"]
    assert [item.get("class") for item in read.all("li")] == ["missed", "kept"]


def test_files_of_one_name_are_told_apart_by_their_folders(saved: Path) -> None:
    (saved / "old").mkdir()
    (saved / "old" / "after.json").write_text((saved / "before.json").read_text())
    result = plot("old/after.json", "after.json", "--output", "-")
    assert Page(result.output).tables["counts"][0] == ["", "old/after.json", "after.json"]


def test_runs_may_have_other_names(saved: Path) -> None:
    result = plot("before.json", "after.json", "--name", "ORT", "--name", "TensorRT", "--output", "-")
    assert "siege: ORT, TensorRT" in Page(result.output).text


def test_each_run_needs_a_name_then(saved: Path) -> None:
    result = plot("before.json", "after.json", "--name", "ORT")
    assert result.exit_code == 2
    assert "--name: there are 1 for 2 files" in result.output


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("offered 3", "notes.json: no report: it is not"),
        ('{"schema": "yais.siege/1"}', "notes.json: no report that can be read here: its schema is 'yais.siege/1'"),
    ],
    ids=["no JSON", "another schema"],
)
def test_what_is_no_report_is_refused_and_an_earlier_page_stays(saved: Path, text: str, reason: str) -> None:
    (saved / "notes.json").write_text(text)
    (saved / "plot.html").write_text("an earlier one")
    result = plot("before.json", "notes.json")
    assert result.exit_code == 1
    assert reason in result.output
    assert (saved / "plot.html").read_text() == "an earlier one"


def test_a_file_that_is_not_there_is_bad_usage(saved: Path) -> None:
    result = plot("never.json")
    assert result.exit_code == 2
    assert "never.json" in result.output


def test_a_page_that_cannot_be_written_is_an_error(saved: Path) -> None:
    result = plot("before.json", "--output", "no/folder/plot.html")
    assert result.exit_code == 1
    assert "no/folder/plot.html" in result.output


def test_without_bokeh_it_says_how_to_get_it(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "find_spec", lambda module: None if module == "bokeh" else object())
    result = plot("before.json")
    assert result.exit_code == 2
    assert "pip install 'yais[plot]'" in result.output
    assert not (saved / "plot.html").exists()


def test_with_it_nothing_is_missing() -> None:
    assert missing_libraries() is None
