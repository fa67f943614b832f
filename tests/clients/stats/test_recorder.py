import pickle

import grpc
import numpy as np
import pytest
from clients.entries import MS, SECOND, Entry, plain, write
from hypothesis import given, settings
from hypothesis import strategies as st

from yais.clients.stats.histogram import decode_histogram
from yais.clients.stats.outcomes import DROPPED, OK, OUTCOMES, STATUS_NUMBERS, WRONG, Counts
from yais.clients.stats.recorder import RecordBatch, Recorder, Tally
from yais.clients.stats.report import Failure, summarise

statuses = st.sampled_from([OK, DROPPED, WRONG, *(code for code in grpc.StatusCode if code is not grpc.StatusCode.OK)])
times = st.integers(0, 10**10)
entries = st.lists(st.tuples(statuses, times, times, times, st.integers(0, 2)))

unhurried = settings(deadline=None, max_examples=40)


@unhurried
@given(entries)
def test_the_counts_always_add_up(entries: list[Entry]) -> None:
    tally = write(entries).tally
    counts = tally.counts
    counts.check()
    assert counts.offered == len(entries)
    assert counts.dropped == sum(status == DROPPED for status, *_ in entries)
    assert counts.completed == sum(status == OK for status, *_ in entries)
    assert counts.failed == sum(tally.texts.values())
    assert summarise(tally).clean == all(status == OK for status, *_ in entries)


@unhurried
@given(entries)
def test_seconds_and_kinds_add_up_to_the_run(entries: list[Entry]) -> None:
    tally = write(entries).tally
    for name in ("offered", "sent", "late", *OUTCOMES):
        whole = getattr(tally.counts, name)
        assert sum(getattr(counts, name) for counts in tally.seconds.counts()) == whole
        assert sum(getattr(kind.counts, name) for kind in tally.kinds.values()) == whole
    total = Tally().latency
    for latency in tally.seconds.latencies():
        total.merge(decode_histogram(latency))
    assert total == tally.latency
    assert tally.seconds.in_flight()[-1:] in ([], [0])


@unhurried
@given(entries, entries)
def test_tallies_of_two_processes_merge_into_that_of_one(one: list[Entry], other: list[Entry]) -> None:
    apart = []
    for part in (one, other):
        recorder = Recorder(late_after=SECOND)
        recorder.start(5 * SECOND)
        apart.append(pickle.loads(pickle.dumps(write(part, recorder).tally)))
    together = Recorder(late_after=SECOND)
    together.start(5 * SECOND)
    apart[0].merge(apart[1])
    assert summarise(apart[0]) == summarise(write(one + other, together).tally)


def test_tallies_that_began_at_different_times_do_not_merge() -> None:
    with pytest.raises(ValueError, match="that began at 1 and 2 ns cannot be merged"):
        write([plain(OK, 1)]).tally.merge(write([plain(OK, 2)]).tally)


def test_the_earliest_due_time_is_the_start_unless_it_was_given() -> None:
    tally = write([plain(OK, 7 * SECOND, 0, SECOND), plain(OK, 6 * SECOND)]).tally
    assert (tally.start, [counts.offered for counts in tally.seconds.counts()]) == (6 * SECOND, [1, 1, 0])


def test_what_was_due_before_the_start_is_in_flight_but_not_counted() -> None:
    recorder = Recorder()
    recorder.start(10 * SECOND)
    early = grpc.StatusCode.INTERNAL
    write(
        [plain(OK, 8 * SECOND, 0, SECOND), plain(early, 9 * SECOND, 0, 3 * SECOND), plain(DROPPED, 9 * SECOND)],
        recorder,
    )
    write([plain(OK, 10 * SECOND, 0, 3 * SECOND), plain(OK, 11 * SECOND, 0, 5 * MS)], recorder)
    report = summarise(recorder.tally)
    assert (report.warm_up, report.counts.offered, report.failures) == (3, 2, ())
    assert [second.in_flight for second in report.intervals] == [2, 2, 1, 0]
    assert report.latency.count == 2


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (grpc.StatusCode.UNAVAILABLE, "rejected"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "timed_out"),
        (grpc.StatusCode.CANCELLED, "cancelled"),
        (grpc.StatusCode.INTERNAL, "errored"),
        (grpc.StatusCode.UNAUTHENTICATED, "errored"),
        (WRONG, "wrong"),
        (DROPPED, "dropped"),
    ],
)
def test_each_status_has_its_outcome(code: int | grpc.StatusCode, outcome: str) -> None:
    counts = write([plain(code), plain(OK)]).tally.counts
    assert {name for name in OUTCOMES if getattr(counts, name)} == {outcome, "completed"}


