import csv
import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import grpc
import pytest
from clients.entries import MS, SECOND, Entry, plain, write
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given, settings
from hypothesis import strategies as st

from yais.clients.reporters import document
from yais.clients.reporters.tabular import RequestLog, by_second, histogram_log, spectrum
from yais.clients.stats.histogram import Histogram
from yais.clients.stats.outcomes import DROPPED, OK, STATUS_NUMBERS, WRONG
from yais.clients.stats.recorder import Recorder
from yais.clients.stats.report import Report, RunInfo, summarise

FACTS = RunInfo(
    command="siege --rate 2500",
    target="localhost:50051",
    schedule="constant",
    rate_asked=2500.0,
    seed=3,
    started="2026-03-01T12:00:00.250+00:00",
    versions={"yais": "0.1.0"},
    kinds=("mlp", "identity"),
    max_outstanding=950,
    cpu=(0.25, 1 / 3),
)
ENTRIES: list[Entry] = [
    (OK, 0, 12_345, 2 * MS, 0),
    (OK, 10 * MS, 0, 1_234_567, 1),
    (grpc.StatusCode.UNAVAILABLE, 20 * MS, 0, MS, 1),
    (WRONG, 30 * MS, 0, MS, 0),
    (DROPPED, 40 * MS, 0, 0, 0),
    (OK, 900 * MS, 0, 2300 * MS, 0),
]

unhurried = settings(deadline=None, max_examples=25)
latencies = st.lists(st.integers(1, 10**11), min_size=1, max_size=80)


@pytest.fixture
def report() -> Report:
    return summarise(write(ENTRIES).tally, FACTS)


def completed(latencies: list[int]) -> Histogram:
    return write([plain(OK, 0, 0, latency) for latency in latencies]).tally.latency


