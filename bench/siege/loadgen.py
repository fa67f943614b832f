"""MLPerf's LoadGen. `python -m bench.siege.loadgen RATE COUNT` tells how far behind its schedule it issues queries.

Those are answered at once, within its own process: nothing keeps it from its schedule but itself. To the tests it is an
oracle, since it counts latency from the moment a query was scheduled, as siege does.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import mlperf_loadgen
import numpy as np
from numpy.typing import NDArray

Answer = Callable[[Callable[[], None]], None]


@dataclass(frozen=True, slots=True)
class Queries:
    """In nanoseconds: when each was scheduled, since the first one, and how long after it was issued and answered."""

    scheduled: NDArray[np.int64]
    lag: NDArray[np.int64]
    latency: NDArray[np.int64]


def main(rate: float, count: int) -> None:
    """Prints the fields of a `Sending` as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        began = monotonic(), process_time()
        queries = serve(Path(folder), rate, count, lambda complete: complete())
        busy = (process_time() - began[1]) / (monotonic() - began[0])
    p50, p99, most = np.percentile(queries.lag, (50, 99, 100)) / 1e6
    achieved = np.ptp(queries.scheduled) / ((queries.scheduled + queries.lag).max() - queries.scheduled.min())
    print(json.dumps({"achieved": achieved, "lag_p50": p50, "lag_p99": p99, "lag_max": most, "busy": busy}))


def serve(folder: Path, rate: float, count: int, answer: Answer, seed: int | None = None) -> Queries:
    """Runs its Server scenario, which has Poisson arrivals; its logs go into `folder`.

    `answer` gets for each query what completes it, on any thread. Without `seed`, LoadGen's own.
    """

    def issue(samples: list[Any]) -> None:
        responses = [mlperf_loadgen.QuerySampleResponse(sample.id, 0, 0) for sample in samples]
        answer(lambda: mlperf_loadgen.QuerySamplesComplete(responses))

    server = mlperf_loadgen.ConstructSUT(issue, lambda: None)
    # LoadGen insists on a library of samples; this one has a single sample and loads nothing.
    library = mlperf_loadgen.ConstructQSL(1, 1, lambda samples: None, lambda samples: None)
    mlperf_loadgen.StartTestWithLogSettings(server, library, _settings(rate, count, seed), _log_settings(folder), "")
    mlperf_loadgen.DestroyQSL(library)
    mlperf_loadgen.DestroySUT(server)
    return _read_trace(folder / "mlperf_log_trace.json")


def _read_trace(path: Path) -> Queries:
    with path.open() as file:
        events = [json.loads(line.rstrip(",\n")) for line in file if line.startswith('{"name":"Sample"')]
    begins = sorted((event for event in events if event["ph"] == "b"), key=lambda event: int(event["id"]))
    # In microseconds, with three decimals.
    scheduled = np.array([round(event["ts"] * 1000) for event in begins])
    lag, latency = (np.array([event["args"][name] for event in begins]) for name in ("issue_start_ns", "complete_ns"))
    return Queries(scheduled - scheduled[0], lag, latency)


def _settings(rate: float, count: int, seed: int | None) -> Any:
    settings = mlperf_loadgen.TestSettings()
    settings.scenario = mlperf_loadgen.TestScenario.Server
    settings.mode = mlperf_loadgen.TestMode.PerformanceOnly
    settings.server_target_qps = rate
    settings.min_query_count = settings.max_query_count = count
    # The count alone decides when a run ends.
    settings.min_duration_ms = 1
    if seed is not None:
        settings.schedule_rng_seed = seed
    return settings


def _log_settings(folder: Path) -> Any:
    logs, output = mlperf_loadgen.LogSettings(), mlperf_loadgen.LogOutputSettings()
    output.outdir = str(folder)
    output.copy_summary_to_stdout = False
    logs.log_output = output
    # The trace is where the lags come from.
    logs.enable_trace = True
    return logs


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
