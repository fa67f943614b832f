"""One siege laid by several processes."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import click
import grpc
import psutil
import pytest
from click.testing import CliRunner, Result
from clients.fake_server import FakeServer, Gate, echo
from processes import wait_ends

from yais.clients.inputs.workload import WeightedChoice
from yais.clients.protocol import MODEL_INFER
from yais.clients.reporters import document
from yais.clients.siege import cli, workers
from yais.clients.siege.balancer import Endpoint
from yais.clients.siege.progress import Snapshot
from yais.clients.siege.requests import Requests
from yais.clients.siege.runner import LoadConfig, Show
from yais.clients.siege.schedules.options import ArrivalOptions, parse_schedule
from yais.clients.siege.schedules.pacer import Pacer
from yais.clients.siege.workers import Coordinator
from yais.clients.stats.report import Report
from yais.proto import grpc_service_pb2 as pb

SIEGE = Path(sys.executable).with_name("siege")
MIX = Requests(MODEL_INFER, ("a", "b"), [WeightedChoice(2.0, ((0, b"a"),)), WeightedChoice(1.0, ((1, b"b"),))], 7)


def load(arrivals: ArrivalOptions, max_outstanding: int = 950) -> LoadConfig:
    return LoadConfig(Endpoint("native", "localhost:1", MODEL_INFER), MIX, arrivals, 10.0, max_outstanding)


def dues(pacer: Pacer) -> list[int]:
    return [due for due in map(pacer.due, range(302)) if due is not None]


@pytest.fixture
def siege(fake: FakeServer, tmp_path: Path) -> Any:
    """Runs siege against the fake server; gives what it said, and the report of a run that ended."""
    path = tmp_path / "run.json"

    def run(arguments: str) -> tuple[Result, Report | None]:
        address = ["--target", fake.target, "--max-lag", "60000", "--report", str(path)]
        result = CliRunner().invoke(cli.main, [*arguments.split(), *address])
        return result, document.read(path) if path.exists() else None

    return run


@pytest.mark.parametrize("schedule", [None, "poisson", "step:100:1,300:1", "pulse:10:200:1:0.5"])
def test_processes_share_the_schedule_that_one_would_follow(schedule: str | None) -> None:
    parsed = None if schedule is None else parse_schedule(schedule)
    rate = 250.0 if parsed is None or parsed.takes_rate else None
    whole = load(ArrivalOptions(rate, parsed, count=301))
    parts = [dues(part.pacer()) for part in whole.split(4)]
    assert sorted(due for part in parts for due in part) == dues(whole.pacer())
    assert [len(part) for part in parts] == [76, 75, 75, 75]


def test_processes_share_what_may_be_in_flight() -> None:
    assert [part.max_outstanding for part in load(ArrivalOptions(1.0), 950).split(4)] == [238, 238, 237, 237]


def test_processes_share_the_requests_of_a_closed_loop() -> None:
    parts = load(ArrivalOptions(concurrency=5, count=100)).split(3)
    assert [(part.arrivals.concurrency, part.arrivals.count) for part in parts] == [(2, 34), (2, 33), (1, 33)]


def test_processes_draw_from_a_mix_each_in_an_order_of_its_own() -> None:
    drawn = [tuple(islice(iter(part.requests.next, None), 100)) for part in load(ArrivalOptions(1.0)).split(3)]
    assert len(set(drawn)) == 3


@pytest.mark.parametrize(
    ("arrivals", "max_outstanding", "text"),
    [
        (ArrivalOptions(1.0), 3, "--processes: 4 are more than --max-outstanding 3"),
        (ArrivalOptions(1.0, count=2), 950, "--processes: 4 are more than --count 2"),
        (ArrivalOptions(concurrency=1), 950, "--processes: 4 are more than --concurrency 1"),
    ],
)
def test_each_process_needs_something_to_do(arrivals: ArrivalOptions, max_outstanding: int, text: str) -> None:
    with pytest.raises(click.UsageError, match=text):
        load(arrivals, max_outstanding).split(4)


def test_several_processes_make_one_report(siege: Any, fake: FakeServer) -> None:
    peers = set()

    def remember(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        peers.add(context.peer())
        return echo(request, context)

    fake.answer = remember
    result, report = siege("--rate 200 --count 301 --processes 3")
    assert result.exit_code == 0, result.output
    assert (report.counts.offered, report.counts.completed) == (301, 301)
    assert (len(fake.requests), len(peers), len(report.info.cpu)) == (301, 3, 3)
    assert report.scheduled == pytest.approx(301 / 200)
    assert [second.counts.offered for second in report.intervals] == [200, 101]


def test_several_processes_may_be_a_closed_loop(siege: Any) -> None:
    result, report = siege("--concurrency 4 --count 101 --processes 2")
    assert result.exit_code == 0, result.output
    assert report.counts.completed >= 101


def test_what_several_drop_is_told_once(siege: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    def opening(load: LoadConfig, processes: int, show: Show) -> Coordinator:
        """Opens the gate when all that is dropped has been seen to be."""

        def look(snapshot: Snapshot) -> None:
            if snapshot.counts.dropped == 180:
                gate.opened.set()
            show(snapshot)

        return Coordinator(load, processes, look)

    monkeypatch.setattr(workers, "Coordinator", opening)
    result, report = siege("--rate 1000 --count 200 --processes 2 --max-outstanding 20")
    assert result.exit_code == 4
    assert result.stderr.count("warning: 20 requests are in flight (--max-outstanding)") == 1
    assert (report.counts.dropped, report.counts.completed) == (180, 20)


def test_a_process_that_dies_ends_the_run(siege: Any, fake: FakeServer) -> None:
    is_first = threading.Lock()

    def kill_the_caller(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        if is_first.acquire(blocking=False):
            os.kill(next(sending_processes()).pid, signal.SIGKILL)
        return echo(request, context)

    fake.answer = kill_the_caller
    result, report = siege("--rate 100 --processes 2")
    assert result.exit_code == 1
    assert "died with exit code -9" in result.stderr
    assert report is None
    assert not list(sending_processes())


def test_a_connection_that_none_of_them_gets_is_told_once(unused_tcp_port: int) -> None:
    # Nothing is asked of the server before the processes connect.
    arguments = f"--rate 100 --processes 2 --timeout 0.5 --method /any/method --port {unused_tcp_port}"
    result = CliRunner().invoke(cli.main, arguments.split())
    assert result.exit_code == 1
    assert result.stderr.count("no connection within 0.5 s") == 1


def sending_processes() -> Iterator[psutil.Process]:
    return (child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline()))


@pytest.fixture
def running(fake: FakeServer) -> Iterator[subprocess.Popen[str]]:
    """siege with two processes, in a session of its own, once both have been answered."""
    command = [SIEGE, "--target", fake.target, "--rate", "100", "--processes", "2", "--max-lag", "60000"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        assert "answered" in process.stderr.readline()
        yield process
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_ctrl_c_ends_all_of_them_with_one_report(running: subprocess.Popen[str], fake: FakeServer) -> None:
    os.killpg(running.pid, signal.SIGINT)
    said, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    assert f"sent {len(fake.requests)} = completed {len(fake.requests)}" in said
    assert errors.count("stopping: waiting for the requests in flight") == 1


def test_none_of_them_outlives_siege(running: subprocess.Popen[str]) -> None:
    children = psutil.Process(running.pid).children()
    running.kill()
    assert len(children) >= 2
    wait_ends(children, 60)


@pytest.mark.parametrize("option", ["--count 10 --log /dev/null", "--find-max --slo p99<1s"])
def test_what_only_one_process_does_is_told(siege: Any, fake: FakeServer, option: str) -> None:
    result, _ = siege(f"--rate 100 --processes 2 {option}")
    assert result.exit_code == 2
    assert "and --processes exclude each other" in result.stderr
    assert fake.requests == []
