"""Bokeh figures of the plots."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import (
    BoxZoomTool,
    ColumnDataSource,
    CrosshairTool,
    DataRange1d,
    FixedTicker,
    FullscreenTool,
    HoverTool,
    LogTicker,
    NoOverlap,
    NumeralTickFormatter,
    PanTool,
    Range1d,
    ResetTool,
    SaveTool,
    WheelZoomTool,
)
from bokeh.models.annotations.legends import Legend, LegendItem
from bokeh.models.renderers.glyph_renderer import GlyphRenderer
from bokeh.plotting import figure

from yais.clients.reporters.html.plots import Axis, Plot

# Pixels.
_HEIGHT = 340
_FONT = "system-ui, sans-serif"
_INK, _FAINT = "#33383d", "#d9dde1"
# On a logarithmic scale there is no 0; a microsecond is as little as anybody asks for.
_LEAST = 1e-3
# In percent; the last one is as far as a run of 10^8 requests reaches.
_QUANTILES = (0, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.999, 99.9999, 99.99999, 99.999999)
# The first line of what the pointer shows: its name, and the column of the source with its format.
_FORMATS: dict[Axis, tuple[str, str]] = {
    "second": ("second", "@x{0,0}"),
    "percentile": ("percentile", "@percentile{0.[00000]} %"),
}
_LEGEND: dict[str, Any] = {
    "orientation": "horizontal",
    "location": "left",
    "click_policy": "hide",
    "border_line_color": None,
    "background_fill_alpha": 0,
    "label_text_font": _FONT,
    "label_text_color": _INK,
    "label_text_font_size": "13px",
    "padding": 0,
    "margin": 2,
    "spacing": 12,
}


def draw(plots: Sequence[Plot]) -> list[figure]:
    """The figures of one page; those with the same x are zoomed together."""
    ranges = {}
    for axis in _FORMATS:
        last = max((float(plot.x[-1]) for plot in plots if plot.axis == axis and plot.x.size), default=1.0)
        # 1 / (1 - q) is 1 for q = 0, where the spectrum begins.
        start = 1.0 if axis == "percentile" else 0.0
        end = max(last, start + 1)
        ranges[axis] = Range1d(start=start, end=end, bounds=(start, end))
    return [_draw(plot, ranges[plot.axis]) for plot in plots]


def _draw(plot: Plot, x_range: Range1d) -> figure:
    y_range = DataRange1d(only_visible=True)
    if not plot.logarithmic:
        y_range.start = 0
    drawn = figure(
        height=_HEIGHT,
        sizing_mode="stretch_width",
        x_range=x_range,
        y_range=y_range,
        x_axis_type="log" if plot.axis == "percentile" else "linear",
        y_axis_type="log" if plot.logarithmic else "linear",
        tools=[],
    )
    source = _source(plot)
    runs: dict[int, list[LegendItem]] = {}
    for number, line in enumerate(plot.lines):
        renderers: list[GlyphRenderer[Any]] = [
            drawn.line(
                "x",
                f"y{number}",
                source=source,
                line_color=line.colour,
                line_dash=line.dash,
                line_width=2,
                line_join="round",
                visible=line.shown,
            )
        ]
        lone = f"lone{number}"
        if lone in source.data:
            renderers.append(drawn.scatter("x", lone, source=source, color=line.colour, size=6, visible=line.shown))
        runs.setdefault(line.run, []).append(LegendItem(label=line.name, renderers=renderers))
    # Not the pointer's guide, which comes later: it has the highest value of all lines, of hidden ones as well.
    y_range.renderers = list(drawn.renderers)
    # A legend for each run. What is added later stands above.
    for run in sorted(runs, reverse=True):
        drawn.add_layout(Legend(items=runs[run], **_LEGEND), "above")
    _add_tools(drawn, plot, drawn.line("x", "highest", source=source, line_alpha=0))
    _style_axes(drawn, plot)
    return drawn


def _source(plot: Plot) -> ColumnDataSource:
    rows = np.array([line.values for line in plot.lines])
    if plot.logarithmic:
        rows = rows.clip(_LEAST)
    columns = {f"y{number}": row for number, row in enumerate(rows)}
    for number, row in enumerate(rows):
        # A line does not show values without a neighbour: they become points.
        known = np.pad(~np.isnan(row), 1)
        lone = np.where(known[:-2] | known[2:], np.nan, row)
        if not np.isnan(lone).all():
            columns[f"lone{number}"] = lone
    if plot.axis == "percentile":
        columns["percentile"] = 100 * (1 - 1 / plot.x)
    # What the pointer finds, wherever it is above or below a value.
    highest = np.where(np.isnan(rows).all(axis=0), 0, np.nanmax(np.nan_to_num(rows), axis=0)).clip(_LEAST)
    return ColumnDataSource({"x": plot.x, "highest": highest, **columns})


def _add_tools(drawn: figure, plot: Plot, guide: "GlyphRenderer[Any]") -> None:
    values = [(line.name, f"@y{number}{{0,0.[000]}}") for number, line in enumerate(plot.lines)]
    hover = HoverTool(
        renderers=[guide], mode="vline", point_policy="follow_mouse", tooltips=[_FORMATS[plot.axis], *values]
    )
    # They always work: not `visible` only keeps their buttons out of the toolbar.
    hover.visible = False
    crosshair = CrosshairTool(dimensions="height", line_color=_INK, line_alpha=0.35)
    crosshair.visible = False
    zoom = BoxZoomTool(dimensions="auto")
    drawn.add_tools(zoom, PanTool(), WheelZoomTool(dimensions="width"), ResetTool(), SaveTool(), FullscreenTool())
    drawn.add_tools(hover, crosshair)
    drawn.toolbar.update(logo=None, active_drag=zoom, active_scroll=None, autohide=True)


def _style_axes(drawn: figure, plot: Plot) -> None:
    """For light paper; the page turns it round for a dark one."""
    drawn.yaxis.axis_label = plot.y_label
    if plot.logarithmic:
        drawn.yaxis.ticker = LogTicker(mantissas=[1, 2, 5])
        drawn.yaxis.major_label_policy = NoOverlap()
    drawn.yaxis.formatter = NumeralTickFormatter(format="0,0.[000]")
    if plot.axis == "second":
        drawn.xaxis.axis_label = "second of the run"
        drawn.xaxis.formatter = NumeralTickFormatter(format="0,0.[0]")
    else:
        ticks = [round(1 / (1 - quantile / 100)) for quantile in _QUANTILES]
        labels = (f"{quantile:.9g} %" for quantile in _QUANTILES)
        drawn.xaxis.axis_label = "percentile"
        drawn.xaxis.ticker = FixedTicker(ticks=ticks)
        drawn.xaxis.major_label_overrides = dict(zip(ticks, labels, strict=True))
        drawn.xaxis.major_label_policy = NoOverlap()
    drawn.update(background_fill_color=None, border_fill_color=None, outline_line_color=None, min_border_right=24)
    drawn.grid.grid_line_color = _FAINT
    for axis in drawn.axis:
        axis.update(axis_line_color=_FAINT, major_tick_line_color=_FAINT, minor_tick_line_color=None)
        axis.update(major_label_text_font=_FONT, major_label_text_color=_INK, major_label_text_font_size="12px")
        axis.update(axis_label_text_font=_FONT, axis_label_text_color=_INK, axis_label_text_font_style="normal")
