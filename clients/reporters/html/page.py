"""Page of HTML that is one file: its library, style and data are in it, and nothing else is asked for."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Self

from bokeh.embed import components
from bokeh.model import Model
from bokeh.resources import Resources
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from yais.clients.reporters.html import NamedReport
from yais.clients.reporters.html.bokeh import draw
from yais.clients.reporters.html.plots import Plot, plots
from yais.clients.reporters.html.tables import tables
from yais.clients.reporters.text import verdict_lines
from yais.clients.stats.histogram import milliseconds
from yais.clients.stats.slo import Assessment, objectives_met
from yais.clients.stats.verdict import Result, judge

_PACKAGE = "yais.clients.reporters.html"


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """A figure under its name."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """`sentence` begins with the `result` in capitals."""

    name: str
    result: Result
    sentence: str
    reasons: tuple[str, ...]
    assessments: tuple[Assessment, ...]
    figures: tuple[KeyFigure, ...]

    @classmethod
    def of(cls, run: NamedReport) -> Self:
        verdict = judge(run.report, objectives_met(run.assessments))
        sentence, *reasons = verdict_lines(verdict)
        latency, counts = run.report.latency, run.report.counts
        # Latency has no percentiles where nothing completed.
        percentiles = (KeyFigure(name, f"{milliseconds(latency.ms[name])} ms") for name in ("p50", "p99") if latency.ms)
        return cls(
            name=run.name,
            result=verdict.result,
            sentence=sentence,
            reasons=tuple(map(str.strip, reasons)),
            assessments=run.assessments,
            figures=(
                KeyFigure("answered", f"{run.report.rate_answered:,.1f}/s"),
                *percentiles,
                KeyFigure("failed", f"{counts.failed:,}"),
                KeyFigure("dropped", f"{counts.dropped:,}"),
            ),
        )


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot, and the element that it is drawn in; None where there is nothing to draw."""

    plot: Plot
    element: Markup | None


def page(runs: Sequence[NamedReport]) -> str:
    """All that a browser needs to show them, in ASCII, so that it is the same in any encoding.

    What comes from a report is escaped; were it not, it could neither run a script nor ask for anything: the page's
    policy names its own scripts by their digests.
    """
    figures, scripts = _figures(plots(runs))
    # A Content-Security-Policy: a script in the page runs only if its digest is listed.
    digests = (base64.b64encode(hashlib.sha256(script.encode("ascii")).digest()).decode("ascii") for script in scripts)
    sources = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    policy = (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=PackageLoader(_PACKAGE, ""),
        autoescape=True,
        # A name that a template gets wrong is an error, not an empty text.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html").render(
        title=f"siege: {', '.join(run.name or run.report.info.target for run in runs)}",
        policy=policy,
        style=Markup(files(_PACKAGE).joinpath("style.css").read_text("ascii")),
        scripts=[Markup(script) for script in scripts],
        summaries=[RunSummary.of(run) for run in runs],
        tables=tables(runs),
        figures=figures,
    )
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _figures(shown: Sequence[Plot]) -> tuple[list[Figure], list[str]]:
    """With the scripts that draw them: none where nothing is to be drawn."""
    drawn = {plot.name: plot for plot in shown if plot.lines}
    if not drawn:
        return [Figure(plot, None) for plot in shown], []
    figures: dict[str, Model] = dict(zip(drawn, draw(list(drawn.values())), strict=True))
    script, elements = components(figures, wrap_script=False)
    # Inline: the page must open without a network, in years as well.
    library = Resources(mode="inline", components=["bokeh"], log_level="warn").js_raw
    # Escaped letters change nothing in JavaScript's literals and comments, which is where others than ASCII's stand.
    scripts = [
        re.sub("[^\\x00-\\x7f]+", lambda letters: json.dumps(letters[0])[1:-1], each) for each in (*library, script)
    ]
    return [Figure(plot, Markup(elements[plot.name]) if plot.name in drawn else None) for plot in shown], scripts
