"""`siege compare`: two runs side by side."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

import click

from yais.clients.command import ClientCommand
from yais.clients.reporters import document
from yais.clients.stats.compare import Comparison, Estimate, Side, compare
from yais.clients.stats.histogram import milliseconds
from yais.clients.stats.report import Report

_VERSUS = "--versus"
_FORMATS: Mapping[str, Callable[[float], str]] = MappingProxyType(
    {
        "time": lambda value: f"{milliseconds(value)} ms",
        "rate": lambda value: f"{value:,.1f}/s",
        "errors": lambda value: f"{value:.3%}",
    }
)

EXAMPLES = """\b
Examples:
  siege compare before.json after.json
  siege compare before.json after.json --metric p99.9,errors --fail-if-worse
  siege compare a1.json a2.json a3.json --versus b1.json b2.json b3.json
"""


# What is no option is taken as a file, so that --versus stays where it stands among them.
@click.command(cls=ClientCommand, epilog=EXAMPLES, context_settings={"ignore_unknown_options": True})
@click.argument("files", nargs=-1, required=True, metavar="A.json... [--versus] B.json...")
@click.option("--metric", default="p50,p99,rate", show_default=True, help="What to compare: percentiles, rate, errors.")
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="How often an interval has the true value in it.",
)
@click.option("--force", is_flag=True, help="Compare runs of different schedules, too.")
@click.option("--fail-if-worse", is_flag=True, help="Exit with 1 when B is worse in any of the metrics.")
def main(files: tuple[str, ...], metric: str, confidence: float, force: bool, fail_if_worse: bool) -> None:
    """Compares the report of B with that of A, both written with siege --report.

    Several reports of a side are taken as one run; --versus stands between the sides, and may be left out where each
    has one. A difference is significant when the intervals of both sides do not overlap.

    Exits with 0, with 1 where --fail-if-worse asks for it, with 2 for bad usage.
    """
    a, b = (read(side) for side in split(files))
    if not force:
        require_one_schedule({**a, **b})
    sides = Side.of(list(a.values())), Side.of(list(b.values()))
    # Not checked by the option's type: any percentile is a metric, and `compare` knows what is one.
    try:
        comparisons = [compare(*sides, name.strip(), confidence) for name in metric.split(",")]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--metric") from error
    click.echo(render(comparisons, confidence))
    sys.exit(1 if fail_if_worse and any(each.verdict == "worse" for each in comparisons) else 0)


def split(files: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The files of A and those of B."""
    if files.count(_VERSUS) == 1:
        at = files.index(_VERSUS)
        a, b = files[:at], files[at + 1 :]
    elif len(files) == 2 and _VERSUS not in files:
        a, b = files[:1], files[1:]
    else:
        raise click.UsageError("give two reports, or those of A, --versus, and those of B")
    if not a or not b:
        raise click.UsageError("--versus: there must be reports on both sides of it")
    return a, b


def read(files: Sequence[str]) -> dict[str, Report]:
    """The reports of one side, by their file."""
    repeated = next((file for file in files if files.count(file) > 1), None)
    if repeated is not None:
        raise click.UsageError(f"{repeated} is given twice for one side: it would count twice")
    reports = {}
    for file in files:
        try:
            reports[file] = document.read(Path(file))
        except OSError as error:
            raise click.UsageError(f"{file} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    return reports


def require_one_schedule(reports: Mapping[str, Report]) -> None:
    """Under different loads a server is not the same; a difference would say nothing of what was changed."""
    (first, report), *others = reports.items()
    for file, other in others:
        if _schedule(other) != _schedule(report):
            raise click.UsageError(
                f"{first} ({_schedule(report)}) and {file} ({_schedule(other)}) are of different schedules; "
                "--force compares them all the same"
            )


def render(comparisons: Sequence[Comparison], confidence: float) -> str:
    """One line a metric, each value with its interval."""
    rows: list[tuple[str, ...]] = [("", "A", "B", "difference", "ratio", "")]
    for comparison in comparisons:
        # Every metric without a format of its own is a percentile.
        show = _FORMATS.get(comparison.metric, _FORMATS["time"])
        a, b = (_with_bounds(estimate, show) for estimate in (comparison.a, comparison.b))
        difference = _with_bounds(comparison.difference, partial(_with_sign, show))
        ratio = _with_bounds(comparison.ratio, lambda value: f"{value:.3f}")
        rows.append((comparison.metric, a, b, difference, ratio, comparison.verdict))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, "", f"B against A; in brackets what is plausible with {confidence:.4g} confidence"])


def _schedule(report: Report) -> str:
    info = report.info
    rate = "no rate" if info.rate_asked is None else f"{info.rate_asked:,g}/s"
    # Neither the seed nor the duration: runs of one schedule may differ in them.
    return ", ".join((f"{info.loop} loop", info.schedule or "no schedule", rate, *info.kinds))


def _with_sign(show: Callable[[float], str], value: float) -> str:
    # Of the absolute value, since `milliseconds` takes a negative number for a small one, with more digits.
    return f"{'-' if value < 0 else '+'}{show(abs(value))}"


def _with_bounds(estimate: Estimate, show: Callable[[float], str]) -> str:
    # Too few requests leave a bound infinite.
    value, low, high = (
        "?" if not math.isfinite(number) else show(number) for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low} to {high}]"
