"""Parts of the reference that are generated from the code: settings, command lines, the schema of siege's report."""

import json
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import click
import msgspec
from click.testing import CliRunner

from yais.clients.reporters.document import SCHEMA
from yais.clients.stats.report import Report
from yais.server.cli import main as server

COMMANDS = (
    "inference-grpc",
    "engine-build",
    "engine-inspect",
    "client-sync",
    "client-async",
    "siege",
    "siege report",
    "siege compare",
    "siege plot",
    "siege chaos",
    "siege chaos proxy",
)


def settings() -> str:
    """A table with a row for each flag of the server."""
    context = click.Context(server, info_name="inference-grpc", **server.context_settings)
    options = [option for option in server.params if isinstance(option, click.Option) and option.name != "version"]
    rows = [_setting(option, context) for option in options]
    return "\n".join(["| flag, variable | takes | default | meaning |", "| --- | --- | --- | --- |", *rows])


def _setting(option: click.Option, context: click.Context) -> str:
    extra = option.get_help_extra(context)
    # Where a default depends on other settings, the help says it in words.
    text, _, computed = (option.help or "").partition("  [default: ")
    default = computed.rstrip("]") or extra.get("default", "").strip("()") or ("required" if option.required else "")
    metavar = option.make_metavar(context).lower().replace(" range", "")
    bounds = extra.get("range", "").replace("<=x<=", " to ")
    flag, variable = option.opts[0], f"YAIS_{str(option.name).upper()}"
    cells = (f"`{flag}`<br>`{variable}`", f"{metavar} {bounds}".strip(), default, text)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def command_lines() -> str:
    """The help of each command, as it prints it, under a heading of its own."""
    return "\n".join(f"## {name}\n\n```text\n{_help(name)}```\n" for name in COMMANDS)


def _help(command: str) -> str:
    name, *subcommands = command.split()
    [program] = entry_points(group="console_scripts", name=name)
    return CliRunner().invoke(program.load(), [*subcommands, "--help"], prog_name=name, catch_exceptions=False).output


def report_schema() -> str:
    """JSON Schema of the part of siege's report that is read back."""
    schema: dict[str, Any] = {"title": SCHEMA, **msgspec.json.schema(Report)}
    return f"```json\n{json.dumps(schema, indent=2)}\n```"


GENERATED: dict[str, Callable[[], str]] = {
    "settings": settings,
    "command lines": command_lines,
    "report schema": report_schema,
}
