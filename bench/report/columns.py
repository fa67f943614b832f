"""Columns of tables: how a row of results fills the cells."""

from collections.abc import Callable
from typing import Any, NamedTuple

Row = dict[str, Any]

# Two to four percent are always there: the hypervisor, interrupts, servers that wait for their turn.
NOISY = 0.15  # Of a core.


class Column(NamedTuple):
    """A heading, and how a row fills the cell below it."""

    heading: str
    cell: Callable[[Row], str]


def plain(heading: str, key: str, format_spec: str = "") -> Column:
    return Column(heading, lambda row: format(row[key], format_spec))


def median(heading: str, key: str, format_spec: str) -> Column:
    return Column(heading, lambda row: format(row[key]["median"], format_spec))


def spread(heading: str, key: str, format_spec: str) -> Column:
    """The median of all rounds, with the least and the most of them; nothing where there is no such figure."""

    def cell(row: Row) -> str:
        if row[key] is None:
            return ""
        middle, least, most = (format(row[key][which], format_spec) for which in ("median", "least", "most"))
        return f"{middle} ({least} to {most})"

    return Column(heading, cell)


def others(row: Row) -> str:
    shares = f"{row['others']['median']:.0%}, at most {row['others']['most']:.0%}"
    return f"**noisy, measure again:** {shares}" if is_noisy(row) else shares


def is_noisy(row: Row) -> bool:
    """Whether other processes had so much in the median of the rounds that the figures do not count."""
    return "others" in row and bool(row["others"]["median"] > NOISY)


OTHERS = Column("other processes, of a core", others)


def memory_target(figure: Callable[[Row], float]) -> Column:
    return Column("target", lambda row: verdict(row["memory_bound"], figure(row)) if row["memory_bound"] else "")


def ratio(heading: str, format_spec: str = ".2f", of_medians: str = "of_medians", of_rounds: str = "ratio") -> Column:
    """The ratio of the medians, with the least and the most of the rounds' own ratios; nothing for the yardstick."""

    def cell(row: Row) -> str:
        if row[of_medians] is None:
            return ""
        least, most = (format(row[of_rounds][which], format_spec) for which in ("least", "most"))
        # The ratio of the two medians that the table shows; the range is that of ratios within a round.
        return f"{row[of_medians]:{format_spec}} ({least} to {most})"

    return Column(heading, cell)


def verdicts(row: Row) -> str:
    """What was asked of a contestant, and whether it holds."""
    asked = []
    if row["bound"]:
        # Starts and idle connections have no yardstick: there the bound is set on the figure itself.
        asked.append(verdict(row["bound"], row["of_medians"] if "of_medians" in row else row["figure"]["median"]))
    if row.get("least_rate"):
        asked.append(verdict({"kind": "at least", "value": row["least_rate"]}, row["rate"]["median"], "/s"))
    return ", ".join(asked)


def verdict(bound: Row, figure: float, unit: str = "") -> str:
    holds = figure <= bound["value"] if bound["kind"] == "at most" else figure >= bound["value"]
    return f"{bound['kind']} {bound['value']:,g}{unit}: {'yes' if holds else '**no**'}"


def judgements(row: Row) -> str:
    """What was asked of a step, and of the generator."""
    judged = [f"{one['name']} {verdict(one['bound'], one['figure'])}" for one in row["judgements"]]
    if row["left_out"]:
        # A step counts by the rounds that were sent on time; if none was, it is shown but not judged.
        what = "left out" if row["counts"] else "**does not count**"
        judged.append(f"sent late in {row['left_out']} rounds: {what}")
    return ", ".join(judged)


def contest(figure: str, format_spec: str, yardstick: str, rate: str = "calls/s") -> list[Column]:
    """The columns of contestants that are compared with a yardstick."""
    return [
        plain("case", "case"),
        plain("who", "name"),
        spread(figure, "figure", format_spec),
        ratio(yardstick),
        Column("target", verdicts),
        median(rate, "rate", ",.0f"),
        median("core busy", "busy", ".0%"),
        OTHERS,
    ]
