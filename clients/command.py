"""Command of click's as all clients use it: options in groups, `--version`, and ends without a traceback."""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

import click

from yais.version import version_option

Decorated = TypeVar("Decorated", bound=Callable[..., Any] | click.Command)

_WIDTH = 100
# 128 + SIGINT, as shells report it; click itself would exit with 1.
_INTERRUPTED = 130
# Whoever writes to the standard output can do nothing about these.
_OUTPUT_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class GroupedOption(click.Option):
    """An option that --help shows under the title of its group."""

    def __init__(self, *arguments: Any, group: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.group = group


class OptionDecorator(Protocol):
    """What `click.option` is."""

    def __call__(self, *names: str, **settings: Any) -> Callable[[Decorated], Decorated]: ...


def option_group(title: str) -> OptionDecorator:
    """Takes the place of `click.option` for the options of a group."""
    return partial(click.option, cls=GroupedOption, group=title)


class ClientCommand(click.Command):
    """A command with `--version`, whose options stand in their groups.

    Ctrl-C ends it with 130, a full disk below the standard output with 1 and one line.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        # Where nothing is set, click's help is at most 80 columns wide.
        self.context_settings.setdefault("max_content_width", _WIDTH)
        version_option(self)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "group", "Options"), []).append(record)
        # What belongs to no group comes last.
        for title in sorted(groups, key=lambda title: title == "Options"):
            with formatter.section(title):
                formatter.write_dl(groups[title])

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]
        try:
            return super().main(args, prog_name, **extra)
        except OSError as error:
            # A closed pipe (EPIPE) never comes here: click ends the command for it.
            if error.errno not in _OUTPUT_ERRNOS:
                raise
            click.echo(f"Error: cannot write the output: {error.strerror}", err=True)
            _discard_output()
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)


def _discard_output() -> None:
    """Sends what is still buffered nowhere: flushed when the interpreter ends, it would fail again, with 120."""
    # Of a stream without a descriptor, as in tests, nothing is flushed then. Its error is an OSError as well.
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
