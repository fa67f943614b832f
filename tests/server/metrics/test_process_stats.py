"""What several processes tell is what one would have told that did the work of all."""

import pickle
from collections.abc import Sequence
from time import monotonic_ns

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from server.fake_requests import FakeRequest
from yais.server.metrics.exposition import render
from yais.server.metrics.families import TRITON_QUANTILES, all_families, triton_families, yais_families
from yais.server.metrics.gpu import GpuSampler
from yais.server.metrics.process_stats import ProcessReader, ProcessStats, merge
from yais.server.metrics.quantiles import SUB_WINDOW_NS, SlidingQuantiles
from yais.server.metrics.recorder import STAGES, InferenceRecorder

# A time within a sub-window that many others precede.
NOW = 100 * SUB_WINDOW_NS + 5

# Of a batch: its rows, what each of its requests took in nanoseconds, and how many sub-windows ago it was.
Run = tuple[int, list[int], int]
runs = st.lists(
    st.tuples(st.integers(1, 4), st.lists(st.integers(1000, 10**10), max_size=4), st.integers(0, 8)), max_size=12
)


def clock() -> int:
    return NOW


def record(recorder: InferenceRecorder, run: Run) -> None:
    rows, durations, ago = run
    now = NOW - ago * SUB_WINDOW_NS
    requests = [FakeRequest(np.zeros((rows, 1), np.int64), arrived=now - each) for each in durations]
    recorder.record(
        rows=rows * len(requests),
        started=now - 500,
        input_ns=20,
        infer_ns=300,
        output_ns=47,
        now=now,
        answered=requests,
        padding=rows,
    )


def recorded(done: Sequence[Run], failures: int = 0) -> InferenceRecorder:
    """In the order of time, as it happens."""
    recorder = InferenceRecorder("m", "1", clock)
    for run in sorted(done, key=lambda run: -run[2]):
        record(recorder, run)
    for _ in range(failures):
        recorder.fail("REJECTED", 7)
    return recorder.read()


def page(recorder: InferenceRecorder) -> str:
    return render([*yais_families([recorder]), *triton_families([recorder], lambda _: 0)])


