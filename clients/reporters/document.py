"""JSON document of a report, which says what it is, and back again without loss."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from yais.clients.stats.histogram import QUANTILES
from yais.clients.stats.report import Distribution, Report
from yais.clients.stats.slo import Assessment, objectives_met
from yais.clients.stats.verdict import judge

# Changes when an older siege could no longer read a report, or would read it wrongly.
SCHEMA = "yais.siege/3"


def write(report: Report, path: Path) -> None:
    path.write_text(dumps(report))


def read(path: Path) -> Report:
    """Raises OSError for a file that cannot be read, ValueError for one that holds no report."""
    try:
        return loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def dumps(report: Report, assessments: Sequence[Assessment] = ()) -> str:
    """Verdict and objectives are there for who does not have siege; they follow from the rest."""
    judged = {
        "verdict": asdict(judge(report, objectives_met(assessments))),
        "objectives": [each.as_json() for each in assessments],
    }
    document = {"schema": SCHEMA, **judged, **asdict(report)}
    # JSON has no NaN and no infinity; Python would write them all the same.
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def loads(text: str) -> Report:
    """Raises ValueError, with what is wrong, for anything but a whole report of this schema whose counts add up."""
    # The schema alone, first: a report of another one is not damaged, and its other fields may be anything.
    try:
        schema = msgspec.json.decode(text, type=_Head).schema
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"no report: it is not a JSON object ({error})") from error
    if schema != SCHEMA:
        raise ValueError(f"no report that can be read here: its schema is {schema!r}, not {SCHEMA!r}")
    try:
        report = msgspec.json.decode(text, type=Report)
        # Figures must not contradict each other: a report may have been edited, or cut and joined.
        for kind in report.kinds:
            kind.counts.check()
            _check_percentiles(kind.latency)
        for interval in report.intervals:
            _check_percentiles(interval.latency)
        report.counts.check()
        counts = {"latency": report.counts.completed, "service": report.counts.completed, "lag": report.counts.sent}
        for name, count in counts.items():
            distribution: Distribution = getattr(report, name)
            _check_percentiles(distribution)
            if distribution.opened().total != count:
                raise ValueError(f"{name} is that of {distribution.opened().total} requests, not of {count}")
    except ValueError as error:
        raise ValueError(f"a damaged report: {error}") from error
    return report


@dataclass(frozen=True, slots=True)
class _Head:
    schema: str | None = None


def _check_percentiles(distribution: Distribution) -> None:
    if distribution.ms and distribution.ms.keys() != QUANTILES.keys():
        raise ValueError(f"the percentiles are {', '.join(distribution.ms)}, not {', '.join(QUANTILES)}")
