"""The command line of `inference-grpc`, up to the point where a server would start."""

import logging
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from server.settings_command import Command
from yais.engines import EngineError
from yais.server import cli
from yais.server.config import Config, EngineSource
from yais.server.exit_codes import ExitCode
from yais.server.listening import StartError
from yais.server.log import LogFormatter
from yais.server.server import Server
from yais.server.serving import ServerProcess
from yais.version import version_text


def test_the_defaults_are_those_of_the_help_text(command: Command) -> None:
    config = command.configured("--engine", "a/flowers.onnx")
    assert config == Config(["a/flowers.onnx"])
    assert config == Config(
        engines=(EngineSource("flowers", Path("a/flowers.onnx")),),
        host="0.0.0.0",
        port=50051,
        metrics=50078,
        contexts=1,
        buffers=None,
        threads=None,
        max_batch_size=None,
        max_queue_delay=0.0,
        max_queue_size=1024,
        max_message_size=128 * 2**20,
        drain_timeout=30.0,
        transport="native",
        workers=1,
        device="cpu",
        devices=(0,),
        workspaces=None,
        cuda_graphs=True,
        plan_cache=None,
        run_timeout=60.0,
    )


# Each flag -> a value for it, its field, and what becomes of the value.
FLAGS: dict[str, tuple[str, str, Any]] = {
    "host": ("127.0.0.1", "host", "127.0.0.1"),
    "port": ("8001", "port", 8001),
    "metrics": ("8002", "metrics", 8002),
    "contexts": ("3", "contexts", 3),
    "buffers": ("7", "buffers", 7),
    "threads": ("2", "threads", 2),
    "max-batch-size": ("16", "max_batch_size", 16),
    "max-queue-delay": ("500us", "max_queue_delay", 0.0005),
    "max-queue-size": ("5", "max_queue_size", 5),
    "max-message-size": ("1M", "max_message_size", 10**6),
    "drain-timeout": ("5", "drain_timeout", 5.0),
    "transport": ("grpcio", "transport", "grpcio"),
    "workers": ("2", "workers", 2),
    "device": ("cuda", "device", "cuda"),
    "devices": ("3", "devices", (3,)),
    "workspaces": ("1", "workspaces", 1),
    "plan-cache": ("/plans", "plan_cache", Path("/plans")),
    "run-timeout": ("5m", "run_timeout", 300.0),
    "cuda-graphs": ("off", "cuda_graphs", False),
}


@pytest.mark.parametrize("flag", FLAGS)
def test_each_flag_is_also_a_variable_and_a_key_of_the_file(command: Command, tmp_path: Path, flag: str) -> None:
    value, field, want = FLAGS[flag]
    toml = tmp_path / "c.toml"
    toml.write_text(f'{flag} = "{value}"')
    variable = {flag.upper().replace("-", "_"): value}
    for config in (
        command.configured("--engine", "m.onnx", f"--{flag}", value),
        command.configured("--engine", "m.onnx", **variable),
        command.configured("--engine", "m.onnx", "--config", str(toml)),
        command.configured("--engine", "m.onnx", CONFIG=str(toml)),
    ):
        assert getattr(config, field) == want


def test_every_flag_is_listed_here() -> None:
    own = {option.opts[0].removeprefix("--") for option in cli.main.params}
    assert own == {*FLAGS, "engine", "config", "log-level", "log-format", "print-config", "version"}


def test_the_command_line_comes_before_the_environment_and_that_before_the_file(
    command: Command, tmp_path: Path
) -> None:
    toml = tmp_path / "c.toml"
    toml.write_text('engine = ["file.onnx"]\nport = 1\ncontexts = 2\nthreads = 3')
    config = command.configured("--config", str(toml), "--port", "11", PORT="21", CONTEXTS="22")
    assert (config.port, config.contexts, config.threads, config.max_queue_size) == (11, 22, 3, 1024)
    assert config.engines == (EngineSource("file", Path("file.onnx")),)


