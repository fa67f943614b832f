import socket
from pathlib import Path

import onnx
import pytest

from e2e.conftest import Engines
from e2e.models import ALL
from e2e.serving import HOST, run_command, run_server
from yais.version import version_text

PORTS = ["--port", "0", "--metrics", "0"]
BAD_USAGE, FAILED_START = 2, 3


@pytest.fixture
def mlp(engines: Engines) -> Path:
    return engines.path("mlp")


# All other bad settings are in tests/server/test_usage.py, which starts no process for each.
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--engine {mlp} --engin x", "No such option '--engin'"),
        ("--engine {mlp} --engine {mlp}", "--engine: the name 'mlp' is used more than once; give each as NAME=PATH"),
    ],
)
def test_bad_usage_ends_with_2_and_says_what(mlp: Path, arguments: str, told: str) -> None:
    done = run_command(*arguments.format(mlp=mlp).split())
    assert done.returncode == BAD_USAGE
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_file_of_bad_settings_ends_it_with_2_and_is_named(mlp: Path, tmp_path: Path) -> None:
    file = tmp_path / "surplus.toml"
    file.write_text(f'prot = 1\nengine = ["{mlp}"]')
    done = run_command("--config", file)
    assert done.returncode == BAD_USAGE
    assert f"'{file}' sets 'prot', which is no flag of this command" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_bad_variable_ends_it_with_2(mlp: Path) -> None:
    done = run_command("--engine", mlp, YAIS_CONTEXTS="many")
    assert done.returncode == BAD_USAGE
    assert "Invalid value for '--contexts' (environment variable YAIS_CONTEXTS): 'many'" in done.stderr


def engine_file(name: str, folder: Path, mlp: Path) -> Path:
    """A file, or something else, that is no engine that could be served."""
    path = folder / name
    match name:
        case "directory.onnx":
            path.mkdir()
        case "unknown.plan5":
            path.write_bytes(mlp.read_bytes())
        case "empty.onnx":
            path.touch()
        case "garbage.onnx":
            path.write_bytes(bytes(range(256)) * 100)
        case "truncated.onnx":
            path.write_bytes(mlp.read_bytes()[:-1000])
        case "many.onnx":
            model = onnx.load(mlp)
            onnx.helper.set_model_props(model, {"yais.max_batch_size": "many"})
            onnx.save(model, path)
        case "huge_row.onnx" | "sequence.onnx":
            onnx.save(ALL[path.stem](), path)
    return path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("missing.onnx", "no such file"),
        ("directory.onnx", "not a regular file"),
        ("unknown.plan5", "unknown file type '.plan5', known are .onnx"),
        ("empty.onnx", "not a model that ONNX Runtime can load"),
        ("garbage.onnx", "not a model that ONNX Runtime can load"),
        ("truncated.onnx", "not a model that ONNX Runtime can load"),
        ("many.onnx", "yais.max_batch_size is 'many', not a number"),
        ("sequence.onnx", "tensor 'OUTPUT0' is a seq(tensor(float)), which the inference protocol cannot carry"),
        ("huge_row.onnx", ""),
    ],
)
def test_a_file_that_is_no_engine_ends_it_with_3_and_is_named(mlp: Path, tmp_path: Path, name: str, told: str) -> None:
    path = engine_file(name, tmp_path, mlp)
    done = run_command("--engine", mlp, "--engine", path, "--max-batch-size", "65536", *PORTS)
    assert done.returncode == FAILED_START
    assert told in done.stderr
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("flag", ["--port", "--metrics"])
def test_a_port_in_use_ends_it_with_3_and_is_named(mlp: Path, flag: str) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = str(other.getsockname()[1])
        ports = {"--port": "0", "--metrics": "0", flag: port}
        done = run_command("--engine", mlp, "--host", HOST, *(word for pair in ports.items() for word in pair))
    assert done.returncode == FAILED_START
    assert f"{flag}: cannot listen on {HOST}:{port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["--port", "--metrics"])
def test_a_second_server_on_the_same_port_is_no_silent_partner(mlp: Path, flag: str) -> None:
    with run_server("--engine", mlp) as first:
        port = str(first.port if flag == "--port" else first.metrics_port)
        ports = {"--port": "0", "--metrics": "0", flag: port}
        done = run_command("--engine", mlp, *(word for pair in ports.items() for word in pair))
    assert done.returncode == FAILED_START
    assert f"{flag}: cannot listen on 0.0.0.0:{port}" in done.stderr


def test_a_host_that_is_not_here_ends_it_with_3(mlp: Path) -> None:
    done = run_command("--engine", mlp, "--host", "192.0.2.1", *PORTS)
    assert done.returncode == FAILED_START
    assert "cannot listen on 192.0.2.1:0" in done.stderr


def test_help_tells_of_every_flag_and_exit_code() -> None:
    done = run_command("--help")
    assert done.returncode == 0
    flags = (
        "engine host port metrics workers contexts buffers threads max-batch-size max-queue-delay max-queue-size "
        "max-message-size drain-timeout log-level log-format config print-config version"
    )
    assert [flag for flag in flags.split() if f"--{flag}" not in done.stdout] == []
    assert "Exit codes: 0" in done.stdout


def test_version_tells_the_version_and_the_commit() -> None:
    done = run_command("--version")
    assert (done.returncode, done.stdout) == (0, f"inference-grpc, version {version_text()}\n")


def test_settings_are_printed_without_a_server(mlp: Path) -> None:
    done = run_command("--engine", mlp, "--print-config", YAIS_CONTEXTS="2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "contexts = 2  # environment variable YAIS_CONTEXTS" in done.stdout.splitlines()
