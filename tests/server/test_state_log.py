import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from server.fake_engine import FakeEngine, options
from yais.engines import EngineOptions
from yais.engines.onnxruntime import session
from yais.server.models.model import Model
from yais.server.state_log import LoadMeter


async def loaded(caplog: pytest.LogCaptureFixture, engine: FakeEngine, opened: EngineOptions) -> dict[str, Any]:
    """The record of a model that was loaded at once."""
    caplog.set_level(logging.INFO, "yais.server")
    meter = LoadMeter()
    meter.log(Model("m", engine, options(contexts=1, buffers=3), asyncio.get_running_loop()), Path("m.onnx"), opened)
    (record,) = caplog.records
    return vars(record)


async def test_a_model_is_loaded_with_the_threads_that_were_set(caplog: pytest.LogCaptureFixture) -> None:
    record = await loaded(caplog, FakeEngine(), EngineOptions(threads=3))
    assert record["message"].startswith("Loaded 'm' from 'm.onnx' in 0.")
    assert record["message"].endswith("batches of up to 8, 1 context, 3 buffers, 3 threads per run")
    assert (record["model"], record["path"], record["threads"]) == ("m", "m.onnx", 3)
    assert 0 <= record["seconds"] < 60


async def test_threads_that_were_not_set_are_told_with_what_they_come_from(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "usable_cores", lambda: 8)
    record = await loaded(caplog, FakeEngine(), EngineOptions(contexts=1, runs=2))
    assert record["message"].endswith("3 buffers, 4 threads per run (8 cores for 2 runs at once)")


async def test_a_model_on_a_gpu_has_no_threads(caplog: pytest.LogCaptureFixture) -> None:
    record = await loaded(caplog, FakeEngine(device="cuda:0"), EngineOptions())
    assert record["message"].endswith("1 context, 3 buffers")
    assert "threads" not in record
