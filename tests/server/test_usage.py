"""Settings with which `inference-grpc` does not serve: what it says of them, and its exit code."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from yais.server.cli import main

BAD_USAGE = 2

# Arguments, with {mlp} for an engine that can be served -> what stderr says of them.
USAGE = {
    "": "Missing option '--engine'",
    "--engine {mlp} --engin x": "No such option '--engin'",
    "--engine {mlp} surplus": "Got unexpected extra argument (surplus)",
    "--engine =": "'=' is not [NAME=]PATH",
    "--engine {mlp} --port 65536": "Invalid value for '--port': 65536 is not in the range 0<=x<=65535",
    "--engine {mlp} --port http": "Invalid value for '--port': 'http' is not a valid integer range",
    "--engine {mlp} --metrics -1": "Invalid value for '--metrics': -1 is not in the range 0<=x<=65535",
    "--engine {mlp} --workers 65": "Invalid value for '--workers': 65 is not in the range 1<=x<=64",
    "--engine {mlp} --contexts 0": "Invalid value for '--contexts': 0 is not in the range 1<=x<=1024",
    "--engine {mlp} --max-queue-size 0": "Invalid value for '--max-queue-size': 0 is not in the range 1<=x<=1000000",
    "--engine {mlp} --drain-timeout soon": "'soon' is not a duration; write a number and one of us, ms, s, m",
    "--engine {mlp} --max-queue-delay 11s": "11s is more than 10s",
    "--engine {mlp} --max-message-size 1K": "1K is not between 1024 and 2147483647 bytes",
    "--engine {mlp} --max-message-size large": "'large' is not a size; write a number and one of K, M, G, Ki, Mi, Gi",
    "--engine {mlp} --log-level loud": "Invalid value for '--log-level': 'loud' is not one of",
    "--engine {mlp} --buffers 1 --contexts 2": "--buffers: 1 is less than --contexts 2",
    "--engine {mlp} --port 5000 --metrics 5000": "--metrics: port 5000 is that of --port",
    "--engine {mlp} --max-queue-delay 2ms --max-batch-size 0": "--max-queue-delay has no effect when batching is off",
    "--engine {mlp} --max-queue-delay 2ms --max-batch-size 1": "batching is off (--max-batch-size 1)",
    "--engine {mlp} --engine {mlp}": "--engine: the name 'mlp' is used more than once; give each as NAME=PATH",
    "--engine {mlp} --engine mlp={mlp}": "--engine: the name 'mlp' is used more than once",
    "--config nowhere.toml": "cannot read 'nowhere.toml'",
}

FILES = {
    "surplus.toml": (
        'prot = 1\nengine = ["{mlp}"]',
        "'{file}' sets 'prot', which is no flag of this command (did you mean port?)",
    ),
    "table.toml": ("[server]\nport = 1\n", "'{file}' sets 'server', which is no flag of this command"),
    "broken.toml": ("port = ", "cannot read '{file}': Invalid value"),
    "bytes.toml": ("\xff\xfe", "cannot read '{file}'"),
    "range.toml": ('port = 70000\nengine = ["{mlp}"]', "'--port'"),
    "type.toml": ('port = "http"\nengine = ["{mlp}"]', "'--port'"),
    "truth.toml": ('contexts = true\nengine = ["{mlp}"]', "'--contexts'"),
    "fraction.toml": ('contexts = 1.5\nengine = ["{mlp}"]', "'--contexts'"),
    "list.toml": ('port = [1, 2]\nengine = ["{mlp}"]', "'--port'"),
    "contradiction.toml": ('contexts = 3\nbuffers = 2\nengine = ["{mlp}"]', "--buffers: 2 is less than --contexts 3"),
}


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    """An engine's file, which nothing here comes to open."""
    path = tmp_path / "mlp.onnx"
    path.touch()
    return path


def refused(*arguments: str) -> Result:
    """The command's end, which it has met by itself, with nothing on its standard output."""
    result = CliRunner().invoke(main, arguments)
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == BAD_USAGE
    assert result.stdout == ""
    return result


@pytest.mark.parametrize("arguments", USAGE)
def test_bad_usage_ends_with_2_and_says_what(mlp: Path, arguments: str) -> None:
    done = refused(*arguments.format(mlp=mlp).split())
    assert " ".join(USAGE[arguments].split()) in " ".join(done.stderr.split())


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_bad_settings_ends_it_with_2_and_is_named(mlp: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    content, told = FILES[name]
    file.write_text(content.format(mlp=mlp), "latin-1")
    done = refused("--config", str(file))
    assert " ".join(told.format(file=file).split()) in " ".join(done.stderr.split())
