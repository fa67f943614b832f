import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import click
import numpy as np
import pytest
from click.testing import CliRunner
from clients.made_snapshots import MS, histogram, made_snapshot
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from yais.clients.channel import HostPort
from yais.clients.options import Parsed
from yais.clients.siege.cli import parse_address
from yais.clients.siege.prometheus import BOUNDS, SiegeCollector, buckets
from yais.clients.siege.terminal import open_views
from yais.clients.stats.histogram import Histogram
from yais.clients.stats.outcomes import OUTCOMES, Counts

ROOT = Path(__file__).parents[3]
PROMTOOL = ROOT / "build" / "peers" / "prometheus" / "promtool"
LOCAL = HostPort("127.0.0.1", 0)
INFO = {"target": "localhost:50051", "version": "0.1.0"}
LOST = Counts(offered=12, sent=10, dropped=2, completed=3, rejected=2, timed_out=1, cancelled=1, errored=1, wrong=2)

Samples = Mapping[str, float]


def page(metrics: SiegeCollector) -> str:
    registry = CollectorRegistry()
    registry.register(metrics)
    return generate_latest(registry).decode()


def samples(text: str) -> Samples:
    """By their names with their labels' values."""
    families = text_string_to_metric_families(text)
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def metrics() -> SiegeCollector:
    return SiegeCollector(INFO)


@pytest.fixture
def told(metrics: SiegeCollector) -> Callable[..., Samples]:
    """What is told after these snapshots."""

    def tell(*snapshots: Any) -> Samples:
        for snapshot in snapshots:
            metrics.show(snapshot)
        return samples(page(metrics))

    return tell


def test_outcomes_and_in_flight_add_up_to_all_that_was_due(told: Callable[..., Samples]) -> None:
    values = told(made_snapshot(1.0, counts=LOST, in_flight=4))
    by_outcome = {outcome: values[f"siege_requests_total {outcome}"] for outcome in OUTCOMES}
    assert by_outcome == {outcome: getattr(LOST, outcome) for outcome in OUTCOMES}
    assert sum(by_outcome.values()) + values["siege_in_flight"] == LOST.offered + 4


def test_what_went_wrong_is_told_by_status(told: Callable[..., Samples]) -> None:
    values = told(made_snapshot(failures={"UNAVAILABLE": 2, "WRONG": 1}, counts=replace(LOST, late=1), warm_up=9))
    failures = {name: value for name, value in values.items() if name.startswith("siege_failures_total")}
    assert failures == {"siege_failures_total UNAVAILABLE": 2, "siege_failures_total WRONG": 1}
    assert (values["siege_late_requests_total"], values["siege_warm_up_requests_total"]) == (1, 9)


def test_durations_are_those_of_all_snapshots(told: Callable[..., Samples]) -> None:
    values = told(
        made_snapshot(0.7, 3.0, lags=(0.05, 0.2), counts=Counts(2, 2, 0, 2)),
        made_snapshot(20_000.0, lags=(0.2,), counts=Counts(3, 3, 0, 3)),
    )
    duration = {bound: values[f"siege_request_duration_seconds_bucket {bound}"] for bound in (0.0005, 0.001, 0.005)}
    assert duration == {0.0005: 0, 0.001: 1, 0.005: 2}
    assert values["siege_request_duration_seconds_bucket 10.0"] == 2
    assert values["siege_request_duration_seconds_bucket +Inf"] == values["siege_requests_total completed"] == 3
    assert values["siege_request_duration_seconds_count"] == 3
    assert values["siege_request_duration_seconds_sum"] == pytest.approx(20.0037, rel=1e-3)
    assert values["siege_send_lag_seconds_bucket 0.0001"] == 1
    assert values["siege_send_lag_seconds_count"] == 3


