import re

import click
import pytest
from click.testing import CliRunner

from yais.clients import async_cli, sync_cli
from yais.clients.command import ClientCommand, option_group
from yais.clients.siege import cli
from yais.version import commit, version_text

option = option_group("Sweets")


@click.command(cls=ClientCommand)
@click.option("--plain")
@option("--sugar", help="Sweet.")
@option_group("Spices")("--pepper", hidden=True)
@option("--honey")
def command(plain: str | None, sugar: str | None, pepper: str | None, honey: str | None) -> None:
    raise KeyboardInterrupt


def test_options_stand_below_their_group_and_the_others_last() -> None:
    text = CliRunner().invoke(command, ["--help"]).stdout
    assert re.findall(r"^(\w+:|  --\w+)", text, re.MULTILINE) == (
        ["Usage:", "Sweets:", "  --sugar", "  --honey", "Options:", "  --plain", "  --version", "  --help"]
    )


def test_every_group_of_siege_is_shown() -> None:
    text = CliRunner().invoke(cli.main, ["--help"]).stdout
    groups = re.findall(r"^([A-Z][\w ]+):$", text, re.MULTILINE)
    assert groups == [
        *("Server", "Model and inputs", "Right answers", "Schedule", "Sending", "Verdict", "Output", "Options")
    ]


def test_ctrl_c_ends_a_command_with_130() -> None:
    assert CliRunner().invoke(command).exit_code == 130


@pytest.mark.parametrize(
    ("main", "arguments", "name"),
    [
        (sync_cli.main, [], "client-sync"),
        (async_cli.main, [], "client-async"),
        (cli.main, [], "siege"),
        *((cli.main, [name], f"siege {name}") for name in ("chaos", "compare", "plot", "report")),
        (cli.main, ["chaos", "proxy"], "siege chaos proxy"),
    ],
)
def test_every_command_says_its_version(main: click.Command, arguments: list[str], name: str) -> None:
    result = CliRunner().invoke(main, [*arguments, "--version"], prog_name=name.partition(" ")[0])
    assert (result.exit_code, result.stdout) == (0, f"{name}, version {version_text()}\n")


def test_the_version_has_the_commit_of_a_checkout() -> None:
    known = commit()
    assert version_text() == ("0.1.0" if known is None else f"0.1.0 (commit {known})")
    assert known is None or re.fullmatch("[0-9a-f]{12}", known)
