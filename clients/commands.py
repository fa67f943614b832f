"""How every command begins and ends."""

import sys
from typing import NoReturn

import click

from yais.clients.errors import InferenceError
from yais.clients.options import Common
from yais.clients.rendering import render
from yais.clients.report import Report
from yais.clients.workload import Workload, prepare


def begin(options: Common) -> Workload:
    """Says what will be called. Exits with 1 when the server does not answer, with 2 for options that do not fit it."""
    try:
        workload = prepare(options)
        workload.request()
    except InferenceError as error:
        raise click.ClickException(f"{options.target}: {error}") from error
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"{options.target} {workload}")
    return workload


def end(report: Report) -> NoReturn:
    """Prints the report; exits with 0 only when all that was offered was answered."""
    click.echo(render(report))
    sys.exit(0 if report.clean else 1)
