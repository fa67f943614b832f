"""Parts of the reference that are generated from the code: settings, command lines, the schema of siege's report."""

import json
from collections.abc import Callable
from typing import Any

import click
import msgspec
from click.testing import CliRunner

from yais.clients.async_cli import main as client_async
from yais.clients.reporters.document import SCHEMA
from yais.clients.siege.cli import main as siege
from yais.clients.stats.report import Report
from yais.clients.sync_cli import main as client_sync
from yais.engines.builder.cli import main as engine_build
from yais.engines.inspection.cli import main as engine_inspect
from yais.server.cli import main as server

COMMANDS: dict[str, click.Command] = {
    "inference-grpc": server,
    "engine-build": engine_build,
    "engine-inspect": engine_inspect,
    "client-sync": client_sync,
    "client-async": client_async,
    "siege": siege,
    **{f"siege {name}": siege for name in ("report", "compare", "plot", "chaos", "chaos proxy")},
}


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
    names = f"`{option.opts[0]}`"
    if option.allow_from_autoenv:
        names += f"<br>`YAIS_{str(option.name).upper()}`"
    cells = (names, f"{metavar} {bounds}".strip(), default, text)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def command_lines() -> str:
    """The help of each command, as it prints it, under a heading of its own."""
    return "\n".join(f"## {name}\n\n```text\n{_help(name)}```\n" for name in COMMANDS)


def _help(command: str) -> str:
    name, *subcommands = command.split()
    arguments = [*subcommands, "--help"]
    return CliRunner().invoke(COMMANDS[command], arguments, prog_name=name, catch_exceptions=False).output


def report_schema() -> str:
    """JSON Schema of the part of siege's report that is read back."""
    schema: dict[str, Any] = {"title": SCHEMA, **msgspec.json.schema(Report)}
    return f"```json\n{json.dumps(schema, indent=2)}\n```"


GENERATED: dict[str, Callable[[], str]] = {
    "settings": settings,
    "command lines": command_lines,
    "report schema": report_schema,
}
