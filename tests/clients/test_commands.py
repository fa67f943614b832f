import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np
import pytest
from click.testing import CliRunner

from clients.fake_server import FakeServer, Gate, echo
from yais.clients import async_cli, sync_cli
from yais.clients.inputs.files import save_npz
from yais.clients.reporters import document
from yais.clients.siege import cli as siege_cli
from yais.clients.siege.transports import TransportName
from yais.proto import grpc_service_pb2 as pb

COMMANDS = {"client-sync": sync_cli, "client-async": async_cli, "siege": siege_cli}
RUNS = {
    "client-sync": (sync_cli.main, "--count 7"),
    "client-async": (async_cli.main, "--count 7 --concurrency 3"),
    "siege on native": (siege_cli.main, "--rate 500 --count 7 --max-lag 60000 --transport native"),
    "siege on grpcio": (siege_cli.main, "--rate 500 --count 7 --max-lag 60000 --transport grpcio"),
}
PERCENTILES = ["p50", "p90", "p95", "p99", "p99.9", "p99.99", "max"]
LATENCIES = re.compile(r"^(p50|p90|p95|p99|p99\.9|p99\.99|max) +\d+\.\d+ ms$", re.MULTILINE)

all_commands = pytest.mark.parametrize(("command", "arguments"), RUNS.values(), ids=RUNS)


