"""Statistics of a process when it is scraped, and how those of several processes add up."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import Metric

from yais.server.metrics.recorder import InferenceRecorder

# Gauges of which a sum would mean nothing; they are those of the first process.
_FIRST = {"process_start_time_seconds", "python_info"}


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """Of one process, or of several together.

    `waiting`: how many requests of each model no context has taken yet. `in_flight`: how many requests came in and are
    not answered yet. `process`: the families of the process itself.
    """

    recorders: Sequence[InferenceRecorder] = ()
    waiting: Mapping[str, int] = field(default_factory=dict)
    in_flight: int = 0
    process: Sequence[Metric] = ()

    @property
    def persistent(self) -> "ProcessStats":
        """What remains of them when the process is gone: what it did, not what it had."""
        # Counters must not fall when a worker ends: that would look like a restart of the whole server.
        counted = [family for family in self.process if family.type == "counter"]
        return replace(self, waiting=dict.fromkeys(self.waiting, 0), in_flight=0, process=counted)


def merge(several: Sequence[ProcessStats]) -> ProcessStats:
    """The sums; quantiles are those of all requests together."""
    waiting: defaultdict[str, int] = defaultdict(int)
    for model, count in chain.from_iterable(stats.waiting.items() for stats in several):
        waiting[model] += count
    models: dict[str, InferenceRecorder] = {}
    # Into new ones: what is read stays the process's own.
    for recorder in chain.from_iterable(stats.recorders for stats in several):
        models.setdefault(recorder.model, InferenceRecorder(recorder.model, recorder.version)).merge(recorder)
    return ProcessStats(
        recorders=list(models.values()),
        waiting=waiting,
        in_flight=sum(stats.in_flight for stats in several),
        process=list(_sum_families(chain.from_iterable(stats.process for stats in several))),
    )


def _sum_families(families: Iterable[Metric]) -> Iterator[Metric]:
    """One family of each name, with each of its series once."""
    groups: defaultdict[str, list[Metric]] = defaultdict(list)
    for family in families:
        groups[family.name].append(family)
    for first, *others in groups.values():
        if first.name in _FIRST:
            yield first
            continue
        total = Metric(first.name, first.documentation, first.type)
        values: defaultdict[tuple[str, frozenset[tuple[str, str]]], float] = defaultdict(float)
        for sample in chain.from_iterable(family.samples for family in (first, *others)):
            values[sample.name, frozenset(sample.labels.items())] += sample.value
        for (name, labels), value in values.items():
            total.add_sample(name, dict(labels), value)
        yield total


class ProcessReader:
    """Reads `process_*`, `python_info` and `python_gc_*` of the process that it is in."""

    def __init__(self) -> None:
        # Not the default registry, to which any imported package may add families.
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def read(self) -> list[Metric]:
        return list(self._registry.collect())
