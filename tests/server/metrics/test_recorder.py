import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.fake_requests import FakeRequest
from yais.server.metrics import recorder as recorder_module
from yais.server.metrics.quantiles import SUB_WINDOW_NS
from yais.server.metrics.recorder import (
    LOAD_RATIO_BUCKETS,
    STAGE_BUCKETS_MS,
    STAGES,
    BucketCounts,
    InferenceRecorder,
)

MS = 1_000_000


class Clock:
    def __init__(self, now: int = 0) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def record(
    recorder: InferenceRecorder, *arrived: int, now: int, rows: int = 1, run: tuple[int, int, int] = (10, 20, 30)
) -> None:
    """One batch of requests that were queued 5 ns after they arrived, and taken at 1 s; all answered at `now`."""
    requests = [FakeRequest(np.zeros((rows, 1), np.int64), arrived=each) for each in arrived]
    for request in requests:
        request.queued = request.arrived + 5
    input_ns, infer_ns, output_ns = run
    recorder.record(
        rows=rows * len(requests),
        started=10**9,
        input_ns=input_ns,
        infer_ns=infer_ns,
        output_ns=output_ns,
        now=now,
        answered=requests,
    )


@pytest.mark.parametrize(
    ("value", "bucket"), [(0.0, 0), (0.99, 0), (1.0, 0), (1.01, 1), (2.0, 1), (2.5, 2), (1e9, 2), (math.inf, 2)]
)
def test_a_bound_belongs_to_its_bucket(value: float, bucket: int) -> None:
    histogram = BucketCounts([1, 2])
    histogram.observe(np.array([value]))
    assert histogram.counts.tolist() == [int(index == bucket) for index in range(3)]
    assert histogram.total == value


def test_a_histogram_adds_up() -> None:
    histogram = BucketCounts(STAGE_BUCKETS_MS)
    histogram.observe(np.array([0.05, 0.1, 3.0]))
    histogram.observe(np.array([]))
    histogram.observe(np.array([20_000.0]))
    assert int(histogram.counts.sum()) == 4
    assert histogram.total == pytest.approx(20_003.15)


def test_the_buckets_are_sorted_and_those_of_the_documentation() -> None:
    assert LOAD_RATIO_BUCKETS == (1.01, 1.05, 1.1, 1.25, 1.5, 2, 3, 5, 10, 25, 50, 100)
    assert list(STAGE_BUCKETS_MS) == sorted(STAGE_BUCKETS_MS)
    assert {1.25, 1.5, 2, 10, 100} <= set(LOAD_RATIO_BUCKETS)


def test_each_request_of_a_batch_is_charged_its_own_time_and_all_of_the_batchs() -> None:
    recorder = InferenceRecorder("m", "1")
    record(recorder, 0, 400_000_000, now=2_000_000_000, rows=3)
    recorder.read()
    assert (recorder.successes, recorder.inference_count, recorder.execution_count) == (2, 6, 1)
    requests, queues = 2_000_000_000 + 1_600_000_000, (10**9 - 5) + (600_000_000 - 5)
    assert recorder.duration_ns.tolist() == [requests, queues, 20, 40, 60]


