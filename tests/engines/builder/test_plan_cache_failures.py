"""Plans that cannot be built, kept or loaded: what is said, what is left behind, and what the next start does."""

import errno
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from engines.builder.cached_plans import (
    ILLEGAL_ADDRESS,
    OUT_OF_MEMORY,
    Open,
    builds,
    damage,
    leftovers,
    make_unwritable,
    plans,
    run,
    with_data_beside,
)

from engines import models
from yais.engines import EngineError
from yais.engines.tensorrt.library import find_library


def test_weights_that_are_missing_are_told(opened: Open, tmp_path: Path, folder: Path) -> None:
    path = with_data_beside(tmp_path / "model.onnx", "model.data")
    (tmp_path / "model.data").unlink()
    with pytest.raises(EngineError, match=rf"^engine '{path}': .*No such file or directory: '{tmp_path}/model\.data'"):
        opened(path)
    assert not folder.exists()


@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 10, None], ids=["empty", "garbage", "truncated"])
def test_a_file_that_is_no_onnx_file_is_told(
    opened: Open, model: Path, folder: Path, simulation: Any, content: bytes | None
) -> None:
    model.write_bytes(model.read_bytes()[:-1000] if content is None else content)
    with pytest.raises(EngineError, match=rf"^engine '{model}': cannot read {model} as an ONNX model: "):
        opened()
    assert not folder.exists()


def test_a_model_that_tensorrt_does_not_take_is_told_and_leaves_nothing(
    opened: Open, tmp_path: Path, folder: Path
) -> None:
    path = models.positives(tmp_path / "model.onnx")
    with pytest.raises(
        EngineError, match=rf"^engine '{path}': TensorRT .* does not take the model\n  node 2, operator"
    ):
        opened(path)
    assert plans(folder) == []
    assert leftovers(folder) == []


@pytest.mark.parametrize("code", [OUT_OF_MEMORY, ILLEGAL_ADDRESS])
def test_a_build_that_fails_leaves_nothing_and_the_next_may_succeed(
    opened: Open, simulation: Any, model: Path, folder: Path, code: int
) -> None:
    simulation.fail("build", code)
    with pytest.raises(EngineError, match=rf"^engine '{model}': TensorRT .* cannot build 'mlp': IBuilder::"):
        opened()
    assert plans(folder) == []
    assert leftovers(folder) == []
    run(opened())


def test_a_disk_that_is_full_leaves_nothing(
    opened: Open, simulation: Any, model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("yais.engines.builder.output.os.fsync", fail)
        with pytest.raises(
            EngineError, match=rf"^engine '{model}': cannot write {folder}/.*: No space left on device$"
        ):
            opened()
    assert plans(folder) == []
    assert leftovers(folder) == []
    run(opened())


def test_a_folder_that_cannot_be_made_is_told(opened: Open, model: Path, folder: Path) -> None:
    folder.touch()
    with pytest.raises(
        EngineError, match=rf"^engine '{model}': --plan-cache: cannot make the folder '{folder}': File exists$"
    ):
        opened()


def test_a_folder_that_cannot_be_written_is_told(opened: Open, model: Path, folder: Path) -> None:
    opened()
    make_unwritable(folder)
    plans(folder)[0].unlink()
    with pytest.raises(EngineError, match=rf"^engine '{model}': --plan-cache: cannot write '{folder}/.*\.lock': "):
        opened()


@pytest.mark.parametrize(
    ("package", "text"),
    [
        ("onnx", r"the package onnx is missing: pip install 'yais\[build\]'"),
        ("platformdirs", r"the package platformdirs is missing: pip install 'yais\[gpu\]', or --plan-cache"),
    ],
)
def test_a_package_that_is_missing_is_told(
    opened: Open, model: Path, monkeypatch: pytest.MonkeyPatch, package: str, text: str
) -> None:
    find_library("tensorrt")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineError, match=rf"^engine '{model}': {text}$"):
        opened(plan_cache=None)


@pytest.mark.parametrize("how", ["truncated", "empty", "garbage", "one bit", "another version"])
def test_a_plan_that_is_damaged_is_built_again(
    opened: Open, simulation: Any, folder: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    opened()
    (plan,) = plans(folder)
    damage(plan, how)
    run(opened())
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"Rebuilding the plan '{plan}': ")
    assert builds(simulation) == 2
    caplog.clear()
    run(opened())
    assert builds(simulation) == 2
    assert caplog.text == ""


def test_a_plan_that_is_damaged_where_nothing_can_be_written_is_told(opened: Open, folder: Path, model: Path) -> None:
    opened()
    make_unwritable(folder)
    damage(plans(folder)[0], "truncated")
    with pytest.raises(EngineError, match=rf"^engine '{model}': --plan-cache: cannot write "):
        opened()


def test_a_plan_that_cannot_be_built_again_is_tried_again_the_next_time(
    opened: Open, simulation: Any, folder: Path
) -> None:
    opened()
    damage(plans(folder)[0], "truncated")
    simulation.fail("build", OUT_OF_MEMORY)
    with pytest.raises(EngineError, match="cannot build 'mlp'"):
        opened()
    run(opened())
    assert builds(simulation) == 2


@pytest.mark.parametrize("call", ["deserialize", "cudaMalloc", "cuMemAlloc"])
def test_a_plan_for_which_there_is_no_memory_is_not_built_again(opened: Open, simulation: Any, call: str) -> None:
    opened()
    simulation.fail(call, OUT_OF_MEMORY)
    with pytest.raises(EngineError, match="memory"):
        opened()
    run(opened())
    assert builds(simulation) == 1
