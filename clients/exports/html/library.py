"""What draws the page, which comes with yais[plot]."""

from importlib.util import find_spec

_NEEDED = ("bokeh", "jinja2")


def missing() -> str | None:
    """What to tell somebody who wants a page and has not installed what draws it."""
    if all(find_spec(module) for module in _NEEDED):
        return None
    return "a page needs Bokeh: pip install 'yais[plot]'"
