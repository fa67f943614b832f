"""A page of metrics as a mapping that tests can ask.

prometheus_client's own parser renames counters without `_total`, and Triton's have none.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

Labels: TypeAlias = frozenset[tuple[str, str]]
Samples: TypeAlias = dict[tuple[str, Labels], float]

_SAMPLE = re.compile(r"([a-zA-Z_:]\w*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Family(NamedTuple):
    """What a page says of a family before its series; `labels` are the names of each series' labels, in their order."""

    name: str
    kind: str
    text: str
    labels: frozenset[tuple[str, ...]]


def parse(page: str) -> Samples:
    """(name, labels) -> value, of all series. Fails on a line that is no series."""
    samples: Samples = {}
    for line in _series(page):
        match = _SAMPLE.fullmatch(line)
        assert match is not None, f"not a series: {line!r}"
        samples[match[1], frozenset(_LABEL.findall(match[2] or ""))] = float(match[3])
    return samples


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of all series of `name` that have `labels`; fails when there is none."""
    values = [value for (series, its), value in samples.items() if series == name and its.issuperset(labels.items())]
    assert values, f"no series {name} with {labels}"
    return sum(values)


def growth(before: Samples, after: Samples, name: str, **labels: str) -> float:
    return total(after, name, **labels) - total(before, name, **labels)


def families(page: str) -> dict[str, Family]:
    """The families of a page, by name."""
    blocks = re.split(r"^# HELP ", page, flags=re.MULTILINE)[1:]
    return {family.name: family for family in map(_family, blocks)}


def _family(block: str) -> Family:
    name, text = block.partition("\n")[0].split(" ", 1)
    kind = re.search(rf"^# TYPE {name} (\w+)$", block, flags=re.MULTILINE)
    assert kind is not None, f"no TYPE of {name}"
    labels = [_LABEL.findall(line) for line in _series(block.partition("\n")[2])]
    return Family(name, kind[1], text, frozenset(tuple(label for label, _ in pairs) for pairs in labels))


def _series(page: str) -> Iterator[str]:
    return (line for line in page.splitlines() if line and not line.startswith("#"))
