"""Where settings come from: in errors, in warnings, and as `--print-config` writes them."""

import re
from pathlib import Path

import pytest

from server.settings_command import Command


@pytest.mark.parametrize(("variable", "value"), [("PORT", "x"), ("MAX_QUEUE_DELAY", "soon"), ("BUFFERS", "0")])
def test_a_variable_that_cannot_be_is_refused_with_its_name_and_that_of_its_flag(
    command: Command, variable: str, value: str
) -> None:
    text = command.refused("--engine", "m.onnx", **{variable: value})
    assert f"'--{variable.lower().replace('_', '-')}' (environment variable YAIS_{variable}): " in text


@pytest.mark.parametrize("setting", ["port = 70000", "port = [1]", 'port = "http"'])
def test_a_setting_of_the_file_that_cannot_be_is_refused_with_the_file_and_the_key(
    command: Command, tmp_path: Path, setting: str
) -> None:
    toml = tmp_path / "c.toml"
    toml.write_text(setting)
    text = command.refused("--engine", "m.onnx", "--config", str(toml))
    assert f"'--port' (key 'port' of file '{toml}'): " in text


def test_settings_that_contradict_each_other_are_refused_with_their_sources(command: Command, tmp_path: Path) -> None:
    toml = tmp_path / "c.toml"
    toml.write_text("buffers = 2")
    text = command.refused("--engine", "m.onnx", "--config", str(toml), CONTEXTS="3")
    assert (
        f"--buffers: 2 is less than --contexts 3 (--buffers is set by key 'buffers' of file '{toml}'; "
        "--contexts is set by environment variable YAIS_CONTEXTS)"
    ) in text


def test_variables_that_are_no_setting_are_told_with_what_may_have_been_meant(
    command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    command.configured("--engine", "m.onnx", PROT="1", MAX_QUEU_SIZE="2", TEST_ZEBRA="3", PRINT_CONFIG="1")
    (message,) = [text for text in caplog.messages if text.startswith("Unknown variables in the environment: ")]
    assert "YAIS_PROT (did you mean YAIS_PORT?)" in message
    assert "YAIS_MAX_QUEU_SIZE (did you mean YAIS_MAX_QUEUE_SIZE?)" in message
    assert re.search(r"YAIS_TEST_ZEBRA(,|$)", message)
    assert "YAIS_PRINT_CONFIG" in message


def test_variables_that_are_settings_are_not_told(command: Command, caplog: pytest.LogCaptureFixture) -> None:
    command.configured("--engine", "m.onnx", PORT="1", LOG_LEVEL="info")
    assert not any("YAIS_PORT" in text or "YAIS_LOG_LEVEL" in text for text in caplog.messages)


def test_all_settings_are_printed_with_their_sources_and_nothing_is_started(command: Command, tmp_path: Path) -> None:
    toml = tmp_path / "c.toml"
    toml.write_text('engine = ["m=a.onnx"]\ncuda-graphs = false')
    result = command("--config", str(toml), "--print-config", "--max-queue-delay", "500us", CONTEXTS="2")
    assert (result.exit_code, command.config) == (0, None)
    lines = result.output.splitlines()
    assert f"engine = [\"m=a.onnx\"]  # file '{toml}'" in lines
    assert f"cuda-graphs = false  # file '{toml}'" in lines
    assert 'max-queue-delay = "500us"  # command line' in lines
    assert "contexts = 2  # environment variable YAIS_CONTEXTS" in lines
    assert "port = 50051  # default" in lines
    assert "# buffers is not set; default: contexts + 2" in lines


def test_engines_that_the_file_has_as_tables_are_printed_as_tables(command: Command, tmp_path: Path) -> None:
    toml, printed = tmp_path / "c.toml", tmp_path / "printed.toml"
    toml.write_text('[[engine]]\nname = "m"\npath = "a,b.onnx"\ncontexts = 2\n[[engine]]\npath = "c.onnx"')
    printed.write_text(command("--config", str(toml), "--print-config").output)
    assert command.configured("--config", str(printed)) == command.configured("--config", str(toml))
