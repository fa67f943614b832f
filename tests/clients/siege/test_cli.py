"""What the command line of siege adds to its parts."""

import json
import re
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner, Result
from clients.fake_server import FakeModel, FakeServer, echo

from yais.clients.reporters import document
from yais.clients.siege import cli
from yais.proto import grpc_service_pb2 as pb

# Whatever the machine is doing besides.
QUICK = "--max-lag 60000"


@pytest.fixture
def siege(fake: FakeServer) -> Any:
    """Runs siege against the fake server."""

    def run(arguments: str, *more: str) -> Result:
        address = ["--host", "127.0.0.1", "--port", str(fake.port)]
        return CliRunner().invoke(cli.main, [*arguments.split(), *more, *QUICK.split(), *address])

    return run


def saved(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_report_is_written_in_the_format_of_each_file(siege: Any, tmp_path: Path) -> None:
    files = {suffix: tmp_path / f"run.{suffix}" for suffix in ("json", "csv", "hgrm", "hlog", "html")}
    given = [argument for file in files.values() for argument in ("--report", str(file))]
    assert siege("--rate 500 --count 50", *given).exit_code == 0
    report = document.read(files["json"])
    assert (report.counts.completed, report.info.rate_asked, report.info.schedule) == (50, 500, "constant, 500/s")
    assert files["csv"].read_text().startswith("second,")
    assert "#[Mean" in files["hgrm"].read_text()
    assert "HISTFAAA" in files["hlog"].read_text()
    assert files["html"].read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("form", ["text", "json", "csv", "hgrm", "hlog", "html"])
def test_a_saved_report_can_be_printed_again(siege: Any, tmp_path: Path, form: str) -> None:
    path = tmp_path / "run.json"
    said = siege("--rate 500 --count 50", "--report", str(path))
    again = CliRunner().invoke(cli.main, ["report", str(path), "--format", form])
    assert again.exit_code == 0
    if form == "text":
        assert again.stdout.strip() in said.stdout
    else:
        assert again.stdout


@pytest.mark.parametrize("content", ["", "{}", '{"schema": "yais.siege/1"}'])
def test_what_is_no_report_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    result = CliRunner().invoke(cli.main, ["report", str(path)])
    assert result.exit_code == 1
    assert f"Error: {path}: no report" in result.stderr


def test_two_reports_can_be_compared(siege: Any, tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{name}.json") for name in "ab"]
    for path in paths:
        assert siege("--rate 500 --count 50", "--report", path).exit_code == 0
    result = CliRunner().invoke(cli.main, ["compare", *paths])
    assert result.exit_code == 0, result.output
    assert re.search(r"^p50 ", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--report", "run.txt"), "'run.txt' does not end in one of .json, .csv, .hgrm, .hlog, .html"),
        (("--report", "/no/such/folder/run.json"), "'--report': cannot write '/no/such/folder/run.json': No such file"),
        (("--report", "/"), "'/' does not end in one of .json"),
        (("--log", "/"), "'--log': cannot write '/': Is a directory"),
        (("--write-golden", "/dev/null/x.npz"), "'--write-golden': cannot write '/dev/null/x.npz': Not a directory"),
        (("--slo", "p99<fast"), "p99<fast"),
        (("--concurrency", "4"), "--concurrency is a closed loop, which has neither --rate nor --schedule"),
    ],
)
def test_bad_usage_is_told_before_anything_is_sent(
    siege: Any, fake: FakeServer, arguments: tuple[str, ...], text: str
) -> None:
    result = siege("--rate 500 --count 5", *arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert fake.requests == []


@pytest.mark.parametrize("option", ["--report", "--log", "--write-golden"])
def test_a_run_that_does_not_begin_leaves_its_files_as_they_were(
    siege: Any, fake: FakeServer, tmp_path: Path, option: str
) -> None:
    old = tmp_path / "old.json"
    old.write_text("old")
    assert siege("--rate 500 --count 5 --model unknown", option, str(old)).exit_code == 1
    assert siege("--rate 500 --count 5 --model unknown", option, str(tmp_path / "new.json")).exit_code == 1
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize(("slo", "code"), [("p99<60s", 1), ("p99<1us", 5)])
def test_what_cannot_be_written_in_the_end_costs_nothing_else(siege: Any, tmp_path: Path, slo: str, code: int) -> None:
    full, report = tmp_path / "full.json", tmp_path / "run.json"
    full.symlink_to("/dev/full")
    files = ("--report", str(full), "--report", str(report), "--log", "/dev/full")
    result = siege("--rate 300 --count 300", "--slo", slo, *files)
    assert result.exit_code == code
    assert "sent 300 = completed 300 + failed 0" in result.stdout
    assert [line for line in result.stderr.splitlines() if line.startswith("Error")] == [
        "Error: --log: cannot write '/dev/full': No space left on device",
        f"Error: --report: cannot write '{full}': No space left on device",
    ]
    assert document.read(report).counts.completed == 300


def test_a_curve_that_cannot_be_written_is_printed(siege: Any, tmp_path: Path) -> None:
    full = tmp_path / "full.json"
    full.symlink_to("/dev/full")
    result = siege("--find-max --rate 100 --duration 0.05 --slo p99<0.001us", "--report", str(full))
    assert result.exit_code == 5
    assert "no rate keeps" in result.stdout
    assert f"Error: --report: cannot write '{full}': No space left on device" in result.stderr


@pytest.mark.parametrize(("slo", "code"), [("p99<60s, errors<1%", 0), ("p99<1us", 5)])
def test_objectives_decide_the_exit_code(siege: Any, tmp_path: Path, slo: str, code: int) -> None:
    path, first = tmp_path / "run.json", slo.partition(",")[0]
    result = siege("--rate 500 --count 50", "--slo", slo, "--report", str(path))
    assert result.exit_code == code
    assert first in result.stdout
    objective = saved(path)["objectives"][0]
    assert (objective["objective"], objective["kept"]) == (first, code == 0)


def test_every_request_is_logged_while_the_run_goes_on(siege: Any, tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    assert siege("--rate 500 --count 20", "--log", str(path)).exit_code == 0
    header, *rows = path.read_text().splitlines()
    assert header == "due_ns,sent_ns,done_ns,status,kind"
    assert sorted(int(row.split(",")[0]) for row in rows) == [k * 2_000_000 for k in range(20)]


def test_a_log_is_a_schedule_for_the_next_run(siege: Any, tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    assert siege("--rate 500 --count 20 --schedule poisson", "--log", str(path)).exit_code == 0
    again = tmp_path / "again.csv"
    assert siege("", "--schedule", f"replay:{path}", "--log", str(again)).exit_code == 0
    due = [[int(row.split(",")[0]) for row in file.read_text().splitlines()[1:]] for file in (path, again)]
    gaps = [np.diff(sorted(times)).tolist() for times in due]
    assert gaps[0] == gaps[1]


def test_a_closed_loop_is_called_one(siege: Any, fake: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    result = siege("--concurrency 3 --count 20", "--report", str(path))
    assert result.exit_code == 0, result.output
    assert len(fake.requests) == 20
    info = saved(path)["info"]
    assert (info["loop"], info["schedule"], info["rate_asked"]) == ("closed", "closed loop, 3 in flight", None)


def test_a_warm_up_is_sent_but_not_counted(siege: Any, fake: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    assert siege("--rate 200 --warmup 0.25 --count 10", "--report", str(path)).exit_code == 0
    assert len(fake.requests) == 60
    assert saved(path)["counts"]["offered"] == 10


def test_models_of_a_mix_are_told_apart(siege: Any, fake: FakeServer, tmp_path: Path) -> None:
    fake.models["other"] = FakeModel()
    path = tmp_path / "run.json"
    assert siege("--rate 1000 --count 60 --mix identity=3,other=1", "--report", str(path)).exit_code == 0
    kinds = {kind["name"]: kind["counts"]["completed"] for kind in saved(path)["kinds"]}
    sent = [request.model_name for request in fake.requests]
    assert kinds == {name: sent.count(name) for name in ("identity", "other")}
    assert min(kinds.values()) > 0


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_a_wrong_answer_is_an_outcome_of_its_own(siege: Any, fake: FakeServer, tmp_path: Path, transport: str) -> None:
    path = tmp_path / "golden.npz"
    assert siege("--rate 500 --count 5", "--write-golden", str(path)).exit_code == 0
    answered = 0

    def spoil_every_fifth(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        nonlocal answered
        answered += 1
        response = echo(request, context)
        if answered % 5 == 0:
            values = np.frombuffer(response.raw_output_contents[0], np.float32) + 1
            response.raw_output_contents[0] = values.tobytes()
        return response

    fake.answer = spoil_every_fifth
    result = siege("--rate 100 --count 20", "--check", str(path), "--transport", transport)
    assert result.exit_code == 1
    assert "sent 20 = completed 16 + failed 4 (wrong 4)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--rate 100", "--find-max needs --slo: the objectives to keep"),
        ("--slo p99<1s --schedule step:5:1", "--find-max needs --rate to start from"),
        ("--slo p99<1s --rate 5 --report curve.csv", "the curve of --find-max is written as .json only"),
        ("--slo p99<1s --rate 5 --count 5", "and takes no --count or --log"),
    ],
)
def test_a_search_without_what_it_needs_is_refused(siege: Any, fake: FakeServer, arguments: str, text: str) -> None:
    result = siege(f"--find-max {arguments}")
    assert result.exit_code == 2
    assert text in result.stderr
    assert fake.requests == []


def test_a_search_of_a_server_that_keeps_nothing_ends_with_no_rate(
    siege: Any, fake: FakeServer, tmp_path: Path
) -> None:
    path = tmp_path / "curve.json"

    def refuse(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        context.abort(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
        raise AssertionError

    fake.answer = refuse
    result = siege("--find-max --rate 100 --duration 0.05 --slo errors<1%", "--report", str(path))
    assert result.exit_code == 5
    curve = saved(path)
    assert (curve["schema"], curve["rate"]) == ("yais.siege.curve/1", None)
    assert {point["outcome"] for point in curve["curve"]} == {"missed"}
    assert "no rate keeps errors<1%" in result.stdout
    assert "missed" in result.stderr


def test_a_search_knows_what_is_late(siege: Any, tmp_path: Path) -> None:
    path = tmp_path / "curve.json"
    options = "--find-max --rate 100 --duration 0.05 --slo late<1% --late-after 0.001"
    result = siege(options, "--report", str(path))
    assert result.exit_code == 5
    assert {point["outcome"] for point in saved(path)["curve"]} == {"missed"}
