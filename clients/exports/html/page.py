"""A page that is one file: its plots' library, its style and its data are in it, and nothing else is asked for."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from bokeh.embed import components
from bokeh.model import Model
from bokeh.resources import Resources
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from yais.clients.exports.html.drawing import draw
from yais.clients.exports.html.lines import Plot
from yais.clients.exports.html.plots import plots
from yais.clients.exports.html.runs import Run
from yais.clients.exports.html.tables import tables
from yais.clients.exports.html.verdicts import Outcome

_PACKAGE = "yais.clients.exports.html"


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot, and the element that it is drawn in; None where there is nothing to draw."""

    plot: Plot
    element: Markup | None


def page(runs: Sequence[Run]) -> str:
    """All that a browser needs to show them, in ASCII, so that it is the same in any encoding.

    What comes from a report is escaped; were it not, it could neither run a script nor ask for anything: the page's
    policy names its own scripts by their digests.
    """
    figures, scripts = _figures(plots(runs))
    text = _template().render(
        title=_title(runs),
        policy=_policy(scripts),
        style=Markup(files(_PACKAGE).joinpath("style.css").read_text("ascii")),
        scripts=[Markup(script) for script in scripts],
        outcomes=[Outcome.of(run) for run in runs],
        tables=tables(runs),
        figures=figures,
    )
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader(_PACKAGE, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _figures(shown: Sequence[Plot]) -> tuple[list[Figure], list[str]]:
    """With the scripts that draw them: none where nothing is to be drawn."""
    drawn = {plot.name: plot for plot in shown if plot.lines}
    if not drawn:
        return [Figure(plot, None) for plot in shown], []
    figures: dict[str, Model] = dict(zip(drawn, draw(list(drawn.values())), strict=True))
    script, elements = components(figures, wrap_script=False)
    library = Resources(mode="inline", components=["bokeh"], log_level="warn").js_raw
    scripts = [_ascii(script) for script in (*library, script)]
    return [Figure(plot, Markup(elements[plot.name]) if plot.name in drawn else None) for plot in shown], scripts


def _title(runs: Sequence[Run]) -> str:
    return f"siege: {', '.join(run.name or run.report.facts.target for run in runs)}"


def _ascii(script: str) -> str:
    """With other letters escaped, which in JavaScript's literals and comments changes nothing."""
    return re.sub("[^\\x00-\\x7f]+", lambda letters: json.dumps(letters[0])[1:-1], script)


def _policy(scripts: Sequence[str]) -> str:
    """What the page may do: run these scripts, and show what is in it."""
    digests = " ".join(f"'sha256-{_digest(script)}'" for script in scripts) or "'none'"
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("ascii")).digest()).decode("ascii")
