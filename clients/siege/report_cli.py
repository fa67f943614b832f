"""`siege report` and `siege plot`: saved reports once more; and the files that reports are written to."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, TextIO

import click

from yais.clients.command import ClientCommand
from yais.clients.options import FILE, Parsed
from yais.clients.outputs import OutputFile, write_error, write_file
from yais.clients.reporters import document
from yais.clients.reporters.document import dumps
from yais.clients.reporters.html import NamedReport, missing_libraries
from yais.clients.reporters.tabular import by_second, histogram_log, spectrum
from yais.clients.reporters.text import render
from yais.clients.siege.search import Curve
from yais.clients.stats.report import Report
from yais.clients.stats.slo import Assessment, Objective, assess, parse_objectives
from yais.clients.stats.verdict import judge

_REPORT_EXAMPLES = """\b
Examples:
  siege report run.json
  siege report run.json --format hgrm > run.hgrm
  siege report run.json --format html > run.html
"""

_PLOT_EXAMPLES = """\b
Examples:
  siege plot run.json
  siege plot before.json after.json --output both.html
  siege plot a.json b.json --name onnxruntime --name tensorrt --slo "p99<20ms"
"""

Format = Callable[[Report, Sequence[Assessment]], str]
"""Takes what the run's objectives came to as well, where there were any."""


def _render_page(report: Report, assessments: Sequence[Assessment]) -> str:
    # What draws it is optional, and slow to import.
    from yais.clients.reporters.html.page import page

    return page([NamedReport("", report, tuple(assessments))])


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        ".json": dumps,
        ".csv": lambda report, _: by_second(report),
        ".hgrm": lambda report, _: spectrum(report.latency.opened()),
        ".hlog": lambda report, _: histogram_log(report),
        ".html": _render_page,
    }
)


@click.command(cls=ClientCommand, epilog=_REPORT_EXAMPLES)
@click.argument("file", type=FILE)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", *(suffix.removeprefix(".") for suffix in FORMATS)]),
    default="text",
    show_default=True,
    help="Text for people; json; csv by second; hgrm, the percentiles; hlog, HdrHistogram's log; html, a page.",
)
def report(file: Path, form: str) -> None:
    """Prints what siege --report wrote to FILE, a .json file. Exits with 1 when that holds no report."""
    if form == "html" and (reason := missing_libraries()):
        raise click.UsageError(f"--format html: {reason}")
    saved = _read_report(file)
    click.echo(render(saved, judge(saved)) if form == "text" else FORMATS[f".{form}"](saved, ()), nl=form == "text")


OBJECTIVES = Parsed("objectives", parse_objectives)


@click.command(cls=ClientCommand, epilog=_PLOT_EXAMPLES)
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option(
    "--output",
    # Lazy: the file is opened, and an old one overwritten, only after all reports have been read.
    type=click.File("w", encoding="ascii", lazy=True),
    default="plot.html",
    show_default=True,
    help="Where the page goes; - for the standard output.",
)
@click.option("--name", "names", multiple=True, help="What to call each run; by default as its file (repeatable).")
@click.option("--slo", type=OBJECTIVES, help='Objectives to hold each run against: "p99<20ms, errors<0.1%".')
def plot(files: tuple[Path, ...], output: TextIO, names: tuple[str, ...], slo: tuple[Objective, ...] | None) -> None:
    """Draws what siege --report wrote to FILES, .json files, over each other in one page of HTML.

    It is one file, which needs no network. Exits with 1 when a file holds no report.
    """
    if absent := missing_libraries():
        raise click.UsageError(absent)
    if names and len(names) != len(files):
        raise click.UsageError(f"--name: there are {len(names)} for {len(files)} files")
    # Bokeh takes half a second to import, and is not always there.
    from yais.clients.reporters.html.page import page

    # With their folders where they would be the same without.
    known = Counter(file.name for file in files)
    shown = names or [file.name if known[file.name] == 1 else str(file) for file in files]
    reports = [_read_report(file) for file in files]
    output.write(page([NamedReport(n, r, assess(slo or (), r)) for n, r in zip(shown, reports, strict=True)]))


def write_reports(report: Report, assessments: Sequence[Assessment], paths: Iterable[Path]) -> list[str]:
    """Why any of them could not be written."""
    # Every text is made before the first file is replaced.
    return _write({path: FORMATS[path.suffix](report, assessments) for path in paths})


def write_curves(curve: Curve, paths: Iterable[Path]) -> list[str]:
    """As JSON; why any of them could not be written."""
    return _write(dict.fromkeys(paths, json.dumps(curve.as_json(), indent=2)))


class ReportFile(OutputFile):
    """A file for a report, which can be written, with one of the suffixes."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(str(value))
        if path.suffix not in FORMATS:
            self.fail(f"'{path}' does not end in one of {', '.join(FORMATS)}", param, ctx)
        # Checked now, since after the run it would be too late to install anything.
        if path.suffix == ".html" and (reason := missing_libraries()):
            self.fail(reason, param, ctx)
        return super().convert(value, param, ctx)


def _read_report(file: Path) -> Report:
    try:
        return document.read(file)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error


def _write(texts: Mapping[Path, str]) -> list[str]:
    problems = []
    for path, text in texts.items():
        try:
            write_file(path, partial(_put, text.encode()))
        except OSError as error:
            problems.append(write_error("--report", path, error))
    return problems


def _put(data: bytes, file: BinaryIO) -> None:
    file.write(data)
