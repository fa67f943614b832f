"""Sources of a command's settings: errors name them, and `--print-config` writes them beside the values."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeGuard

import click
from click.core import ParameterSource

from yais.version import version_text

# Keys of a context's `meta`: the arguments of the command line, and the file whose settings are defaults.
_ARGUMENTS = "yais.arguments"
FILE = "yais.file"

_FLAG = re.compile(r"--([a-z-]+)")
# The end of a help text that says what holds where nothing is set.
_STATED_DEFAULT = re.compile(r"\[default: (.*)\]$")


class SettingsCommand(click.Command):
    """A command whose errors say where a setting was set, unless that was on the command line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.BadParameter as error:
            if error.param is not None and error.param_hint is None:
                source = _remote_source(ctx, error.param)
                error.param_hint = error.param.get_error_hint(ctx) + (f" ({source})" if source else "")
            raise


def is_setting(option: click.Parameter) -> TypeGuard[click.Option]:
    """Whether `option` has a value that a file can set; flags without one do something once."""
    return isinstance(option, click.Option) and option.expose_value and not option.is_flag


def name_sources(message: str, ctx: click.Context) -> str:
    """`message` with the sources of all flags that it names, unless they are from the command line."""
    options = {option.name: option for option in ctx.command.params}
    named = dict.fromkeys(flag for flag in _FLAG.findall(message) if flag.replace("-", "_") in options)
    sources = {flag: _remote_source(ctx, options[flag.replace("-", "_")]) for flag in named}
    told = [f"--{flag} is set by {source}" for flag, source in sources.items() if source]
    return f"{message} ({'; '.join(told)})" if told else message


def unknown_variables(ctx: click.Context) -> list[str]:
    """Variables of the environment that have the command's prefix and are no setting, each with the nearest that is."""
    prefix = f"{ctx.auto_envvar_prefix}_"
    options = (option for option in ctx.command.params if isinstance(option, click.Option))
    known = {str(option.name).upper() for option in options if option.allow_from_autoenv}
    present = sorted(name.removeprefix(prefix) for name in os.environ if name.startswith(prefix))
    return [f"{prefix}{name}{suggest(name, known, prefix)}" for name in present if name not in known]


def suggest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """As in " (did you mean port?)", or nothing if no name is near."""
    nearest = get_close_matches(name, sorted(known), n=1)
    return f" (did you mean {prefix}{nearest[0]}?)" if nearest else ""


def settings_as_toml(ctx: click.Context) -> str:
    """All settings of a command that was parsed, as a file that `--config` reads, each with its source."""
    options, _, _ = ctx.command.make_parser(ctx).parse_args(list(ctx.meta[_ARGUMENTS]))
    lines = [f"# {ctx.command.name}, YAIS {version_text()}"]
    for option in ctx.command.params:
        if not is_setting(option):
            continue
        key = str(option.name).replace("_", "-")
        if ctx.params[str(option.name)] is None:
            stated = _STATED_DEFAULT.search(option.help or "")
            lines.append(f"# {key} is not set" + (f"; default: {stated[1]}" if stated else ""))
            continue
        # As it was written, so that reading it again is subject to the same checks and gives the same.
        value, _ = option.consume_value(ctx, options)
        if isinstance(option.type, click.IntRange) or option.type is click.BOOL:
            value = ctx.params[str(option.name)]
        lines.append(f"{key} = {_toml(value)}  # {_origin(ctx, option)}")
    return "\n".join(lines)


def _remote_source(ctx: click.Context, option: click.Parameter) -> str:
    """The variable, or the file and key, that `option` is set by; nothing for the command line and for defaults."""
    source = ctx.get_parameter_source(str(option.name))
    if source is ParameterSource.ENVIRONMENT:
        return _origin(ctx, option)
    # Before all else is parsed, a file's values are checked while it is read.
    if source is ParameterSource.DEFAULT_MAP or (source is None and FILE in ctx.meta):
        return f"key '{str(option.name).replace('_', '-')}' of file '{ctx.meta[FILE]}'"
    return ""


def _origin(ctx: click.Context, option: click.Parameter) -> str:
    match ctx.get_parameter_source(str(option.name)):
        case ParameterSource.COMMANDLINE:
            return "command line"
        case ParameterSource.ENVIRONMENT:
            return f"environment variable {ctx.auto_envvar_prefix}_{str(option.name).upper()}"
        case ParameterSource.DEFAULT_MAP:
            return f"file {str(ctx.meta[FILE])!r}"
    return "default"


def _toml(value: Any) -> str:
    match value:
        case bool() | int() | float():
            return str(value).lower()
        case Mapping():
            return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
    # A JSON string is one of TOML, which does not allow this one character.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
