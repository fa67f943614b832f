import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from clients.siege.chaos.runs import Running, running

from yais.clients.siege.chaos.attacks import all_attacks
from yais.clients.siege.chaos.cli import main

LINE = re.compile(r"^(\S+) +(held|broke|unproven) ", re.MULTILINE)


def run(*arguments: object, fake: Running | None = None) -> Any:
    where = ["--port", fake.port, "--metrics-port", fake.metrics_port] if fake else []
    words = ["--host", "127.0.0.1", *where, "--duration", "0.3", "--settle", "0.3", *arguments]
    return CliRunner().invoke(main, [str(word) for word in words])


def test_a_run_that_finds_nothing_ends_with_0_and_a_report(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    with running() as fake:
        result = run("truncated", "unknown-models", "--seed", 3, "--report", file, "--canary-bound", 20_000, fake=fake)
    assert result.exit_code == 0, result.output
    assert LINE.findall(result.output) == [("baseline", "held"), ("truncated", "held"), ("unknown-models", "held")]
    assert result.output.endswith("\n3 held\n")
    report = json.loads(file.read_text())
    assert report["schema"] == "yais.siege.chaos/2"
    assert (report["server"], report["model"], report["seed"], report["exit_code"]) == ("yais", "identity", 3, 0)
    baseline, truncated, _ = report["attacks"]
    assert (baseline["attack"], truncated["state"]) == ("baseline", "held")
    assert truncated["clients"]["actions"] > 0
    assert truncated["canary"]["answered"] > 0
    assert {finding["invariant"]: finding["state"] for finding in truncated["findings"]}["counted"] == "held"


def test_a_broken_invariant_ends_with_1_and_is_named() -> None:
    with running() as fake:
        fake.be("forgets")
        result = run("pulses", fake=fake)
    assert result.exit_code == 1
    assert re.search(r"^pulses +broke +.*counted: grew by \d+, should by \d+", result.output, re.MULTILINE)


def test_invariants_without_metrics_are_named() -> None:
    with running() as fake:
        result = run("churn", "--port", fake.port, "--canary-bound", 20_000)
    assert result.exit_code == 0, result.output
    assert "the server has no metrics to check: stays, successes, counted, in flight" in result.output


def test_a_canary_that_is_refused_proves_nothing() -> None:
    with running() as fake:
        fake.be("loses every")
        result = run("churn", fake=fake)
    assert result.exit_code == 3, result.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["no-such-attack"], "no attack is called 'no-such-attack'; siege chaos --list names them"),
        (["--toxic", "poison"], "no toxic is called 'poison'"),
        (["--toxic", "latency:5"], "'latency:5' is not latency:DELAY[:JITTER]"),
        (["--duration", "0"], "--duration"),
        (["--load", "0"], "--load"),
        (["proxy", "--to", "localhost:1"], "Missing option '--listen'"),
        (["proxy", "--listen", "1", "--to", "localhost:x"], "'localhost:x' is not host:port"),
        (["--target", "dns:///localhost:1"], "'dns:///localhost:1' is not the host:port of one server"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_ends_with_2(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert text in result.output


def test_metrics_that_are_not_there_are_bad_usage(unused_tcp_port: int) -> None:
    with running() as fake:
        result = run("churn", "--port", fake.port, "--metrics-port", unused_tcp_port)
    assert result.exit_code == 2
    assert "--metrics-port, --pid: the server's metrics cannot be read: ConnectionRefusedError" in result.output


def test_the_attacks_can_be_listed() -> None:
    result = CliRunner().invoke(main, ["--list"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines()] == list(all_attacks())
    assert all(line.rstrip().endswith(".") for line in result.output.splitlines())


def test_the_examples_of_the_help_can_be_read() -> None:
    helps = [CliRunner().invoke(main, words).output for words in (["--help"], ["proxy", "--help"])]
    examples = [re.findall(r"^  +siege chaos (.*)$", text, re.MULTILINE) for text in helps]
    assert [len(those) for those in examples] == [4, 2]
    for example in (*examples[0], *examples[1]):
        assert main.make_context("chaos", example.split()) is not None


def test_the_proxy_passes_on_until_a_signal() -> None:
    command = [sys.executable, "-m", "yais.clients.siege.chaos.cli", "proxy", "--listen", "0", "--toxic", "slicer:2B"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        to = f"127.0.0.1:{server.getsockname()[1]}"
        with subprocess.Popen([*command, "--to", to], stdout=subprocess.PIPE, text=True) as proxy:
            assert proxy.stdout is not None
            port = int(proxy.stdout.readline().rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), 20) as client:
                client.sendall(b"hello")
                near, _ = server.accept()
                with near:
                    near.settimeout(20)
                    assert b"".join(iter(lambda: near.recv(1), b"o")) == b"hell"
            proxy.send_signal(signal.SIGINT)
            assert proxy.stdout.read() == "passed on 1 connections\n"
        assert proxy.returncode == 0
