"""Page of plots and tables, in HTML; Bokeh and Jinja2, which draw it, come with yais[plot]."""

from dataclasses import dataclass
from importlib.util import find_spec

from yais.clients.stats.report import Report
from yais.clients.stats.slo import Assessment

_NEEDED = ("bokeh", "jinja2")


def missing_libraries() -> str | None:
    """The error for whoever wants a page and has not installed what draws it; None where it is installed."""
    if all(find_spec(module) for module in _NEEDED):
        return None
    return "a page needs Bokeh: pip install 'yais[plot]'"


@dataclass(frozen=True, slots=True)
class NamedReport:
    """A report, under the name that tells it from others of the page, and the objectives it was held against."""

    name: str
    report: Report
    assessments: tuple[Assessment, ...] = ()
