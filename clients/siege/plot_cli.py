"""`siege plot`: saved reports as one page of plots."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click

from yais.clients.options import FILE
from yais.clients.reporters import document
from yais.clients.reporters.html import NamedReport, missing_libraries
from yais.clients.siege.files import OBJECTIVES
from yais.clients.stats.report import Report
from yais.clients.stats.slo import Objective, assess

EXAMPLES = """\b
Examples:
  siege plot run.json
  siege plot before.json after.json --output both.html
  siege plot a.json b.json --name onnxruntime --name tensorrt --slo "p99<20ms"
"""


@click.command(epilog=EXAMPLES)
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option(
    "--output",
    type=click.File("w", encoding="ascii", lazy=True),
    default="plot.html",
    show_default=True,
    help="Where the page goes; - for the standard output.",
)
@click.option("--name", "names", multiple=True, help="What to call each run; by default as its file (repeatable).")
@click.option("--slo", type=OBJECTIVES, help='Objectives to hold each run against: "p99<20ms, errors<0.1%".')
def main(files: tuple[Path, ...], output: TextIO, names: tuple[str, ...], slo: tuple[Objective, ...] | None) -> None:
    """Draws what siege --report wrote to FILES, .json files, over each other in one page of HTML.

    It is one file, which needs no network. Exits with 1 when a file holds no report.
    """
    if absent := missing_libraries():
        raise click.UsageError(absent)
    if names and len(names) != len(files):
        raise click.UsageError(f"--name: there are {len(names)} for {len(files)} files")
    # Bokeh takes half a second to import, and is not always there.
    from yais.clients.reporters.html.page import page

    reports = [_read(file) for file in files]
    runs = [
        NamedReport(*named, assess(slo or (), named[1])) for named in zip(names or _names(files), reports, strict=True)
    ]
    text = page(runs)
    output.write(text)


def _read(file: Path) -> Report:
    try:
        return document.read(file)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error


def _names(files: Sequence[Path]) -> list[str]:
    """With their folders where they would be the same without."""
    known = Counter(file.name for file in files)
    return [file.name if known[file.name] == 1 else str(file) for file in files]
