"""Where a report goes, in the format that the file's suffix names."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from yais.clients.reporters.document import dumps
from yais.clients.reporters.html import NamedReport, missing_libraries
from yais.clients.reporters.tabular import by_second, histogram_log, spectrum
from yais.clients.siege.search.curve import Curve
from yais.clients.stats.report import Report
from yais.clients.stats.slo import Assessment, Objective, ObjectiveError, parse_objectives

Format = Callable[[Report, Sequence[Assessment]], str]
"""Takes what the run's objectives came to as well, where there were any."""


def _page(report: Report, assessments: Sequence[Assessment]) -> str:
    # What draws it is optional, and slow to import.
    from yais.clients.reporters.html.page import page

    return page([NamedReport("", report, tuple(assessments))])


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        ".json": dumps,
        ".csv": lambda report, _: by_second(report),
        ".hgrm": lambda report, _: spectrum(report.latency.opened()),
        ".hlog": lambda report, _: histogram_log(report),
        ".html": _page,
    }
)


def write(report: Report, assessments: Sequence[Assessment], path: Path) -> None:
    """Exits with 1 where it cannot be written."""
    _write(FORMATS[path.suffix](report, assessments), path)


def write_curve(curve: Curve, path: Path) -> None:
    """As JSON. Exits with 1 where it cannot be written."""
    _write(json.dumps(curve.as_json(), indent=2), path)


def _write(text: str, path: Path) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error


class ReportFile(click.ParamType[Path]):
    """A file for a report, in a folder that is there, with one of the suffixes."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(str(value))
        if path.suffix not in FORMATS:
            self.fail(f"'{path}' ends in none of {', '.join(FORMATS)}", param, ctx)
        if path.suffix == ".html" and (reason := missing_libraries()):
            self.fail(reason, param, ctx)
        if not path.parent.is_dir():
            self.fail(f"there is no folder '{path.parent}'", param, ctx)
        return path


class ObjectivesType(click.ParamType[tuple[Objective, ...], str]):
    """The type of an option that takes objectives."""

    name = "objectives"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[Objective, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return parse_objectives(value)
        except ObjectiveError as error:
            self.fail(str(error), parameter, context)


OBJECTIVES = ObjectivesType()