def test_engines_of_one_source_do_not_mix_with_those_of_another(command: Command, tmp_path: Path) -> None:
    toml = tmp_path / "c.toml"
    toml.write_text('engine = ["file.onnx", "b=other.onnx"]')
    file = ("--config", str(toml))
    assert [each.name for each in command.configured(*file).engines] == ["file", "b"]
    assert [each.name for each in command.configured(*file, ENGINE="x.onnx c=y.onnx").engines] == ["x", "c"]
    assert [each.name for each in command.configured(*file, "--engine", "z.onnx", ENGINE="x.onnx").engines] == ["z"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", "Missing option '--engine'"),
        ("--engine =", "Invalid value for '--engine': '=' is not [NAME=]PATH"),
        ("--engine a=x.onnx --engine a=y.onnx", "--engine: the name 'a' is used more than once"),
        ("--engine m.onnx --port 65536", "Invalid value for '--port': 65536 is not in the range 0<=x<=65535"),
        ("--engine m.onnx --port -1", "Invalid value for '--port': -1 is not in the range 0<=x<=65535"),
        ("--engine m.onnx --port x", "Invalid value for '--port': 'x' is not a valid integer range"),
        ("--engine m.onnx --metrics 65536", "Invalid value for '--metrics': 65536 is not in the range"),
        ("--engine m.onnx --metrics 50051", "--metrics: port 50051 is already used by --port"),
        ("--engine m.onnx --workers 0", "Invalid value for '--workers': 0 is not in the range 1<=x<=64"),
        ("--engine m.onnx --workers 65", "Invalid value for '--workers': 65 is not in the range 1<=x<=64"),
        ("--engine m.onnx --contexts 0", "Invalid value for '--contexts': 0 is not in the range 1<=x<=1024"),
        ("--engine m.onnx --contexts 1025", "Invalid value for '--contexts': 1025 is not in the range"),
        ("--engine m.onnx --buffers 0", "Invalid value for '--buffers': 0 is not in the range 1<=x<=4096"),
        ("--engine m.onnx --contexts 3 --buffers 2", "--buffers: 2 is less than --contexts 3"),
        ("--engine m.onnx --threads 0", "Invalid value for '--threads': 0 is not in the range 1<=x<=1024"),
        ("--engine m.onnx --max-batch-size -1", "Invalid value for '--max-batch-size': -1 is not in the range"),
        ("--engine m.onnx --max-batch-size 65537", "Invalid value for '--max-batch-size': 65537 is not in the"),
        ("--engine m.onnx --max-queue-size 0", "Invalid value for '--max-queue-size': 0 is not in the range"),
        ("--engine m.onnx --max-queue-delay 11s", "Invalid value for '--max-queue-delay': 11s is more than 10s"),
        ("--engine m.onnx --max-queue-delay soon", "Invalid value for '--max-queue-delay': 'soon' is not a duration"),
        (
            "--engine m.onnx --max-queue-delay 1 --max-batch-size 1",
            "--max-queue-delay has no effect when batching is off (--max-batch-size 1)",
        ),
        ("--engine m.onnx --max-message-size 1023", "Invalid value for '--max-message-size': 1023 is not between"),
        ("--engine m.onnx --max-message-size 2GiB", "Invalid value for '--max-message-size': 2GiB is not between"),
        ("--engine m.onnx --drain-timeout 86401", "Invalid value for '--drain-timeout': 86401 is more than 86400s"),
        ("--engine m.onnx --device gpu", "Invalid value for '--device': 'gpu' is not one of 'cpu', 'cuda'"),
        ("--engine m.onnx --devices 0-1", "Invalid value for '--devices': '0-1' is not a list of numbers such as 0,1"),
        ("--engine m.onnx --contexts 2 --devices 0,0", "--devices: GPU 0 is named more than once"),
        ("--engine m.onnx --devices 0,1", "--devices: 2 GPUs are more than --contexts 1"),
        ("--engine m.onnx --workspaces 0", "Invalid value for '--workspaces': 0 is not in the range 1<=x<=1024"),
        ("--engine m.onnx --workspaces 2", "--workspaces: 2 is more than --contexts 1"),
        ("--engine m.onnx --cuda-graphs maybe", "Invalid value for '--cuda-graphs': 'maybe' is not a valid boolean"),
        ("--engine m.onnx --log-level loud", "Invalid value for '--log-level': 'loud' is not one of"),
        ("--engine m.onnx --config missing.toml", "Invalid value for '--config': cannot read 'missing.toml'"),
        ("--engine m.onnx stray", "Got unexpected extra argument (stray)"),
        ("--engin m.onnx", "No such option '--engin'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_its_name_and_bound(
    command: Command, arguments: str, text: str
) -> None:
    assert text in command.refused(*arguments.split())


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("port = 65536", "--port"),
        ('port = "x"', "--port"),
        ("port = [1]", "--port"),
        ("port = inf", "--port"),
        ("port = 1979-05-27", "--port"),
        ("port = {}", "--port"),
        ("contexts = []", "--contexts"),
        ("max-queue-delay = [1]", "--max-queue-delay"),
        ("max-message-size = {}", "--max-message-size"),
        ("drain-timeout = true", "--drain-timeout"),
        ("log-level = 5", "--log-level"),
        ("devices = [0, 1]", "--devices"),
        ("devices = true", "--devices"),
        ("workspaces = true", "--workspaces"),
        ("cuda-graphs = 2", "--cuda-graphs"),
        ("cuda-graphs = []", "--cuda-graphs"),
        ("device = true", "--device"),
        ("engine = 5", "--engine"),
        ("engine = [5]", "--engine"),
        ('engine = ""', "--engine"),
        ("[[engine]]\ncontexts = 1", "--engine"),
        ('[[engine]]\npath = "m.onnx"\ncontexs = 1', "did you mean 'contexts'?"),
        ("version = true", "version"),
    ],
)
def test_a_setting_of_the_file_that_cannot_be_is_refused_with_its_name(
    command: Command, tmp_path: Path, setting: str, name: str
) -> None:
    toml = tmp_path / "c.toml"
    toml.write_text(setting)
    engine = [] if "engine" in setting else ["--engine", "m.onnx"]
    assert name in command.refused(*engine, "--config", str(toml))


