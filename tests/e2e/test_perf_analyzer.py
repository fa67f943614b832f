import csv
import os
import subprocess
from pathlib import Path

import pytest

from e2e.peers import PERF_ANALYZER, require
from e2e.scrape import growth
from e2e.serving import Serving

# Windows of few requests, and stability to within a factor: what is tested is that the two understand each other.
QUICK = [
    "--measurement-mode",
    "count_windows",
    "--measurement-request-count",
    "50",
    "-s",
    "300",
    "-r",
    "6",
    "--verbose-csv",
]
SERVER_COLUMNS = ("Server Queue", "Server Compute Input", "Server Compute Infer", "Server Compute Output")

LOADS = {
    "four at a time": ["-m", "mlp", "--concurrency-range", "4"],
    "several rows, asynchronously": ["-m", "mlp", "--concurrency-range", "8", "-b", "5", "--async"],
    "a model without batches": ["-m", "identity", "--shape", "INPUT0:16", "--concurrency-range", "2"],
    "strings": ["-m", "strings", "--shape", "INPUT0:3", "--string-length", "20", "--concurrency-range", "2"],
    "a rate": ["-m", "two", "--request-rate-range", "100"],
}


@pytest.mark.parametrize("load", LOADS)
def test_perf_analyzer_measures_and_finds_the_servers_own_statistics(
    server: Serving, tmp_path: Path, load: str
) -> None:
    report = tmp_path / "report.csv"
    before = server.samples()
    analyzer = require(PERF_ANALYZER)
    done = subprocess.run(
        [analyzer, "-i", "grpc", "-u", server.address, *LOADS[load], *QUICK, "-f", report],
        env={**os.environ, "LD_LIBRARY_PATH": str(analyzer.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rror" not in done.stdout + done.stderr
    (row,) = csv.DictReader(report.read_text().splitlines())
    assert float(row["Inferences/Second"]) > 0
    assert float(row["p99 latency"]) > 0
    assert sum(float(row[column]) for column in SERVER_COLUMNS) > 0
    assert growth(before, server.samples(), "nv_inference_request_success") > 0
    assert growth(before, server.samples(), "nv_inference_request_failure", reason="OTHER") == 0