def test_counters_go_on_over_the_runs_of_a_search(told: Callable[..., Samples]) -> None:
    first = made_snapshot(1.0, 2.0, in_flight=1, failures={"INTERNAL": 1}, warm_up=5)
    over = made_snapshot(3.0, counts=Counts(3, 3, 0, 3), failures={"INTERNAL": 2}, warm_up=5, last=True)
    told(first)
    between = told(over)
    assert (between["siege_requests_total completed"], between["siege_in_flight"]) == (3, 0)
    assert (between["siege_rate_asked"], between["siege_failures_total INTERNAL"]) == (0, 2)
    second = told(made_snapshot(4.0, asked=5000.0, in_flight=7, failures={"UNAVAILABLE": 1}, warm_up=1))
    assert (second["siege_requests_total completed"], second["siege_in_flight"]) == (4, 7)
    assert (second["siege_rate_asked"], second["siege_warm_up_requests_total"]) == (5000, 6)
    assert (second["siege_failures_total INTERNAL"], second["siege_failures_total UNAVAILABLE"]) == (2, 1)
    third = told(made_snapshot(4.0, 5.0, counts=Counts(2, 2, 0, 2), failures={"UNAVAILABLE": 1}, warm_up=1, last=True))
    assert third["siege_requests_total completed"] == 5
    assert (third["siege_failures_total INTERNAL"], third["siege_failures_total UNAVAILABLE"]) == (2, 1)
    fourth = told(made_snapshot(6.0))
    assert fourth["siege_requests_total completed"] == 6


def test_the_run_that_goes_on_is_counted_once(told: Callable[..., Samples]) -> None:
    values = told(made_snapshot(1.0), made_snapshot(2.0, counts=Counts(2, 2, 0, 2)))
    assert values["siege_requests_total completed"] == values["siege_request_duration_seconds_count"] == 2


def test_a_closed_loop_has_neither_a_rate_that_was_asked_for_nor_lag(told: Callable[..., Samples]) -> None:
    values = told(made_snapshot(1.0, asked=None, lags=(1.0,)))
    assert not any(name.startswith(("siege_rate_asked", "siege_send_lag")) for name in values)


def test_before_anything_has_happened_the_counters_stand_at_nothing(told: Callable[..., Samples]) -> None:
    values = told()
    assert values["siege_info localhost:50051 0.1.0"] == 1
    assert {values[f"siege_requests_total {outcome}"] for outcome in OUTCOMES} == {0}
    assert values["siege_request_duration_seconds_count"] == values["siege_in_flight"] == 0


def test_a_bound_is_within_its_bucket() -> None:
    at_bounds = Histogram()
    at_bounds.add(np.rint(np.array(BOUNDS) * 1000 * MS).astype(np.int64))
    counted, seconds = buckets(at_bounds)
    assert [count for _, count in counted] == [*range(1, len(BOUNDS) + 1), len(BOUNDS)]
    assert [bound for bound, _ in counted] == [*map(str, BOUNDS), "+Inf"]
    assert seconds == pytest.approx(sum(BOUNDS), rel=1e-3)


def test_buckets_say_what_the_histogram_says() -> None:
    durations = np.random.default_rng(1).gamma(0.3, 100 * MS, 5000).astype(np.int64)
    many = Histogram()
    many.add(durations)
    counted, seconds = buckets(many)
    assert seconds == pytest.approx(durations.sum() / 1e9, rel=1e-3)
    for bound, count in counted[:-1]:
        assert count == many.total - many.above(round(float(bound) * 1000 * MS))


def test_buckets_of_nothing_are_empty() -> None:
    counted, seconds = buckets(histogram())
    assert (seconds, {count for _, count in counted}) == (0.0, {0})


def test_promtool_has_no_complaints(metrics: SiegeCollector) -> None:
    if not PROMTOOL.exists() and os.environ.get("YAIS_REQUIRE_PEERS") != "1":
        pytest.skip(f"{PROMTOOL.relative_to(ROOT)} is missing: make test makes it")
    metrics.show(made_snapshot(1.0, lags=(1.0,), counts=LOST, failures={"INTERNAL": 1}))
    command = [PROMTOOL, "check", "metrics"]
    done = subprocess.run(command, input=page(metrics), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.fixture
def endpoint(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], tuple[Any, str]]]:
    """Opens views with an endpoint, and gives them and its URL, as it is announced."""
    with ExitStack() as stack:

        def start() -> tuple[Any, str]:
            views = stack.enter_context(open_views(LOCAL, INFO))
            said = capsys.readouterr().err
            assert said.startswith("metrics at http://127.0.0.1:")
            return views, said.split()[-1]

        yield start


