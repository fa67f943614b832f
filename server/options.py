"""Types of settings as they are written on the command line, in the environment and in a TOML file."""

import re
import tomllib
from pathlib import Path
from typing import Any

import click

from yais.server.setting_sources import FILE, is_setting, suggest

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


class Duration(click.ParamType[float]):
    """A length of time such as `500us`, `2ms` or `30s`, as seconds; a bare number is in `unit`."""

    name = "duration"

    def __init__(self, unit: str, maximum: float) -> None:
        self._unit = unit
        self._maximum = maximum

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m)?", str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration; write a number and one of {', '.join(_SECONDS)}", param, ctx)
        seconds = float(match[1]) * _SECONDS[match[2] or self._unit]
        if seconds > self._maximum:
            self.fail(f"{value} is more than {self._maximum:g}s", param, ctx)
        return seconds


class ByteSize(click.ParamType[int]):
    """A number of bytes such as `1048576`, `64M` or `64MiB`."""

    name = "bytes"

    def __init__(self, minimum: int, maximum: int) -> None:
        self._minimum = minimum
        self._maximum = maximum

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d{1,15})\s*([KMG]i?|)B?", str(value))
        if match is None:
            self.fail(f"{value!r} is not a size; write a number and one of K, M, G, Ki, Mi, Gi", param, ctx)
        size = int(match[1]) * _BYTES[match[2]]
        if not self._minimum <= size <= self._maximum:
            self.fail(f"{value} is not between {self._minimum} and {self._maximum} bytes", param, ctx)
        return size


class IntegerList(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between them."""

    name = "n[,n]..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        texts = str(value).split(",")
        if not all(re.fullmatch(r"\s*\d{1,4}\s*", text) for text in texts):
            self.fail(f"{value!r} is not a list of numbers such as 0,1", param, ctx)
        return tuple(map(int, texts))


def read_toml(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Makes a file's settings the defaults of the command's flags, which the environment and the command line override.

    Keys are the flags' names, with hyphens or underscores; any other is an error.
    """
    if value is None:
        return None
    ctx.meta[FILE] = value
    try:
        settings = tomllib.loads(value.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.BadParameter(f"cannot read '{value}': {error}", ctx, param) from error
    flags = {flag.name: flag for flag in ctx.command.params if is_setting(flag)}
    # Sorted, so that which of two errors is reported does not depend on the file's order.
    defaults = {}
    for key, setting in sorted(settings.items()):
        flag = flags.get(key.replace("-", "_"))
        if flag is None:
            near = suggest(key.replace("_", "-"), {str(name).replace("_", "-") for name in flags})
            raise click.BadParameter(f"'{value}' sets '{key}', which is no flag of this command{near}", ctx, param)
        if flag.name in defaults:
            raise click.BadParameter(f"'{value}' sets '{key}' twice", ctx, param)
        defaults[flag.name] = _as_written(flag, setting, ctx)
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    return value


def _as_written(flag: click.Option, setting: Any, ctx: click.Context) -> str | list[str | dict[str, Any]]:
    """A TOML value as it would stand on the command line, so that one set of checks serves both.

    Where a flag is repeatable, its type may also take tables.
    """
    if flag.multiple:
        values = setting if isinstance(setting, list) else [setting]
        if not all(isinstance(value, str | dict) for value in values):
            raise click.BadParameter(f"{setting!r} is not a list of strings", ctx, flag)
        return values
    # In Python a bool is a number, too, but `--port true` is none.
    if isinstance(setting, bool) and flag.type is click.BOOL:
        return str(setting)
    if isinstance(setting, bool) or not isinstance(setting, str | int | float):
        raise click.BadParameter(f"{setting!r} is neither a string nor a number", ctx, flag)
    return str(setting)
