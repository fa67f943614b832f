"""A report as a JSON document that says what it is, and back again without loss."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from yais.clients.histogram import QUANTILES
from yais.clients.outcomes import Counts
from yais.clients.report import Distribution, Facts, Failure, Interval, Kind, Report
from yais.clients.siege.verdicts.verdict import judge

SCHEMA = "yais.siege/1"

Json = Mapping[str, Any]


def write(report: Report, path: Path) -> None:
    path.write_text(dumps(report))


def read(path: Path) -> Report:
    """Raises OSError for a file that cannot be read, ValueError for one that holds no report."""
    try:
        return loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def dumps(report: Report) -> str:
    """With sorted keys. The verdict is there for who does not have siege; it follows from the rest."""
    document = {"schema": SCHEMA, "verdict": asdict(judge(report)), **asdict(report)}
    return json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n"


def loads(text: str) -> Report:
    """Raises ValueError, with what is wrong, for anything but a whole report of this schema whose counts add up."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"no report: it is not JSON ({error})") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"no report that can be read here: its schema is {schema!r}, not {SCHEMA!r}")
    try:
        report = _report(document)
        for counts in (report.counts, *(kind.counts for kind in report.kinds)):
            counts.check()
        for distribution in (report.latency, report.service, report.lag):
            distribution.opened()
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"a damaged report: {type(error).__name__}: {error}") from error
    return report


def _report(document: Json) -> Report:
    plain = ("statuses", "warm_up", "scheduled", "elapsed", "rate_sent", "rate_answered")
    return Report(
        facts=_facts(document["facts"]),
        counts=Counts(**document["counts"]),
        failures=tuple(Failure(**failure) for failure in document["failures"]),
        latency=_distribution(document["latency"]),
        service=_distribution(document["service"]),
        lag=_distribution(document["lag"]),
        intervals=tuple(Interval(**_parts(interval)) for interval in document["intervals"]),
        kinds=tuple(Kind(**_parts(kind)) for kind in document["kinds"]),
        **{name: document[name] for name in plain},
    )


def _facts(document: Json) -> Facts:
    return Facts(**{**document, "kinds": tuple(document["kinds"]), "cpu": tuple(document["cpu"])})


def _distribution(document: Json) -> Distribution:
    """With the percentiles in their own order again."""
    ms = {name: document["ms"][name] for name in QUANTILES if name in document["ms"]}
    return Distribution(**{**document, "ms": ms})


def _parts(document: Json) -> dict[str, Any]:
    return {**document, "counts": Counts(**document["counts"]), "latency": _distribution(document["latency"])}