def test_a_report_comes_back_from_its_file_as_it_was(report: Report, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    document.write(report, file)
    assert document.read(file) == report
    assert document.dumps(document.read(file)) == file.read_text()


def test_the_histograms_come_back_whole(report: Report) -> None:
    again, tally = document.loads(document.dumps(report)), write(ENTRIES).tally
    assert again.latency.opened() == tally.latency
    assert again.lag.opened() == tally.lag
    assert [second.latency.histogram for second in again.intervals] == tally.seconds.latencies()


def test_the_document_says_what_it_is(report: Report) -> None:
    loaded = json.loads(document.dumps(report))
    assert loaded["schema"] == "yais.siege/3"
    assert loaded["verdict"]["limit"] == "cap"
    assert set(loaded) == {"schema", "verdict", "objectives", *asdict(report)}


def test_percentiles_come_back_in_their_order(report: Report) -> None:
    assert list(document.loads(document.dumps(report)).latency.ms) == list(report.latency.ms)


def changed(report: Report, **parts: object) -> str:
    return json.dumps({**json.loads(document.dumps(report)), **parts})


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"schema": "yais.siege/1"}, "its schema is 'yais.siege/1', not 'yais.siege/3'"),
        ({"schema": None}, "its schema is None, not 'yais.siege/3'"),
        ({"counts": {"offered": 5, "sent": 4}}, "a damaged report: counts that do not add up: offered 5"),
        ({"counts": {"sents": 4}}, "a damaged report: latency is that of [0-9]+ requests, not of 0"),
        ({"info": None}, r"a damaged report: Expected `object`, got `null` - at `\$.info`"),
        ({"rate_sent": "<b>"}, r"a damaged report: Expected `float`, got `str` - at `\$.rate_sent`"),
        ({"info": {"cpu": ["x"]}}, r"Expected `float`, got `str` - at `\$.info.cpu\[0\]`"),
        ({"info": {"loop": "ajar"}}, r"Invalid enum value 'ajar' - at `\$.info.loop`"),
        ({"lag": {"count": 1, "mean": 1.0, "ms": {}, "histogram": "AAAA"}}, "a damaged report: .*no HdrHistogram"),
        (
            {"lag": {"count": 1, "mean": 1.0, "ms": {"p1": 2.0}, "histogram": ""}},
            "the percentiles are p1, not p50, p90",
        ),
    ],
    ids=[
        "of the future",
        "of no kind",
        "lost requests",
        "unknown count",
        "no info",
        "text for a number",
        "text in a list",
        "another loop",
        "no histogram",
        "other percentiles",
    ],
)
def test_another_document_is_refused_with_what_is_wrong(report: Report, parts: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        document.loads(changed(report, **parts))


@pytest.mark.parametrize("text", ["", "[1]", "7", "NaN", "offered 3 = sent 3"])
def test_what_is_no_document_is_refused_with_its_file_s_name(text: str, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"notes\.txt: no report"):
        document.read(file)


def spectrum_rows(text: str) -> list[tuple[float, float, int]]:
    lines = [line.split() for line in text.splitlines()[2:] if not line.startswith("#")]
    return [(float(value), float(percentile), int(count)) for value, percentile, count, *_ in lines]


@unhurried
@given(latencies)
def test_the_spectrum_has_hdrhistogram_s_value_at_each_percentile(latencies: list[int]) -> None:
    reference = HdrHistogram(1, 10**12, 3)
    for latency in latencies:
        reference.record_value(latency)
    rows = spectrum_rows(spectrum(completed(latencies)))
    for value, percentile, count in rows:
        # The first value up to which there are as many as the percentile says, or more.
        assert count >= percentile * len(latencies) - 1e-6
        assert value == pytest.approx(reference.get_value_at_percentile(100 * count / len(latencies)) / 1e6, abs=1e-3)
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    assert rows[-1][1:] == (1.0, len(latencies))
    assert {count for _, _, count in rows} <= {
        sum(reference.values_are_equivalent(low, value) or low < value for low in latencies) for value in latencies
    }


def test_the_spectrum_looks_like_wrk2_s() -> None:
    text = spectrum(completed([number * MS for number in range(1, 1001)]))
    lines = text.splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    rows = spectrum_rows(text)
    assert [percentile for _, percentile, _ in rows[:12]] == [
        0,
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
        0.55,
        0.6,
        0.65,
        0.7,
        0.75,
        0.775,
    ]
    assert lines[2].split() == ["1.000", "0.000000000000", "1", "1.00"]
    assert lines[7].split() == ["500.171", "0.500000000000", "500", "2.00"]
    assert lines[-4].split() == ["1000.342", "1.000000000000", "1000"]
    assert lines[-3:] == [
        "#[Mean    =      500.500, StdDeviation   =      288.675]",
        "#[Max     =     1000.342, Total count    =         1000]",
        "#[Buckets =           20, SubBuckets     =         2048]",
    ]


def test_the_spectrum_of_nothing_has_no_rows() -> None:
    assert spectrum_rows(spectrum(Histogram())) == []


def read_log(path: Path) -> list[HdrHistogram]:
    reader = HistogramLogReader(str(path), HdrHistogram(1, 10**12, 3))
    histograms = []
    while (histogram := reader.get_next_interval_histogram()) is not None:
        histograms.append(histogram)
    reader.close()
    return histograms


def test_hdrhistogram_reads_the_log_and_finds_the_run_in_it(report: Report, tmp_path: Path) -> None:
    file = tmp_path / "run.hlog"
    file.write_text(histogram_log(report))
    reader = HistogramLogReader(str(file), HdrHistogram(1, 10**12, 3))
    first, second = reader.get_next_interval_histogram(), reader.get_next_interval_histogram()
    assert reader.get_next_interval_histogram() is None
    reader.close()
    assert reader.get_start_time_sec() == pytest.approx(1772366400.25)
    assert (first.get_total_count(), second.get_total_count()) == (2, 1)
    assert first.get_start_time_stamp() == pytest.approx(1772366400.25e3)
    assert second.get_start_time_stamp() == pytest.approx(1772366403.25e3)
    assert second.get_end_time_stamp() == pytest.approx(1772366404.25e3)
    first.add(second)
    for percentile in (50, 90, 100):
        assert first.get_value_at_percentile(percentile) == report.latency.opened().value_at(percentile)


def test_the_log_of_a_run_that_began_at_no_known_time_has_none(report: Report) -> None:
    log = histogram_log(replace(report, info=RunInfo()))
    assert "StartTime:" not in log
    assert [line.split(",")[:3] for line in log.splitlines()[2:]] == [
        ["0.000", "1.000", f"{report.intervals[0].latency.ms['max']:.3f}"],
        ["3.000", "1.000", f"{report.intervals[3].latency.ms['max']:.3f}"],
    ]


def test_csv_by_second_has_a_row_for_each_second(report: Report) -> None:
    first, second, third, last = csv.DictReader(io.StringIO(by_second(report)))
    assert list(first.items())[:5] == [
        ("second", "0"),
        ("offered", "6"),
        ("sent", "5"),
        ("dropped", "1"),
        ("completed", "2"),
    ]
    assert (first["rejected"], first["wrong"], first["late"]) == ("1", "1", "0")
    assert [row["in_flight"] for row in (first, second, third, last)] == ["1", "1", "1", "0"]
    assert float(first["p99_ms"]) == report.intervals[0].latency.ms["p99"]
    assert (second["completed"], second["p50_ms"]) == ("0", "")
    assert float(last["p50_ms"]) == pytest.approx(2300, rel=1e-3)


def test_csv_by_request_is_written_as_the_run_goes_on() -> None:
    file = io.StringIO()
    recorder = Recorder(sink=RequestLog(file))
    recorder.start(SECOND)
    recorder.drop(SECOND - 5, 1)
    recorder.add_failure(SECOND, SECOND + 7, SECOND + MS, STATUS_NUMBERS[grpc.StatusCode.INTERNAL], "it broke")
    recorder.add_wrong(SECOND, SECOND + 7, SECOND + MS, "2 is not 3")
    for number in range(1100):
        recorder.add(SECOND + number, SECOND + number + 1, SECOND + number + 20, kind=2)
    written = len(file.getvalue().splitlines())
    assert 1 < written < 1104
    assert recorder.tally.counts.offered == 1102
    rows = file.getvalue().splitlines()
    assert rows[:5] == [
        "due_ns,sent_ns,done_ns,status,kind",
        "-5,-5,-5,DROPPED,1",
        "0,7,1000000,INTERNAL,0",
        "0,7,1000000,WRONG,0",
        "0,1,20,OK,2",
    ]
    assert rows[-1] == "1099,1100,1119,OK,2"
    assert len(rows) == 1104