def scraped(url: str) -> Samples:
    with urlopen(url, timeout=60) as answer:
        return samples(answer.read().decode())


def test_a_scrape_sees_the_latest_snapshot(endpoint: Callable[[], tuple[Any, str]]) -> None:
    views, url = endpoint()
    assert scraped(url)["siege_requests_total completed"] == 0
    views.show(made_snapshot(1.0, 2.0))
    assert scraped(url)["siege_requests_total completed"] == 2


def test_the_endpoint_ends_with_the_views(capsys: pytest.CaptureFixture[str]) -> None:
    with open_views(LOCAL, INFO):
        address = capsys.readouterr().err.split("/")[2]
    # The port is free again.
    with open_views(parse_address(address), INFO):
        assert address in capsys.readouterr().err


@click.command()
@click.option("--metrics", type=Parsed("address", parse_address))
def command(metrics: HostPort | None) -> None:
    with open_views(metrics, INFO):
        click.echo(f"at {metrics}")


def test_a_port_that_is_taken_is_bad_usage(endpoint: Callable[[], tuple[Any, str]]) -> None:
    port = endpoint()[1].split("/")[2].split(":")[1]
    result = CliRunner().invoke(command, ["--metrics", port])
    assert result.exit_code == 2
    assert f"Invalid value for '--metrics': 127.0.0.1:{port}: Address already in use" in result.output


def test_a_host_that_is_not_ours_is_bad_usage() -> None:
    result = CliRunner().invoke(command, ["--metrics", "192.0.2.1:9100"])
    assert result.exit_code == 2
    assert "Invalid value for '--metrics': 192.0.2.1:9100: " in result.output


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9100", HostPort("127.0.0.1", 9100)),
        ("0", LOCAL),
        ("0.0.0.0:65535", HostPort("0.0.0.0", 65535)),
        ("localhost:1", HostPort("localhost", 1)),
        ("[::1]:9100", HostPort("::1", 9100)),
    ],
)
def test_an_address_is_a_port_or_a_host_and_a_port(text: str, address: HostPort) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("text", ["", ":9100", "host:", "host", "-1", "9100.0", "::1:9100", "[]:9100", "²"])
def test_what_is_no_address_is_bad_usage(text: str) -> None:
    result = CliRunner().invoke(command, ["--metrics", text])
    assert result.exit_code == 2
    assert f"Invalid value for '--metrics': {text!r} is not PORT or HOST:PORT" in result.output


@pytest.mark.parametrize(
    ("text", "reason"), [("65536", "port 65536 is above 65535"), ("a..b:1", "'a..b' is not a host name")]
)
def test_an_address_that_nobody_has_is_bad_usage(text: str, reason: str) -> None:
    result = CliRunner().invoke(command, ["--metrics", text])
    assert result.exit_code == 2
    assert f"Invalid value for '--metrics': {reason}" in result.output


def test_an_endpoint_on_ipv6_is_announced_as_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with open_views(HostPort("::1", 0), INFO):
        url = capsys.readouterr().err.split()[-1]
        assert url.startswith("http://[::1]:")
        assert scraped(url)["siege_in_flight"] == 0


def test_without_the_option_nothing_listens() -> None:
    assert CliRunner().invoke(command, []).output == "at None\n"


def test_the_page_explains_every_family(metrics: SiegeCollector) -> None:
    metrics.show(made_snapshot(1.0, lags=(1.0,), counts=LOST, failures={"INTERNAL": 1}))
    families = {line.split()[2] for line in page(metrics).splitlines() if line.startswith("# TYPE")}
    text = (ROOT / "docs" / "siege.md").read_text()
    assert {family for family in families if f"`{family}`" not in text} == set()
