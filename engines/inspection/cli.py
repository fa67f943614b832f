"""The command `engine-inspect`."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from yais.engines.base import EngineError
from yais.engines.inspection.description import OnnxFile, PlanFile
from yais.engines.inspection.file import describe
from yais.engines.inspection.sections import Section, sections_of

EXAMPLES = """\b
Examples:
  engine-inspect model.onnx
  engine-inspect model.engine --layers
  engine-inspect model.engine --json | jq .loaded.bindings
"""


@click.command(epilog=EXAMPLES)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--layers", is_flag=True, help="The layers of a plan, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(file: Path, layers: bool, as_json: bool) -> None:
    """Prints what FILE holds, a plan or an ONNX model.

    A plan tells most where it can be loaded: by the TensorRT that built it, on a GPU of the kind that it was built for.
    Elsewhere its header is printed, and why it cannot be loaded.
    """
    try:
        described = describe(file, layers)
    except EngineError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(asdict(described), indent=2))
    else:
        show(described, Console())


def show(described: OnnxFile | PlanFile, console: Console) -> None:
    """As tables on a terminal, as columns elsewhere."""
    for section in sections_of(described):
        if console.is_terminal:
            console.print(_table(section))
        else:
            click.echo("\n".join(_columns(section)))


def _table(section: Section) -> Table:
    table = Table(title=section.title or None, title_justify="left", box=SIMPLE_HEAD, show_header=bool(section.heads))
    for head in section.heads or ("", ""):
        table.add_column(head)
    for row in section.rows:
        table.add_row(*map(Text, row))
    return table


def _columns(section: Section) -> Iterator[str]:
    if section.title:
        yield f"\n{section.title}"
    indent = "  " if section.title else ""
    rows = [section.heads, *section.rows] if section.heads else section.rows
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield (indent + "  ".join(cells)).rstrip()
