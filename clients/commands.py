"""How every command begins and ends."""

import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import NoReturn

import click

from yais import __version__
from yais.clients.options import Common
from yais.clients.reporters.text import render
from yais.clients.stats.report import Report, RunInfo
from yais.clients.stats.slo import Assessment
from yais.clients.stats.verdict import Verdict, exit_code


def facts(options: Common) -> RunInfo:
    """What is known of a run that begins now."""
    return RunInfo(
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        target=options.target,
        seed=options.seed,
        started=datetime.now(UTC).isoformat(timespec="milliseconds"),
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("grpcio", "numpy")}
    return {"yais": __version__, **packages, "python": python_version()}


def end(report: Report, verdict: Verdict | None = None, assessments: Sequence[Assessment] = ()) -> NoReturn:
    """Prints the report, and exits as it says; with 0 only when all that was offered was answered.

    Where there are objectives, they decide of a valid run.
    """
    click.echo("\n".join([render(report, verdict), *map(str, assessments)]))
    is_met = all(each.kept for each in assessments) if assessments else None
    sys.exit(exit_code(report, verdict, is_met))
