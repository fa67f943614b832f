"""Tables of a page: what is known of the runs, what became of the requests, and how long they took."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from yais.clients.reporters.html import NamedReport
from yais.clients.stats.histogram import QUANTILES, milliseconds
from yais.clients.stats.report import Distribution, Report, RunInfo

_NONE = "-"

_INFO: Mapping[str, Callable[[RunInfo], str | int | None]] = MappingProxyType(
    {
        "command": lambda info: info.command,
        "target": lambda info: info.target,
        "schedule": lambda info: info.schedule,
        "loop": lambda info: info.loop,
        "seed": lambda info: info.seed,
        "started": lambda info: info.started,
        "models": lambda info: ", ".join(info.kinds),
        "most in flight": lambda info: None if info.max_outstanding is None else f"{info.max_outstanding:,}",
        "send lag allowed": lambda info: f"{info.max_lag:g}ms",
        "event loop": lambda info: ", ".join(f"{share:.0%} of a core" for share in info.cpu),
        "busy cores of the machine": lambda info: (
            None if info.busy_cores is None else f"{info.busy_cores:.2f} of {info.cores}"
        ),
        "connections lost": lambda info: f"{info.connections_lost:,}" if info.connections_lost else None,
        "sent to each address": lambda info: ", ".join(f"{name} {n:,}" for name, n in info.addresses.items()),
        "versions": lambda info: ", ".join(f"{name} {version}" for name, version in info.versions.items()),
    }
)
_RATES: Mapping[str, Callable[[Report], str | None]] = MappingProxyType(
    {
        "asked, a second": lambda report: None if report.info.rate_asked is None else f"{report.info.rate_asked:,.1f}",
        "sent, a second": lambda report: f"{report.rate_sent:,.1f}",
        "answered, a second": lambda report: f"{report.rate_answered:,.1f}",
        "scheduled, seconds": lambda report: f"{report.scheduled:,.1f}",
        "elapsed, seconds": lambda report: f"{report.elapsed:,.1f}",
        "warm-up, requests": lambda report: f"{report.warm_up:,}",
    }
)
# Each with what it is a part of; the parts of one whole add up to it, but for `late`.
_COUNTS: Mapping[str, str | None] = MappingProxyType(
    {
        "offered": None,
        "dropped": "offered",
        "sent": "offered",
        "completed": "sent",
        "late": "completed",
        "failed": "sent",
        "rejected": "failed",
        "timed_out": "failed",
        "cancelled": "failed",
        "errored": "failed",
        "wrong": "failed",
    }
)


@dataclass(frozen=True, slots=True)
class Head:
    """The name of some columns."""

    text: str
    columns: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """`depth`: how many wholes it is a part of."""

    name: str
    cells: tuple[str, ...]
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """`heads` are rows of them, without that of the rows' names; `numeric` cells stand under each other by digits."""

    name: str
    caption: str
    heads: tuple[tuple[Head, ...], ...]
    rows: tuple[Row, ...]
    numeric: bool = True


def tables(runs: Sequence[NamedReport]) -> tuple[Table, ...]:
    rates = (Row(name, tuple(_text(of(run.report)) for run in runs)) for name, of in _RATES.items())
    info = (Row(name, tuple(_text(of(run.report.info)) for run in runs)) for name, of in _INFO.items())
    known = tuple(row for row in info if any(cell != _NONE for cell in row.cells))
    # Runs need not have the same models, nor the same failures: each has tables of its own.
    models, failures = [], []
    model_heads = tuple(Head(text) for text in ("sent", "completed", "p50, ms", "p99, ms"))
    failure_heads = (Head("requests"), Head("what was said"))
    for run in runs:
        rows = []
        for model in run.report.kinds:
            percentiles = (_cell(model.latency, name) for name in ("p50", "p99"))
            rows.append(Row(model.name, (f"{model.counts.sent:,}", f"{model.counts.completed:,}", *percentiles)))
        models.append(Table("kinds", _titled("Models of the mix", run, runs), (model_heads,), tuple(rows)))
        said = tuple(Row(each.status, (f"{each.count:,}", each.text)) for each in run.report.failures)
        failures.append(Table("failures", _titled("Failures", run, runs), (failure_heads,), said, numeric=False))
    made = (
        _counts(runs),
        _percentiles(runs),
        Table("rates", "Rates and times", _names(runs), tuple(rates)),
        *models,
        *failures,
        Table("info", "What was run", _names(runs), known, numeric=False),
    )
    return tuple(table for table in made if table.rows)


def _counts(runs: Sequence[NamedReport]) -> Table:
    rows = []
    for name, whole in _COUNTS.items():
        cells = []
        for counts in (run.report.counts for run in runs):
            count, total = getattr(counts, name), getattr(counts, whole) if whole else 0
            cells += [f"{count:,}", f"{count / total:.2%}" if total else ""]
        rows.append(Row(name.replace("_", " "), tuple(cells), _depth(name)))
    units = tuple(Head(text) for _ in runs for text in ("requests", "share"))
    caption = "What became of the requests: of each, the share of what it is a part of"
    return Table("counts", caption, (*_names(runs, columns=2), units), tuple(rows))


def _depth(name: str) -> int:
    whole = _COUNTS[name]
    return 0 if whole is None else 1 + _depth(whole)


def _percentiles(runs: Sequence[NamedReport]) -> Table:
    groups: dict[str, list[Distribution | None]] = {
        "latency": [run.report.latency for run in runs],
        "service": [run.report.service for run in runs],
        # In a closed loop nothing is due.
        "send lag": [None if run.report.info.loop == "closed" else run.report.lag for run in runs],
    }
    columns = [distribution for group in groups.values() for distribution in group]
    rows = [Row(name, tuple(_cell(column, name) for column in columns)) for name in QUANTILES]
    means = Row("mean", tuple(milliseconds(column.mean) if column and column.ms else _NONE for column in columns))
    heads = tuple(Head(name, len(runs)) for name in groups)
    names = (tuple(Head(run.name) for _ in groups for run in runs),) if len(runs) > 1 else ()
    caption = (
        "Milliseconds: latency from the due time to the answer (in a closed loop from the send), service time from the "
        "send to the answer, send lag from the due time to the send"
    )
    return Table("percentiles", caption, (heads, *names), (*rows, means))


def _cell(distribution: Distribution | None, name: str) -> str:
    value = None if distribution is None else distribution.ms.get(name)
    return _NONE if value is None else milliseconds(value)


def _names(runs: Sequence[NamedReport], columns: int = 1) -> tuple[tuple[Head, ...], ...]:
    """A single run needs no name above its values."""
    return (tuple(Head(run.name, columns) for run in runs),) if len(runs) > 1 else ()


def _titled(text: str, run: NamedReport, runs: Sequence[NamedReport]) -> str:
    return f"{text}: {run.name}" if len(runs) > 1 else text


def _text(value: str | int | None) -> str:
    return _NONE if value is None or value == "" else str(value)
