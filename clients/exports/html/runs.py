"""What a page shows."""

from dataclasses import dataclass

from yais.clients.stats.report import Report
from yais.clients.stats.slo import Assessment


@dataclass(frozen=True, slots=True)
class Run:
    """A report, under the name that tells it from others of the page, and the objectives it was held against."""

    name: str
    report: Report
    assessments: tuple[Assessment, ...] = ()