@pytest.mark.parametrize("engine", ["m.onnx", 'a "b"\\c=d.onnx', "zoë\x7f.onnx"])
def test_settings_that_are_printed_can_be_read_again(command: Command, tmp_path: Path, engine: str) -> None:
    given = [word for flag, (value, _, _) in FLAGS.items() for word in (f"--{flag}", value)]
    toml = tmp_path / "c.toml"
    arguments = ["--engine", engine, *given, "--log-format", "json"]
    toml.write_text(command(*arguments, "--print-config").output)
    assert tomllib.loads(toml.read_text())["log-format"] == "json"
    assert command.configured("--config", str(toml)) == command.configured(*arguments)


def test_a_file_is_no_folder_for_plans(command: Command, tmp_path: Path) -> None:
    (tmp_path / "plans").write_text("")
    text = command.refused("--engine", "m.onnx", "--plan-cache", str(tmp_path / "plans"))
    assert "Invalid value for '--plan-cache'" in text


def test_graphs_are_switched_by_a_boolean_of_the_file_as_well(command: Command, tmp_path: Path) -> None:
    toml = tmp_path / "c.toml"
    file = ("--engine", "m.onnx", "--config", str(toml))
    for setting, want in (("true", True), ("false", False)):
        toml.write_text(f"cuda-graphs = {setting}")
        assert command.configured(*file).cuda_graphs is want
        assert command.configured(*file, "--cuda-graphs", str(not want)).cuda_graphs is not want


def test_gpus_are_numbered_with_commas_or_by_a_number_of_the_file(command: Command, tmp_path: Path) -> None:
    toml = tmp_path / "c.toml"
    toml.write_text("devices = 3")
    engine = ("--engine", "m.onnx", "--contexts", "2")
    assert command.configured(*engine, "--devices", "1,0").devices == (1, 0)
    assert command.configured(*engine, DEVICES="0, 2").devices == (0, 2)
    assert command.configured(*engine, "--config", str(toml)).devices == (3,)


