"""Where a report goes, in the format that the file's suffix names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from yais.clients.exports.by_second import by_second
from yais.clients.exports.document import dumps
from yais.clients.exports.histogram_log import histogram_log
from yais.clients.exports.spectrum import spectrum
from yais.clients.report import Report

FORMATS: Mapping[str, Callable[[Report], str]] = MappingProxyType(
    {
        ".json": dumps,
        ".csv": by_second,
        ".hgrm": lambda report: spectrum(report.latency.opened()),
        ".hlog": histogram_log,
    }
)


def write(report: Report, path: Path) -> None:
    """Exits with 1 where it cannot be written."""
    try:
        path.write_text(FORMATS[path.suffix](report))
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error


class ReportFile(click.ParamType[Path]):
    """A file for a report, in a folder that is there, with one of the suffixes."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(str(value))
        if path.suffix not in FORMATS:
            self.fail(f"'{path}' ends in none of {', '.join(FORMATS)}", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"there is no folder '{path.parent}'", param, ctx)
        return path