def test_microseconds_are_cut_off_for_each_request() -> None:
    recorder = InferenceRecorder("m", "1")
    for _ in range(3):
        record(recorder, 0, now=1999, run=(999, 1000, 1999))
    assert recorder.read().duration_us.tolist() == [3, 3 * ((10**9 - 5) // 1000), 0, 3, 3]


def test_batches_are_summed_by_their_number_of_rows() -> None:
    recorder = InferenceRecorder("m", "1")
    record(recorder, 0, 0, now=1, rows=4, run=(1, 2, 3))
    record(recorder, 0, now=1, rows=8, run=(10, 20, 30))
    record(recorder, 0, now=1, rows=1, run=(100, 200, 300))
    batches = recorder.read().batches
    stats = {rows: (each.count, each.input_ns, each.infer_ns, each.output_ns) for rows, each in batches.items()}
    assert stats == {8: (2, 11, 22, 33), 1: (1, 100, 200, 300)}


def test_a_run_whose_requests_are_all_gone_still_counts_as_a_run() -> None:
    recorder = InferenceRecorder("m", "1")
    recorder.record(rows=4, started=0, input_ns=1, infer_ns=2, output_ns=3, now=5, answered=[])
    recorder.read()
    assert (recorder.execution_count, recorder.inference_count, recorder.successes) == (1, 0, 0)
    assert recorder.batches[4].count == 1


def test_padding_is_counted_besides_the_rows_of_requests() -> None:
    recorder = InferenceRecorder("m", "1")
    for padding in (0, 3, 5):
        sent = [FakeRequest(np.zeros((4, 1), np.int64))]
        recorder.record(
            rows=4, started=0, input_ns=1, infer_ns=20, output_ns=4300, now=10**6, answered=sent, padding=padding
        )
    recorder.read()
    assert (recorder.padded_rows, recorder.inference_count, recorder.execution_count) == (8, 12, 3)
    assert recorder.duration_ns[STAGES.index("output")] == 3 * 4300
    assert recorder.batches[4].output_ns == 3 * 4300


def test_failures_are_counted_by_reason_with_their_time() -> None:
    recorder = InferenceRecorder("m", "1")
    assert recorder.failures == {"OTHER": 0, "BACKEND": 0, "CANCELED": 0, "REJECTED": 0}
    recorder.fail("OTHER", 5)
    recorder.fail("REJECTED", 7)
    recorder.fail("REJECTED", 9)
    assert recorder.failures == {"OTHER": 1, "BACKEND": 0, "CANCELED": 0, "REJECTED": 2}
    assert recorder.failure_ns == 21
    assert recorder.read().successes == 0


def test_the_load_ratio_is_request_over_compute_time() -> None:
    recorder = InferenceRecorder("m", "1")
    for request_ns, infer_ns in ((1000, 1000), (1250, 1000), (1260, 1000), (99_000, 1000), (200_000, 1000), (7, 0)):
        record(recorder, 0, now=request_ns, run=(0, infer_ns, 0))
    ratios = recorder.read().load_ratio
    counts = dict(zip((*LOAD_RATIO_BUCKETS, math.inf), ratios.counts.tolist(), strict=True))
    assert {bound: count for bound, count in counts.items() if count} == {
        1.01: 1,
        1.25: 1,
        1.5: 1,
        10: 1,
        100: 1,
        math.inf: 1,
    }
    assert ratios.total == pytest.approx(1 + 1.25 + 1.26 + 99 + 200 + 7)


def test_every_stage_has_its_histogram_in_milliseconds() -> None:
    recorder = InferenceRecorder("m", "1")
    record(recorder, 10**9 - 5 - 2 * MS, now=10**9 + 18 * MS - 5, run=(3 * MS, 4 * MS, 6 * MS))
    totals = dict(zip(STAGES, (histogram.total for histogram in recorder.read().histograms), strict=True))
    assert totals == pytest.approx({"request": 20, "queue": 2, "input": 3, "infer": 4, "output": 6})


def test_the_last_inference_is_told_in_milliseconds_of_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "time_ns", lambda: 1_700_000_000_123_999_999)
    recorder = InferenceRecorder("m", "1", Clock(5 * MS))
    assert recorder.last_inference_ms == 0
    record(recorder, 0, now=5 * MS)
    assert recorder.last_inference_ms == 1_700_000_000_123


def median(recorder: InferenceRecorder) -> float:
    return recorder.read().quantiles("request", [0.5])[0]


def test_quantiles_are_of_the_last_minute() -> None:
    clock = Clock(5 * SUB_WINDOW_NS)
    recorder = InferenceRecorder("m", "1", clock)
    record(recorder, clock.now - 1000, now=clock.now)
    assert median(recorder) == pytest.approx(1000, rel=0.011)
    clock.now += 5 * SUB_WINDOW_NS
    assert median(recorder) == pytest.approx(1000, rel=0.011)
    clock.now += SUB_WINDOW_NS
    assert math.isnan(median(recorder))


def test_every_stage_has_its_quantiles() -> None:
    recorder = InferenceRecorder("m", "1", Clock(2 * 10**9))
    record(recorder, 500_000_000, now=2 * 10**9, run=(3000, 4000, 6000))
    medians = [recorder.read().quantiles(stage, [0.5])[0] for stage in STAGES]
    assert medians == pytest.approx([1_500_000_000, 499_999_995, 3000, 4000, 6000], rel=0.011)


def test_what_waits_to_be_counted_belongs_to_the_time_when_it_happened() -> None:
    """Nobody reads for a while; the requests before that must not count as new."""
    clock = Clock(SUB_WINDOW_NS)
    recorder = InferenceRecorder("m", "1", clock)
    record(recorder, clock.now - 1000, now=clock.now)
    clock.now += 6 * SUB_WINDOW_NS
    assert math.isnan(median(recorder))
    assert recorder.successes == 1


def test_a_new_sub_window_does_not_take_over_what_waits_from_the_last() -> None:
    clock = Clock(SUB_WINDOW_NS)
    recorder = InferenceRecorder("m", "1", clock)
    record(recorder, clock.now - 1000, now=clock.now)
    clock.now += 5 * SUB_WINDOW_NS
    record(recorder, clock.now - 8000, now=clock.now)
    assert median(recorder) == pytest.approx(1000, rel=0.011)
    clock.now += SUB_WINDOW_NS
    assert median(recorder) == pytest.approx(8000, rel=0.011)


def test_reading_twice_counts_nothing_twice() -> None:
    recorder = InferenceRecorder("m", "1")
    record(recorder, 0, 0, now=2000)
    first = (recorder.read().successes, recorder.duration_ns.tolist(), recorder.load_ratio.total)
    assert (recorder.read().successes, recorder.duration_ns.tolist(), recorder.load_ratio.total) == first
    assert recorder.read() is recorder


def test_what_waits_to_be_counted_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = recorder_module._RUN_COLUMNS + recorder_module._REQUEST_COLUMNS
    monkeypatch.setattr(recorder_module, "_FLUSH_AT", 4 * columns)
    recorder = InferenceRecorder("m", "1", Clock())
    counted = []
    for _ in range(10):
        record(recorder, 0, now=1000)
        counted.append(recorder.successes)
    assert counted == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]
    assert recorder.read().successes == 10