@pytest.mark.parametrize("level", ["debug", "INFO", "Warning", "error"])
def test_the_log_has_the_level_that_is_asked_for(command: Command, monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    levels: list[str] = []
    monkeypatch.setattr(logging, "basicConfig", lambda level, **_: levels.append(level))
    command.configured("--engine", "m.onnx", "--log-level", level)
    assert levels == [level.upper()]


@pytest.mark.parametrize("log_format", ["default", "ISO8601", "json"])
def test_the_log_has_the_format_that_is_asked_for(
    command: Command, monkeypatch: pytest.MonkeyPatch, log_format: str
) -> None:
    handlers: list[logging.Handler] = []
    monkeypatch.setattr(logging, "basicConfig", lambda **given: handlers.extend(given["handlers"]))
    command.configured("--engine", "m.onnx", "--log-format", log_format.upper())
    formatter = handlers[0].formatter
    assert isinstance(formatter, LogFormatter)
    assert formatter.log_format == log_format


@pytest.mark.parametrize("exit_code", ExitCode)
def test_the_exit_code_is_that_of_the_server(command: Command, exit_code: int) -> None:
    command.exit_code = exit_code
    assert command("--engine", "m.onnx").exit_code == exit_code


def test_the_help_text_explains_precedence_and_exit_codes(command: Command) -> None:
    text = " ".join(command("--help").output.split())
    assert (
        "The command line takes precedence over the environment, the environment over the file, and the file over the "
        "defaults"
    ) in text
    assert "Exit codes: 0 after a complete drain; 1 when" in text
    assert "5 when a GPU was lost" in text
    assert all(f"--{flag} " in text for flag in FLAGS)
    assert command("--version").output == f"inference-grpc, version {version_text()}\n"


def serving(monkeypatch: pytest.MonkeyPatch, outcome: Callable[[], ExitCode]) -> int:
    """What the command exits with when a server comes to this outcome."""

    async def serve(self: ServerProcess, on_started: Callable[[Server], None]) -> ExitCode:
        return outcome()

    monkeypatch.setattr(ServerProcess, "serve", serve)
    result = CliRunner().invoke(cli.main, ["--engine", "m.onnx"])
    assert isinstance(result.exception, SystemExit) or result.exit_code == 0
    return result.exit_code


@pytest.mark.parametrize(
    ("end", "exit_code"),
    [(ExitCode.DRAINED, 0), (ExitCode.UNANSWERED, 1), (ExitCode.LOST_WORKER, 4), (ExitCode.LOST_DEVICE, 5)],
)
def test_a_server_exits_by_how_it_came_to_its_end(
    monkeypatch: pytest.MonkeyPatch, end: ExitCode, exit_code: int
) -> None:
    assert serving(monkeypatch, lambda: end) == exit_code


@pytest.mark.parametrize("error", [EngineError("engine 'm.onnx': no such file"), StartError("--port: taken")])
def test_a_server_that_cannot_start_says_why_and_exits_with_3(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail() -> ExitCode:
        raise error

    assert serving(monkeypatch, fail) == 3
    assert caplog.record_tuples == [("yais.server", logging.ERROR, str(error))]


@pytest.mark.parametrize("end", [ExitCode.DRAINED, ExitCode.UNANSWERED, ExitCode.LOST_DEVICE])
def test_a_run_that_hangs_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, end: ExitCode
) -> None:
    codes: list[int] = []

    async def serve(self: ServerProcess, on_started: Callable[[Server], None]) -> ExitCode:
        self.server.is_hanging = True
        return end

    monkeypatch.setattr(ServerProcess, "serve", serve)
    monkeypatch.setattr(logging, "shutdown", lambda: None)
    monkeypatch.setattr(os, "_exit", codes.append)
    CliRunner().invoke(cli.main, ["--engine", "m.onnx"])
    assert codes == [end]
    assert caplog.messages == ["An engine run is still in progress; exiting without waiting for it"]
