"""Version of YAIS, and the commit that it was made from."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import click

from yais import __version__

# Written by setup.py into what it builds from a checkout.
_BUILT_FROM = Path(__file__).with_name("commit.txt")
_CHECKOUT = Path(__file__).resolve().parents[2]


@cache
def commit() -> str | None:
    """The commit, abbreviated, that was built, or that is checked out where this runs; None where neither is known."""
    if _BUILT_FROM.is_file():
        return _BUILT_FROM.read_text().strip()
    # Not what an unrelated repository around an installation has checked out.
    if not (_CHECKOUT / ".git").exists():
        return None
    command = ["git", "-C", str(_CHECKOUT), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def version_text() -> str:
    """As in `0.1.0 (commit 0388b2d4ac12)`, or just the version where the commit is not known."""
    known = commit()
    return f"{__version__} (commit {known})" if known else __version__


def version_option(command: Any) -> Any:
    """Decorator that gives a click command `--version`."""
    # click's own takes a text, for which git would be asked at every import.
    return click.option(
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        allow_from_autoenv=False,
        callback=_print_version,
        help="Show the version and exit.",
    )(command)


def _print_version(ctx: click.Context, option: click.Parameter, is_asked: bool) -> None:
    if is_asked and not ctx.resilient_parsing:
        click.echo(f"{ctx.info_name}, version {version_text()}")
        ctx.exit()
