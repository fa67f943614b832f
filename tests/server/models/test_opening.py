"""Which models are opened with batches, and how the log says so."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from server.fake_engine import FakeEngine
from yais.engines import Array, EngineError, EngineOptions
from yais.server.config import EngineSource
from yais.server.models import opening
from yais.server.models.opening import open_batchable

PATH = Path("m.onnx")


@dataclass
class File:
    """What each opening of a file gives: an engine of as many rows as are asked for, 8 at most."""

    declares_batch: bool
    is_refused: bool = False
    engines: list[FakeEngine] = field(default_factory=list)

    def open(self, path: Path, options: EngineOptions) -> FakeEngine:
        assert path == PATH
        rows = 8 if options.max_batch_size is None else min(8, options.max_batch_size)
        engine = FakeEngine(max_batch_size=rows, declares_batch=self.declares_batch, on_run=self.on_run)
        self.engines.append(engine)
        return engine

    def on_run(self, rows: Array) -> None:
        if self.is_refused:
            raise EngineError("not these")


def opened(file: File, monkeypatch: pytest.MonkeyPatch, own: int | None = None, bound: int | None = None) -> FakeEngine:
    monkeypatch.setattr(opening, "open_engine", file.open)
    engine = open_batchable(EngineSource("m", PATH, max_batch_size=own), EngineOptions(max_batch_size=bound))
    assert engine is file.engines[-1]
    assert not file.engines[-1].closed
    return file.engines[-1]


@pytest.mark.parametrize(
    ("declares", "own", "bound", "rows", "runs", "text"),
    [
        (True, None, None, 8, 0, "is run in batches of up to 8 rows: its file declares them"),
        (True, None, 4, 4, 0, "is run in batches of up to 4 rows: its file declares them"),
        (False, 4, 4, 4, 0, "is run in batches of up to 4 rows, as is set for it"),
        (False, None, None, 8, 4, "is run in batches of up to 8 rows: random rows gave the same together as alone"),
        (False, None, 2, 2, 3, "is run in batches of up to 2 rows: random rows gave the same together as alone"),
        (False, 0, 0, 0, 0, "is not batched: max-batch-size is 0"),
        (False, None, 1, 1, 0, "is not batched: max-batch-size is 1"),
    ],
)
def test_a_model_is_batched_where_its_file_or_its_settings_say_so_or_its_rows_are_independent(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    declares: bool,
    own: int | None,
    bound: int | None,
    rows: int,
    runs: int,
    text: str,
) -> None:
    caplog.set_level(logging.INFO, "yais.server")
    engine = opened(File(declares), monkeypatch, own, bound)
    assert (engine.max_batch_size, len(engine.runs)) == (rows, runs)
    assert caplog.record_tuples == [("yais.server.models.opening", logging.INFO, f"Model 'm' {text}")]


def test_a_model_that_nothing_is_known_of_is_opened_again_without_batches(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = File(declares_batch=False, is_refused=True)
    assert opened(file, monkeypatch).max_batch_size == 0
    assert [engine.closed for engine in file.engines] == [1, 0]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "Model 'm' is not batched, since its file declares no batches and random rows could not be run: not these; "
        "if its rows are independent, set max-batch-size for this model"
    )


def test_a_bound_for_all_models_declares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(File(declares_batch=False, is_refused=True), monkeypatch, bound=16).max_batch_size == 0


def test_an_engine_without_a_batch_dimension_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "yais.server")
    engine = FakeEngine(max_batch_size=0, declares_batch=False)
    monkeypatch.setattr(opening, "open_engine", lambda path, options: engine)
    assert open_batchable(EngineSource("m", PATH), EngineOptions()) is engine
    assert caplog.messages == ["Model 'm' is not batched: it has no batch dimension"]
