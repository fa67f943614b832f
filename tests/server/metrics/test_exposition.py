import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    UnknownMetricFamily,
)
from prometheus_client.parser import text_string_to_metric_families

from yais.server.metrics.exposition import CONTENT_TYPE, render


def gauge(value: float, **labels: str) -> Metric:
    family = Metric("g", "A gauge", "gauge")
    family.add_sample("g", labels, value)
    return family


def lines(*families: Metric) -> list[str]:
    text = render(families)
    assert text == "" or text.endswith("\n")
    return text.splitlines()


def test_families_are_blocks_of_help_type_and_samples() -> None:
    counter = Metric("nv_count", "Things, counted", "counter")
    counter.add_sample("nv_count", {"model": "b", "version": "1"}, 3)
    counter.add_sample("nv_count", {"model": "a", "version": "1"}, 0.5)
    assert render([counter, gauge(2.0)]) == (
        "# HELP nv_count Things, counted\n"
        "# TYPE nv_count counter\n"
        'nv_count{model="b",version="1"} 3\n'
        'nv_count{model="a",version="1"} 0.5\n'
        "# HELP g A gauge\n"
        "# TYPE g gauge\n"
        "g 2\n"
    )


def test_no_families_are_no_text() -> None:
    assert render([]) == ""


def test_a_family_without_samples_is_still_declared() -> None:
    assert lines(Metric("g", "A gauge", "gauge")) == ["# HELP g A gauge", "# TYPE g gauge"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (-0.0, "0"),
        (1, "1"),
        (-3.0, "-3"),
        (1e17, "100000000000000000"),
        (85899345920.0, "85899345920"),
        (2**63, "9223372036854775808"),
        (0.1, "0.1"),
        (1 / 3, "0.3333333333333333"),
        (-2.5, "-2.5"),
        (5e-7, "5e-07"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
    ],
)
def test_whole_numbers_have_neither_exponent_nor_fraction(value: float, text: str) -> None:
    assert lines(gauge(value))[-1] == f"g {text}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('a"b', r"a\"b"),
        ("a\\b", r"a\\b"),
        ("a\nb", r"a\nb"),
        ('\\"\n', r"\\\"\n"),
        ("\\n", r"\\n"),
        ("é✓", "é✓"),
        ("a{b}=c,d", "a{b}=c,d"),
        ("", ""),
    ],
)
def test_a_label_is_escaped(value: str, text: str) -> None:
    assert lines(gauge(1, model=value))[-1] == f'g{{model="{text}"}} 1'


def test_a_help_text_is_escaped_but_keeps_its_quotes() -> None:
    assert lines(Metric("g", 'One "a"\nand a \\', "gauge"))[0] == '# HELP g One "a"\\nand a \\\\'


def test_labels_are_in_alphabetical_order_with_le_and_quantile_last() -> None:
    assert lines(gauge(1, quantile="0.5", zone="z", model="m"))[-1] == 'g{model="m",zone="z",quantile="0.5"} 1'
    assert lines(gauge(1, le="+Inf", version="1", model="m"))[-1] == 'g{model="m",version="1",le="+Inf"} 1'


def test_a_counter_with_total_is_declared_with_it_and_one_without_is_not() -> None:
    with_total = CounterMetricFamily("gc_objects", "Objects", labels=["generation"])
    with_total.add_metric(["0"], 5)
    assert lines(with_total) == [
        "# HELP gc_objects_total Objects",
        "# TYPE gc_objects_total counter",
        'gc_objects_total{generation="0"} 5',
    ]
    without = Metric("nv_count", "Things", "counter")
    without.add_sample("nv_count", {}, 5)
    assert lines(without)[1:] == ["# TYPE nv_count counter", "nv_count 5"]


def test_types_that_the_format_does_not_know_become_ones_that_it_does() -> None:
    info = InfoMetricFamily("build", "The build", value={"version": "1"})
    assert lines(info) == ["# HELP build_info The build", "# TYPE build_info gauge", 'build_info{version="1"} 1']
    unknown = UnknownMetricFamily("thing", "A thing", value=3)
    assert lines(unknown)[1:] == ["# TYPE thing untyped", "thing 3"]
    states = Metric("state", "The state", "stateset")
    assert lines(states)[1] == "# TYPE state gauge"


def test_a_histogram_has_its_buckets_under_its_own_type() -> None:
    histogram = HistogramMetricFamily("h", "Some", buckets=[("1.0", 2), ("+Inf", 3)], sum_value=4.5)
    assert lines(histogram)[1:] == [
        "# TYPE h histogram",
        'h_bucket{le="1.0"} 2',
        'h_bucket{le="+Inf"} 3',
        "h_count 3",
        "h_sum 4.5",
    ]


@given(st.dictionaries(st.sampled_from(["model", "gpu", "le"]), st.text()), st.floats(allow_nan=False))
@settings(deadline=None)
def test_prometheus_reads_back_what_was_written(labels: dict[str, str], value: float) -> None:
    (family,) = text_string_to_metric_families(render([gauge(value, **labels)]))
    (sample,) = family.samples
    assert (sample.labels, sample.value) == (labels, value)


def test_the_process_collectors_are_written_as_prometheus_knows_them() -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    text = render(registry.collect())
    assert re.search(r"^# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total \d", text, re.MULTILINE)
    assert re.search(r"^# TYPE process_resident_memory_bytes gauge$", text, re.MULTILINE)
    assert re.search(r"^# TYPE python_info gauge\npython_info\{", text, re.MULTILINE)


def test_the_content_type_names_the_version_of_the_format() -> None:
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
