import click
import pytest
from click.testing import CliRunner

from yais.engines.builder import cli as builder
from yais.engines.inspection import cli as inspection
from yais.version import version_text


@pytest.mark.parametrize(
    ("command", "name"), [(builder.main, "engine-build"), (inspection.main, "engine-inspect")], ids=["build", "inspect"]
)
def test_a_command_tells_the_version_and_the_commit(command: click.Command, name: str) -> None:
    result = CliRunner().invoke(command, ["--version"])
    assert (result.exit_code, result.output) == (0, f"{name}, version {version_text()}\n")