@given(st.lists(st.lists(st.integers(0, 10**10), min_size=1, max_size=5), max_size=30), st.sets(st.integers(0, 29)))
@settings(deadline=None, max_examples=50)
def test_sums_do_not_depend_on_when_somebody_reads(batches: Sequence[Sequence[int]], reads: set[int]) -> None:
    often, once = InferenceRecorder("m", "1", Clock()), InferenceRecorder("m", "1", Clock())
    for number, arrived in enumerate(batches):
        for recorder in (often, once):
            record(recorder, *arrived, now=10**10 + number * SUB_WINDOW_NS // 3)
        if number in reads:
            often.read()
    assert often.read().successes == once.read().successes == sum(map(len, batches))
    assert often.duration_us.tolist() == once.duration_us.tolist()
    for first, second in zip(often.histograms, once.histograms, strict=True):
        assert first.counts.tolist() == second.counts.tolist()
    slot = Clock(10**10 + len(batches) * SUB_WINDOW_NS // 3)
    often._clock = once._clock = slot
    assert often.quantiles("request", [0.5, 0.9]) == pytest.approx(once.quantiles("request", [0.5, 0.9]), nan_ok=True)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4), st.integers(0, 9)), max_size=20))
@settings(deadline=None, max_examples=50)
def test_however_many_runs_wait_to_be_counted_each_charges_its_own_requests(runs: list[tuple[int, int, int]]) -> None:
    """`runs`: rows of a request, how many requests are answered, and what each stage takes."""
    together, alone = InferenceRecorder("m", "1", Clock()), InferenceRecorder("m", "1", Clock())
    for rows, count, took in runs:
        for recorder in (together, alone):
            record(recorder, *[took] * count, now=10**9 + took, rows=rows, run=(took, 2 * took, 3 * took))
        alone.read()
    assert together.read().inference_count == alone.inference_count == sum(rows * count for rows, count, _ in runs)
    assert together.execution_count == len(runs)
    assert together.duration_ns.tolist() == alone.duration_ns.tolist()
    infer_ns = sum(count * 2 * took for _, count, took in runs)
    assert together.duration_ns[STAGES.index("infer")] == infer_ns
    for rows, stats in together.batches.items():
        assert stats.infer_ns == alone.batches[rows].infer_ns
