"""`siege report`: a saved report, once more."""

from pathlib import Path

import click

from yais.clients.options import FILE
from yais.clients.reporters import document
from yais.clients.reporters.html import missing_libraries
from yais.clients.reporters.text import render
from yais.clients.siege.files import FORMATS
from yais.clients.stats.verdict import judge

EXAMPLES = """\b
Examples:
  siege report run.json
  siege report run.json --format hgrm > run.hgrm
  siege report run.json --format html > run.html
"""


@click.command(epilog=EXAMPLES)
@click.argument("file", type=FILE)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", *(suffix.removeprefix(".") for suffix in FORMATS)]),
    default="text",
    show_default=True,
    help="Text for people; json; csv by second; hgrm, the percentiles; hlog, HdrHistogram's log; html, a page.",
)
def main(file: Path, form: str) -> None:
    """Prints what siege --report wrote to FILE, a .json file. Exits with 1 when that holds no report."""
    if form == "html" and (reason := missing_libraries()):
        raise click.UsageError(f"--format html: {reason}")
    try:
        report = document.read(file)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(render(report, judge(report)) if form == "text" else FORMATS[f".{form}"](report, ()), nl=form == "text")
