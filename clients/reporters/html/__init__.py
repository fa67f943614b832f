"""Page of plots and tables, in HTML; Bokeh and Jinja2, which draw it, come with yais[plot]."""

from dataclasses import dataclass
from importlib.util import find_spec

from yais.clients.stats.report import Report
from yais.clients.stats.slo import Assessment

_NEEDED = ("bokeh", "jinja2")


def missing_libraries() -> str | None:
    """The error where a page is asked for and what draws it is not installed; None where it is."""
    if all(find_spec(module) for module in _NEEDED):
        return None
    return "a page needs Bokeh: pip install 'yais[plot]'"


@dataclass(frozen=True, slots=True)
class NamedReport:
    """A report, under the name that it has on the page, and the objectives that it is assessed by."""

    name: str
    report: Report
    assessments: tuple[Assessment, ...] = ()