def test_late_is_what_completed_after_more_than_it_was_given() -> None:
    recorder = Recorder(late_after=10 * MS)
    write(
        [plain(OK, 0, MS, 9 * MS), plain(OK, 0, MS, 9 * MS + 1), plain(grpc.StatusCode.INTERNAL, 0, 0, SECOND)],
        recorder,
    )
    assert recorder.tally.counts == Counts(3, 3, completed=2, errored=1, late=1)


def test_a_request_may_be_due_sent_and_answered_in_seconds_of_their_own() -> None:
    report = summarise(write([plain(OK), plain(OK, 900 * MS, 200 * MS, 2 * SECOND), plain(DROPPED, SECOND)]).tally)
    rows = [(second.counts.offered, second.counts.sent, second.counts.completed) for second in report.intervals]
    assert rows == [(2, 1, 1), (1, 1, 0), (0, 0, 0), (0, 0, 1)]
    assert [second.counts.dropped for second in report.intervals] == [0, 1, 0, 0]
    assert [second.in_flight for second in report.intervals] == [0, 1, 1, 0]
    assert [second.latency.count for second in report.intervals] == [1, 0, 0, 1]


def test_failures_and_dropped_arrivals_have_no_latency() -> None:
    tally = write(
        [plain(OK, 0, MS, 2 * MS), plain(grpc.StatusCode.UNAVAILABLE, 0, 4 * MS, 9 * MS), plain(DROPPED)]
    ).tally
    assert (tally.latency.total, tally.service.total, tally.lag.total) == (1, 1, 2)
    assert tally.latency.value_at(100) == pytest.approx(3 * MS, rel=1e-3)
    assert tally.lag.value_at(100) == pytest.approx(4 * MS, rel=1e-3)


def test_texts_are_counted_by_kind_and_bounded() -> None:
    recorder = Recorder()
    for number in range(100):
        recorder.add_failure(0, 0, 1, STATUS_NUMBERS[grpc.StatusCode.INTERNAL], f"request {number} broke")
        recorder.add_failure(0, 0, 1, STATUS_NUMBERS[grpc.StatusCode.UNAVAILABLE], "Server draining")
    report = summarise(recorder.tally)
    assert report.statuses == {"INTERNAL": 100, "UNAVAILABLE": 100}
    assert report.failures[0] == Failure("UNAVAILABLE", "Server draining", 100)
    assert len(report.failures) < 20
    assert sum(kind.count for kind in report.failures) == 200


def test_an_hour_of_requests_is_folded_chunk_by_chunk() -> None:
    recorder, total = Recorder(), 20_000
    for number in range(total):
        recorder.add(number * MS, number * MS, number * MS + 50_000)
    assert len(recorder._entries) < 2048 * len(RecordBatch._fields)
    assert recorder.tally.counts.completed == total


def test_a_sink_sees_every_request_once_in_order() -> None:
    chunks: list[tuple[RecordBatch, int]] = []
    recorder = Recorder(sink=lambda chunk, start: chunks.append((chunk, start)))
    recorder.start(5)
    for number in range(3000):
        recorder.add(number, number + 1, number + 2, number % 17, number % 3)
    recorder.tally  # noqa: B018 (it folds the rest)
    assert np.array_equal(np.concatenate([chunk.due for chunk, _ in chunks]), np.arange(3000))
    assert np.array_equal(np.concatenate([chunk.status for chunk, _ in chunks]), np.arange(3000) % 17)
    assert len(chunks) > 2
    assert {start for _, start in chunks} == {5}


def test_looking_at_the_tally_changes_nothing() -> None:
    recorder, looked_at = write([plain(OK, 1)]), write([plain(OK, 1)])
    assert looked_at.tally.counts.offered == 1
    for each in (recorder, looked_at):
        write([plain(OK, 3 * SECOND), plain(OK, SECOND)], each)
    assert summarise(recorder.tally) == summarise(looked_at.tally)
