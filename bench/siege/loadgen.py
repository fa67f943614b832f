"""`python -m bench.siege.loadgen RATE COUNT`: MLPerf's LoadGen, and how far behind its own schedule it issues queries.

They are answered at once, within its own process: nothing keeps it from its schedule but itself.
"""

import json
import sys
import tempfile
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import mlperf_loadgen
import numpy as np


def main(rate: float, count: int) -> None:
    """Prints the fields of a `Sending` as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        began = monotonic(), process_time()
        serve(folder, rate, count)
        busy = (process_time() - began[1]) / (monotonic() - began[0])
        scheduled, issued = read_trace(Path(folder) / "mlperf_log_trace.json")
    p50, p99, most = np.percentile(issued - scheduled, (50, 99, 100)) / 1e6
    achieved = np.ptp(scheduled) / (issued.max() - scheduled.min())
    print(json.dumps({"achieved": achieved, "lag_p50": p50, "lag_p99": p99, "lag_max": most, "busy": busy}))


def serve(folder: str, rate: float, count: int) -> None:
    """Its Server scenario, which has Poisson arrivals."""
    server = mlperf_loadgen.ConstructSUT(_answer, lambda: None)
    library = mlperf_loadgen.ConstructQSL(1, 1, lambda samples: None, lambda samples: None)
    mlperf_loadgen.StartTestWithLogSettings(server, library, _settings(rate, count), _log_settings(folder), "")
    mlperf_loadgen.DestroyQSL(library)
    mlperf_loadgen.DestroySUT(server)


def read_trace(path: Path) -> tuple[Any, Any]:
    """When each query was scheduled and when it was issued, in nanoseconds."""
    with path.open() as file:
        events = [json.loads(line.rstrip(",\n")) for line in file if line.startswith('{"name":"Sample"')]
    begins = [event for event in events if event["ph"] == "b"]
    # In microseconds, with three decimals.
    scheduled = np.array([round(event["ts"] * 1000) for event in begins])
    return scheduled, scheduled + np.array([event["args"]["issue_start_ns"] for event in begins])


def _answer(samples: list[Any]) -> None:
    mlperf_loadgen.QuerySamplesComplete([mlperf_loadgen.QuerySampleResponse(sample.id, 0, 0) for sample in samples])


def _settings(rate: float, count: int) -> Any:
    settings = mlperf_loadgen.TestSettings()
    settings.scenario = mlperf_loadgen.TestScenario.Server
    settings.mode = mlperf_loadgen.TestMode.PerformanceOnly
    settings.server_target_qps = rate
    settings.min_query_count = settings.max_query_count = count
    settings.min_duration_ms = 1
    return settings


def _log_settings(folder: str) -> Any:
    logs, output = mlperf_loadgen.LogSettings(), mlperf_loadgen.LogOutputSettings()
    output.outdir = folder
    output.copy_summary_to_stdout = False
    logs.log_output = output
    logs.enable_trace = True
    return logs


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