@given(st.lists(runs, min_size=1, max_size=4), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_merged_recorders_tell_what_one_recorder_of_all_would(shares: list[list[Run]], failures: int) -> None:
    alone = recorded([run for share in shares for run in share], failures * len(shares))
    together = InferenceRecorder("m", "1", clock)
    for share in shares:
        together.merge(pickle.loads(pickle.dumps(recorded(share, failures))))
    # Sums of floats depend on their order in the last digit.
    for one, other in zip(together.histograms, alone.histograms, strict=True):
        assert one.total == pytest.approx(other.total)
        one.total = other.total
    assert together.load_ratio.total == pytest.approx(alone.load_ratio.total)
    together.load_ratio.total = alone.load_ratio.total
    assert page(together) == page(alone)
    assert together.failure_ns == alone.failure_ns
    assert together.last_inference_ms == pytest.approx(alone.last_inference_ms, abs=1000)
    for rows, stats in alone.batches.items():
        its = together.batches[rows]
        want = (stats.count, stats.input_ns, stats.infer_ns, stats.output_ns)
        assert (its.count, its.input_ns, its.infer_ns, its.output_ns) == want


def test_padded_rows_add_up() -> None:
    together = InferenceRecorder("m", "1", clock)
    for rows in (3, 4):
        together.merge(pickle.loads(pickle.dumps(recorded([(rows, [5000], 0)]))))
    assert 'yais_inference_padded_rows_total{model="m"} 7\n' in page(together)


def test_merged_quantiles_are_of_all_values_and_no_averages() -> None:
    fast, slow = SlidingQuantiles(), SlidingQuantiles()
    fast.observe(np.full(90, 1_000), 0)
    slow.observe(np.full(10, 1_000_000), 0)
    fast.merge(slow)
    assert fast.quantiles([0.5, 0.9, 0.91], 0) == pytest.approx([1_000, 1_000, 1_000_000], rel=0.011)


@pytest.mark.parametrize(("ahead", "behind"), [(9, 4), (4, 9)])
def test_what_is_past_in_one_of_them_is_not_counted_again_by_the_other(ahead: int, behind: int) -> None:
    one, other = SlidingQuantiles(), SlidingQuantiles()
    one.observe(np.full(3, 1_000), ahead)
    other.observe(np.full(1, 9_000), behind)
    one.merge(other)
    assert one.quantiles([0, 1], 9) == pytest.approx([1_000, 9_000], rel=0.011)
    newest = 1_000 if ahead == 9 else 9_000
    assert one.quantiles([0, 1], 10) == pytest.approx([newest, newest], rel=0.011)


def test_few_buckets_make_a_short_message() -> None:
    recorder = recorded([(1, [1000 * number for number in range(1, 200)], 0)])
    assert len(pickle.dumps(recorder)) < 20_000


def test_a_merged_recorder_is_left_as_it_was() -> None:
    recorder = recorded([(2, [5000], 0)])
    before = page(recorder)
    merge([ProcessStats([recorder]), ProcessStats([recorded([(1, [7000], 1)])])])
    assert page(recorder) == before


def gauges(**values: float) -> list[Metric]:
    return [GaugeMetricFamily(name, name, value) for name, value in values.items()]


def test_models_queues_and_requests_in_flight_add_up() -> None:
    several = [
        ProcessStats(process=gauges(process_open_fds=5)),
        ProcessStats([InferenceRecorder("a", "1"), recorded([(1, [5000], 0)])], {"a": 0, "m": 2}, 3),
        ProcessStats([InferenceRecorder("a", "1"), recorded([(4, [5000], 0)])], {"a": 0, "m": 4}, 7),
    ]
    together = merge(several)
    assert [(each.model, each.inference_count) for each in together.recorders] == [("a", 0), ("m", 5)]
    assert together.waiting == {"a": 0, "m": 6}
    assert together.in_flight == 10


def test_a_process_adds_up_but_for_its_start_and_its_python() -> None:
    collected = [CounterMetricFamily("gc", "Objects", labels=["generation"]) for _ in range(2)]
    for number, family in enumerate(collected):
        family.add_metric(["0"], 5)
        family.add_metric([str(number + 1)], 7)
    several = [
        ProcessStats(
            process=[*gauges(process_open_fds=5, process_start_time_seconds=100, python_info=1), collected[0]]
        ),
        ProcessStats(
            process=[*gauges(process_open_fds=6, process_start_time_seconds=105, python_info=1), collected[1]]
        ),
    ]
    text = render(merge(several).process)
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        "process_open_fds 11",
        "process_start_time_seconds 100",
        "python_info 1",
        'gc_total{generation="0"} 10',
        'gc_total{generation="1"} 7',
        'gc_total{generation="2"} 7',
    ]
    assert "# TYPE gc_total counter" in text


def test_what_lasts_of_a_process_that_has_gone_is_what_it_did() -> None:
    cpu = CounterMetricFamily("process_cpu_seconds", "Time", 12)
    recorder = recorded([(1, [5000], 0)])
    lasting = ProcessStats([recorder], {"m": 3}, 4, [*gauges(process_resident_memory_bytes=10**8), cpu]).persistent
    assert lasting == ProcessStats([recorder], {"m": 0}, 0, [cpu])


def test_a_page_of_several_processes_has_the_series_of_one() -> None:
    def told() -> ProcessStats:
        recorder = InferenceRecorder("m", "1")
        sent = [FakeRequest(np.zeros((1, 1), np.int64), arrived=0)]
        now = monotonic_ns()
        recorder.record(rows=1, started=now, input_ns=1, infer_ns=1, output_ns=1, now=now, answered=sent)
        return ProcessStats([recorder.read()], {"m": 1}, 1, ProcessReader().read())

    def series(stats: ProcessStats) -> list[str]:
        return [line.rpartition(" ")[0] for line in render(all_families(stats, GpuSampler())).splitlines()]

    several = merge([ProcessStats(process=ProcessReader().read()), told(), told()])
    assert sorted(series(several)) == sorted(series(told()))
    assert len(STAGES) * len(TRITON_QUANTILES) == sum("summary_us{" in line for line in series(merge([told()])))