@all_commands
def test_a_run_that_is_answered_ends_with_a_report_and_0(
    fake: FakeServer, run: Any, command: click.Command, arguments: str
) -> None:
    result = run(command, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{fake.target} identity: INPUT0 FP32[-1] -> OUTPUT0 FP32[-1]\n")
    assert "sent 7 = completed 7 + failed 0" in result.stdout
    assert LATENCIES.findall(result.stdout) == PERCENTILES
    assert len(fake.requests) == 7


@all_commands
def test_failures_are_told_once_a_kind_and_end_with_1(
    fake: FakeServer, run: Any, command: click.Command, arguments: str
) -> None:
    def answer(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        if len(fake.requests) % 2:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape for input 'INPUT0'")
        return echo(request, context)

    fake.answer = answer
    result = run(command, arguments)
    assert result.exit_code == 1
    assert re.findall(r"failed \d x (.*)", result.stdout) == [
        "INVALID_ARGUMENT: unexpected shape for input 'INPUT0'",
    ]


@all_commands
def test_a_server_that_is_not_there_ends_with_1(
    unused_tcp_port: int, run: Any, command: click.Command, arguments: str
) -> None:
    result = run(command, f"{arguments} --port {unused_tcp_port}")
    assert result.exit_code == 1
    assert f"127.0.0.1:{unused_tcp_port}: UNAVAILABLE: " in result.stderr


@all_commands
def test_an_unknown_model_ends_with_the_server_s_text(run: Any, command: click.Command, arguments: str) -> None:
    result = run(command, f"{arguments} --model flowers")
    assert result.exit_code == 1
    assert "NOT_FOUND: Request for unknown model: 'flowers' is not found" in result.stderr


@all_commands
def test_a_mistyped_model_is_answered_with_the_nearest(run: Any, command: click.Command, arguments: str) -> None:
    result = run(command, f"{arguments} --model Identty")
    assert result.exit_code == 1
    assert result.stderr.endswith("is not found; the server has identity; did you mean 'identity'?\n")


@pytest.mark.parametrize("option", ["--npz", "--json"])
@all_commands
def test_a_mistyped_input_of_a_file_is_found_before_anything_is_sent(
    fake: FakeServer, run: Any, command: click.Command, arguments: str, option: str, tmp_path: Path
) -> None:
    path = tmp_path / "inputs"
    if option == "--npz":
        save_npz(path, {"INPUT": np.zeros(2, np.float32)})
    else:
        path.write_text('{"inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [1], "data": [1]}]}')
    result = run(command, f"{arguments} {option} {path}")
    assert result.exit_code == 2
    assert "'INPUT' is not an input of identity, which has INPUT0; did you mean 'INPUT0'?" in result.stderr
    assert fake.requests == []


def test_a_single_answer_is_printed_with_name_datatype_and_shape(run: Any) -> None:
    result = run(sync_cli.main, "--count 1 --shape INPUT0:3 --inputs zeros")
    assert result.stdout.splitlines()[1:4] == ["OUTPUT0 FP32[3]", "[0. 0. 0.]", "sent 1 = completed 1 + failed 0"]


@pytest.mark.parametrize(("option", "is_printed"), [("--count 2", False), ("--count 2 --print", True)])
def test_the_last_of_several_answers_is_printed_where_it_is_asked_for(run: Any, option: str, is_printed: bool) -> None:
    assert (
        "OUTPUT0 FP32[1000]\n[0. 0. 0. ... 0. 0. 0.]"
        in run(sync_cli.main, f"{option} --shape INPUT0:1000 --inputs zeros").stdout
    ) is is_printed


def test_a_single_answer_can_be_left_out_and_one_that_failed_is_none(fake: FakeServer, run: Any) -> None:
    assert "OUTPUT0 FP32[16]" not in run(sync_cli.main, "--count 1 --no-print").stdout

    def refuse(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        context.abort(grpc.StatusCode.UNAVAILABLE, "no")
        raise AssertionError

    fake.answer = refuse
    result = run(sync_cli.main, "--count 1")
    assert result.stdout.splitlines()[1] == "sent 1 = completed 0 + failed 1 (rejected 1)"


def test_a_mistyped_command_of_siege_is_answered_with_the_nearest() -> None:
    result = CliRunner().invoke(siege_cli.main, ["comapre", "a.json", "b.json"])
    assert result.exit_code == 2
    assert "no command of siege is called 'comapre'; did you mean 'compare'?" in result.stderr


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        (siege_cli.main, "", "Missing option '--rate'"),
        (siege_cli.main, "--rate 0", "'--rate': 0.0 is not in the range 0<x<=1000000"),
        (siege_cli.main, "--rate -5", "'--rate': -5.0 is not in the range"),
        (siege_cli.main, "--rate nan", "'--rate': 'nan' is not in the range"),
        (siege_cli.main, "--rate inf", "'--rate': inf is not in the range"),
        (siege_cli.main, "--rate fast", "'--rate': 'fast' is not a valid float"),
        (siege_cli.main, "--rate 1 --max-outstanding 0", "'--max-outstanding': 0 is not in the range x>=1"),
        (siege_cli.main, "--rate 1 --connections 0", "'--connections': 0 is not in the range 1<=x<=256"),
        (siege_cli.main, "--rate 1 --duration 0", "'--duration': 0 is not above 0 and up to 31622400s"),
        (siege_cli.main, "--rate 1 --count 0", "'--count': 0 is not in the range"),
        (siege_cli.main, "--rate 1 --max-lag 0", "'--max-lag': 0 is not above 0 and up to 1000000ms"),
        (siege_cli.main, "--rate 1 --transport quic", "'quic' is not one of 'native', 'grpcio'"),
        (siege_cli.main, "--rate 1 --duration 1 --count 1", "--duration and --count exclude each other"),
        (async_cli.main, "--concurrency 0", "'--concurrency': 0 is not in the range"),
        (sync_cli.main, "--count 0", "'--count': 0 is not in the range"),
        (sync_cli.main, "--timeout 0", "'--timeout': 0 is not above 0 and up to 86400s"),
        (sync_cli.main, "--batch 0", "'--batch': 0 is not in the range"),
        (sync_cli.main, "--port 70000", "'--port': 70000 is not in the range 1<=x<=65535"),
        (sync_cli.main, "--inputs ones", "'ones' is not one of 'random', 'zeros'"),
        (sync_cli.main, "extra", "unexpected extra argument (extra)"),
    ],
)
def test_bad_usage_names_the_option_and_its_bound(
    fake: FakeServer, run: Any, command: click.Command, arguments: str, text: str
) -> None:
    result = run(command, arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert not fake.requests


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_examples_that_are_good_usage(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("coffee.jpg", "inputs.npz"):
        Path(file).touch()
    module: Any = COMMANDS[name]
    text = module.main.get_help(click.Context(module.main, info_name=name))
    examples = [line.strip() for line in text.partition("Examples:")[2].partition("\n\n")[0].strip().splitlines()]
    assert len(examples) >= 3
    for example in examples:
        program, *arguments = shlex.split(example)
        assert program == name
        module.main.make_context(name, arguments)


def test_dropped_requests_are_warned_of_counted_and_end_with_4(run: Any, gate: Gate, transport: TransportName) -> None:
    result = run(
        siege_cli.main,
        f"--rate 200 --count 30 --max-outstanding 5 --timeout 0.5 --max-lag 60000 --transport {transport}",
    )
    assert result.exit_code == 4
    assert result.stderr.count("warning: 5 requests are in flight (--max-outstanding)") == 1
    assert "offered 30 = sent 5 + dropped 25; sent 5 = completed 0 + failed 5 (timed out 5)" in result.stdout
    assert "failed 5 x DEADLINE_EXCEEDED: " in result.stdout
    invalid, failed, _, dropped = result.stdout.splitlines()[-4:]
    assert (invalid, failed) == (
        "INVALID: siege did not send all requests",
        "  5 of 5 requests failed (100.0%): 5 timed out",
    )
    assert dropped == "  siege dropped 25 of 30 requests (83.3%), because 5 requests were in flight (--max-outstanding)"


def test_a_siege_that_is_late_itself_is_invalid_and_ends_with_3(run: Any) -> None:
    result = run(siege_cli.main, "--rate 500 --count 20 --max-lag 0.000001")
    assert result.exit_code == 3
    assert (
        "INVALID: siege did not send on time\n  siege itself was late: it sent 100.0% of the requests" in result.stdout
    )


def test_a_valid_siege_says_so(run: Any) -> None:
    assert run(siege_cli.main, "--rate 500 --count 20 --max-lag 60000").stdout.splitlines()[-1].startswith("VALID: ")


@pytest.mark.parametrize("command", [sync_cli.main, async_cli.main])
def test_a_closed_loop_is_called_one(run: Any, command: click.Command) -> None:
    assert "\nclosed loop: rate " in run(command, "--count 3").stdout


@pytest.mark.parametrize(("is_built", "transport"), [(True, "native"), (False, "grpcio")])
def test_siege_sends_on_the_native_transport_where_it_was_built(
    monkeypatch: pytest.MonkeyPatch, is_built: bool, transport: TransportName
) -> None:
    monkeypatch.setattr(siege_cli, "has_native", lambda: is_built)
    assert siege_cli.main.make_context("siege", ["--rate", "1"]).params["transport"] == transport


def test_siege_without_the_native_transport_says_so_when_asked_for_it(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(siege_cli, "has_native", lambda: False)
    result = run(siege_cli.main, "--rate 1 --count 1 --transport native")
    assert result.exit_code == 2
    assert "--transport: 'native' was not built into this installation; 'grpcio' is there" in result.stderr


def test_siege_tells_once_a_second_how_it_goes(run: Any) -> None:
    result = run(siege_cli.main, "--rate 50 --duration 1.3 --max-lag 60000")
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    pattern = r"at 1 s  asked 50\.0/s  answered \d+\.\d/s  in flight \d+  p50 .* ms  p99 .* ms  failed 0  dropped 0"
    assert re.fullmatch(pattern, line)


def start(fake: FakeServer, module: str, *arguments: str) -> "subprocess.Popen[str]":
    code = f"from {module} import main; main()"
    command = [sys.executable, "-c", code, "--port", str(fake.port), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


ENDLESS = {
    "client-sync": ("yais.clients.sync_cli", "--count", "1000000"),
    "client-async": ("yais.clients.async_cli", "--count", "1000000"),
    "siege on native": ("yais.clients.siege.cli", "--rate", "50", "--max-lag", "60000", "--transport", "native"),
    "siege on grpcio": ("yais.clients.siege.cli", "--rate", "50", "--max-lag", "60000", "--transport", "grpcio"),
}


@pytest.mark.parametrize("command", ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_reports_what_was_done(fake: FakeServer, command: list[str], number: signal.Signals) -> None:
    arrived = Gate()
    arrived.opened.set()
    fake.answer = arrived.pass_through
    with start(fake, *command) as process:
        assert arrived.arrived.wait(30)
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert LATENCIES.findall(output) == PERCENTILES


@pytest.mark.parametrize("command", ENDLESS.values(), ids=ENDLESS)
def test_a_second_interrupt_cancels_what_is_in_flight(fake: FakeServer, gate: Gate, command: list[str]) -> None:
    with start(fake, *command) as process:
        assert gate.arrived.wait(30)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert any(line.startswith("stopping:") for line in process.stderr)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 1, errors
    assert "x CANCELLED: " in output


RUNNING = {
    "client-sync": ("yais.clients.sync_cli", "--count", "20"),
    "client-async": ("yais.clients.async_cli", "--count", "20"),
    "siege": ("yais.clients.siege.cli", "--rate", "100", "--count", "20", "--max-lag", "60s"),
}


@pytest.mark.parametrize("command", RUNNING.values(), ids=RUNNING)
def test_a_full_disk_below_the_output_is_one_line(fake: FakeServer, command: tuple[str, ...]) -> None:
    module, *arguments = command
    code = f"from {module} import main; main()"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, "--port", str(fake.port), *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (1, "Error: cannot write the output: No space left on device\n")


def test_a_report_is_written_even_if_nobody_reads_the_output(fake: FakeServer, tmp_path: Path) -> None:
    report = str(tmp_path / "run.json")
    with start(fake, *RUNNING["siege"], "--report", report) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith("OUTPUT0 FP32[-1]\n")
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read()
    assert (process.returncode, errors) == (1, "")
    assert document.read(Path(report)).counts.completed == 20


@pytest.mark.parametrize("module", ["sync_cli", "async_cli"])
def test_a_client_command_loads_nothing_of_siege(module: str) -> None:
    listed = "import sys; print(*(name for name in sys.modules if name.startswith('yais.clients')))"
    result = subprocess.run(
        [sys.executable, "-c", f"import yais.clients.{module}; {listed}"], capture_output=True, text=True, check=True
    )
    assert not re.search(r"yais\.clients\.(siege|stats\.(slo|compare)|reporters\.document)\b", result.stdout)
