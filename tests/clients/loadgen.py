"""MLPerf's LoadGen as an oracle: it counts latency from the moment a query was scheduled, as siege does."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

mlperf = pytest.importorskip("mlperf_loadgen")


@dataclass(frozen=True, slots=True)
class Queries:
    """In nanoseconds: when each was scheduled, since the first one, and how long after it was issued and answered."""

    scheduled: NDArray[np.int64]
    lag: NDArray[np.int64]
    latency: NDArray[np.int64]


def serve(folder: Path, rate: float, count: int, seed: int, answer: Callable[[Callable[[], None]], None]) -> Queries:
    """Runs its Server scenario, Poisson arrivals; `answer` gets for each query what completes it, on any thread."""

    def issue(samples: list[Any]) -> None:
        responses = [mlperf.QuerySampleResponse(sample.id, 0, 0) for sample in samples]
        answer(lambda: mlperf.QuerySamplesComplete(responses))

    server = mlperf.ConstructSUT(issue, lambda: None)
    library = mlperf.ConstructQSL(1, 1, lambda samples: None, lambda samples: None)
    mlperf.StartTestWithLogSettings(server, library, settings(rate, count, seed), log_settings(folder), "")
    mlperf.DestroyQSL(library)
    mlperf.DestroySUT(server)
    return read_trace(folder / "mlperf_log_trace.json")


def settings(rate: float, count: int, seed: int) -> Any:
    settings = mlperf.TestSettings()
    settings.scenario = mlperf.TestScenario.Server
    settings.mode = mlperf.TestMode.PerformanceOnly
    settings.server_target_qps = rate
    settings.schedule_rng_seed = seed
    settings.min_query_count = settings.max_query_count = count
    settings.min_duration_ms = 1
    return settings


def log_settings(folder: Path) -> Any:
    logs, output = mlperf.LogSettings(), mlperf.LogOutputSettings()
    output.outdir = str(folder)
    output.copy_summary_to_stdout = False
    logs.log_output = output
    logs.enable_trace = True
    return logs


def read_trace(path: Path) -> Queries:
    with path.open() as file:
        events = [json.loads(line.rstrip(",\n")) for line in file if line.startswith('{"name":"Sample"')]
    begins = sorted((event for event in events if event["ph"] == "b"), key=lambda event: int(event["id"]))
    # In microseconds, with three decimals.
    scheduled = np.array([round(event["ts"] * 1000) for event in begins])
    lag, latency = (np.array([event["args"][name] for event in begins]) for name in ("issue_start_ns", "complete_ns"))
    return Queries(scheduled - scheduled[0], lag, latency)
