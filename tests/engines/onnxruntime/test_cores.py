import os
from pathlib import Path

import pytest

from engines import models
from yais.engines import EngineOptions, open_engine
from yais.engines.onnxruntime import session as session_module
from yais.engines.onnxruntime.cpu import OrtEngine
from yais.engines.onnxruntime.session import threads_per_context, usable_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000\n", 8),
        ("400000 100000\n", 4),
        ("450000 100000\n", 4),
        ("50000 100000\n", 1),
        ("100000 100000\n", 1),
        ("200000 50000\n", 4),
        ("1600000 100000\n", 8),
    ],
)
def test_a_quota_bounds_the_cores_of_the_affinity_mask(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert usable_cores(tmp_path / "cpu.max") == cores


def test_without_a_quota_file_the_affinity_mask_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "missing") == 8
    assert usable_cores(tmp_path) == 8


def test_this_machine_has_a_core() -> None:
    assert usable_cores() >= 1


@pytest.mark.parametrize(
    ("contexts", "cores", "threads"), [(1, 8, 8), (2, 8, 4), (3, 8, 2), (8, 8, 1), (9, 8, 1), (1, 1, 1)]
)
def test_contexts_share_the_cores(contexts: int, cores: int, threads: int) -> None:
    assert threads_per_context(contexts, cores) == threads


@pytest.mark.parametrize(
    ("options", "threads"),
    [(EngineOptions(), 6), (EngineOptions(contexts=4), 1), (EngineOptions(contexts=4, threads=3), 3)],
)
def test_a_session_has_the_threads_that_its_contexts_leave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: EngineOptions, threads: int
) -> None:
    monkeypatch.setattr(session_module, "usable_cores", lambda: 6)
    engine = open_engine(models.identity(tmp_path / "m.onnx"), options)
    assert isinstance(engine, OrtEngine)
    assert engine.session.get_session_options().intra_op_num_threads == threads
