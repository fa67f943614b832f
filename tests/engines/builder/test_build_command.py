import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import helper

from engines import models
from yais.engines import EngineError
from yais.engines.builder import cli, summary
from yais.engines.builder.build import BuildOptions, PreparedBuild, prepare
from yais.engines.builder.cli import main
from yais.engines.builder.progress import ProgressBar
from yais.engines.tensorrt.library import Features, Library, find_library
from yais.engines.tensorrt.plan import read_header

pytestmark = pytest.mark.usefixtures("rtx")

PROGRAM = "from yais.engines.builder.cli import main; main()"
RTX = ("--tensorrt", "tensorrt-rtx")


def engine_build(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def plan_of(result: Result, path: Path) -> bytes:
    """The plan in `path`, which the command has printed."""
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == str(path)
    data = path.read_bytes()
    assert read_header(data).flavour == "tensorrt-rtx"
    return data


def lines_of(result: Result, head: str) -> list[str]:
    return [line.removeprefix(head).strip() for line in result.stdout.splitlines() if line.startswith(head)]


def watched_options(monkeypatch: pytest.MonkeyPatch) -> list[BuildOptions]:
    """The options with which the command asks for builds."""
    seen: list[BuildOptions] = []

    def watch(path: Path, options: BuildOptions, library: Library) -> PreparedBuild:
        seen.append(options)
        return prepare(path, options, library)

    monkeypatch.setattr(cli, "prepare", watch)
    return seen


def refuse(plan: bytes, library: Library) -> NoReturn:
    raise EngineError("no GPU")


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    path = tmp_path / "mlp.onnx"
    assert engine_build("mlp", "-o", path).exit_code == 0
    return path


def test_a_plan_of_a_file_lands_beside_it(mlp: Path, rtx: Library) -> None:
    result = engine_build(mlp, *RTX)
    plan = plan_of(result, mlp.with_suffix(".engine"))
    assert lines_of(result, "input ") == ["INPUT0 FP32 [?, 64], 1x64 to 64x64"]
    assert lines_of(result, "output ") == ["OUTPUT0 FP32 [?, 10]"]
    assert lines_of(result, "layers ")[0].endswith("FP32")
    (size,) = lines_of(result, "plan ")
    assert size.startswith(f"{len(plan) / 1e3:.1f} kB, built by {rtx.title} in ")
    assert sorted(path.name for path in mlp.parent.iterdir()) == ["mlp.engine", "mlp.onnx"]


@pytest.mark.parametrize(
    ("loaded", "line"),
    [
        (lambda plan, library: (None, SimpleNamespace(device_memory_size_v2=12_345_678)), "12.3 MB"),
        (refuse, "unknown, since it cannot be loaded here: no GPU"),
    ],
    ids=["a GPU", "no GPU"],
)
def test_the_memory_of_a_run_is_known_where_there_is_a_gpu(
    loaded: Callable[..., Any], line: str, mlp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "load_plan", loaded)
    assert lines_of(engine_build(mlp, *RTX), "activations ") == [line]


@pytest.mark.parametrize(
    ("command", "sizes"),
    [
        ("efficientnet-lite0", "FP32 [?, 3, 224, 224], 1x3x224x224 to 8x3x224x224"),
        ("efficientnet-lite0 --input uint8 --max-batch 4", "UINT8 [?, 224, 224, 3], 1x224x224x3 to 4x224x224x3"),
    ],
)
def test_a_plan_of_the_demo_engine(command: str, sizes: str, tmp_path: Path) -> None:
    path = tmp_path / "demo.plan"
    result = engine_build(*command.split(), "-o", path, *RTX)
    assert len(plan_of(result, path)) > 10e6
    assert lines_of(result, "input ") == [f"input {sizes}"]


def test_several_ranges_with_all_their_bounds(mlp: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.engine"
    ranges = "--min-batch 1 --opt-batch 2 --max-batch 4 --min-batch 5 --opt-batch 16 --max-batch-size 32"
    result = engine_build(mlp, "-o", path, *ranges.split(), *RTX)
    plan_of(result, path)
    assert lines_of(result, "input ") == ["INPUT0 FP32 [?, 64], 1x64 to 4x64, 5x64 to 32x64"]


def test_a_recipe_is_made_for_the_largest_of_its_ranges(tmp_path: Path) -> None:
    path = tmp_path / "mlp.engine"
    result = engine_build("mlp", "-o", path, "--max-batch", "16", "--max-batch", "128", *RTX)
    plan_of(result, path)
    assert lines_of(result, "input ") == ["INPUT0 FP32 [?, 64], 1x64 to 16x64, 1x64 to 128x64"]


def test_shapes_by_name(tmp_path: Path) -> None:
    path = models.add(tmp_path / "add.onnx")
    result = engine_build(path, "--shape", "A=1:4:9", "--shape", "B=1:4:9", "--max-batch", "2", *RTX)
    plan_of(result, tmp_path / "add.engine")
    assert lines_of(result, "input ") == ["A FP32 [?, ?], 1x1 to 2x9", "B FP32 [?, ?], 1x1 to 2x9"]


def test_a_plan_in_half_precision_says_what_its_layers_compute_in(mlp: Path) -> None:
    result = engine_build(mlp, "--precision", "fp16", *RTX)
    plan_of(result, mlp.with_suffix(".engine"))
    assert "FP16" in lines_of(result, "layers ")[0]


@pytest.mark.parametrize("source", ["mlp", "mlp.onnx"])
def test_an_onnx_file_is_rewritten_to_a_precision(source: str, mlp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mlp.parent)
    result = engine_build(source, "--precision", "fp16", "-o", "half.onnx")
    assert result.stdout.splitlines()[0] == "half.onnx"
    assert result.stdout.splitlines()[1].startswith("mlp-fp16: ")
    assert 0.4 < Path("half.onnx").stat().st_size / mlp.stat().st_size < 0.6
    assert {weight.data_type for weight in onnx.load("half.onnx").graph.initializer} == {onnx.TensorProto.FLOAT16}


def test_a_precision_is_part_of_the_default_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    result = engine_build("mlp", "--precision", "bf16")
    assert result.stdout.splitlines()[0] == str(tmp_path / "yais" / "mlp-bf16.onnx")


def test_int8_by_calibration(mlp: Path, tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    samples.mkdir()
    for number in range(3):
        np.save(samples / f"{number}.npy", np.random.default_rng(number).standard_normal(64).astype(np.float32))
    calibration = ("--precision", "int8", "--calibrate", samples, "--calibration-pictures", "2")
    result = engine_build(mlp, *calibration, "-o", tmp_path / "int8.engine", *RTX)
    plan_of(result, tmp_path / "int8.engine")
    assert "INT8" in lines_of(result, "layers ")[0]
    assert engine_build(mlp, *calibration, "-o", tmp_path / "int8.onnx").exit_code == 0
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}


def test_a_dry_run_writes_nothing(mlp: Path, rtx: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(mlp.parent / "cache"))
    for source in ("mlp", mlp):
        result = engine_build(source, "--dry-run", *RTX)
        assert result.exit_code == 0
        assert result.stdout.splitlines()[0] == f"{rtx.title} takes {source}"
        assert lines_of(result, "input ") == ["INPUT0 FP32 [?, 64], 1x64 to 64x64"]
    assert list(mlp.parent.iterdir()) == [mlp]


def test_a_dry_run_says_what_is_not_supported_and_where(tmp_path: Path) -> None:
    node = helper.make_node("Foo", ["X"], ["Y"], name="strange", domain="my.operators")
    value = (models.FLOAT, ["N", 2])
    path = models.save(tmp_path / "odd.onnx", [node], [("X", *value)], [("Y", *value)])
    result = engine_build(path, "--dry-run", *RTX)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "node 'strange', operator Foo: INVALID_NODE: " in result.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "identity -o i.engine",
            "input 'INPUT0' has free dimensions, ? (the first is no batch, since",
        ),
        ("mlp -o mlp.engine --min-batch 65", "--max-batch: 64 is less than --min-batch, 65"),
        ("mlp.onnx --max-batch 65", "--max-batch: 65 is more than the 64 that the model declares"),
        ("mlp.onnx --shape X=1:2:3", "--shape X: the model has no such input"),
        ("mlp.onnx --precision int8", "--calibrate FOLDER"),
        ("mlp.onnx --capability 9.0", "--capability: TensorRT-RTX"),
        ("mlp.onnx --hardware-compatible ampere-plus", "--hardware-compatible: the plans of"),
        ("mlp.onnx --workspace 1MiB", "cannot build 'mlp'"),
        ("truncated.onnx", "cannot read truncated.onnx as an ONNX model"),
    ],
)
def test_what_cannot_be_built_exits_with_1(
    command: str, message: str, mlp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mlp.parent)
    Path("truncated.onnx").write_bytes(mlp.read_bytes()[:1000])
    result = engine_build(*command.split(), *RTX)
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
    assert not list(Path.cwd().glob("*.engine"))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("absent.onnx", "'absent.onnx' is not one of 'efficientnet-lite0'"),
        ("mlp.onnx -o mlp.trt", "--output: the suffix of mlp.trt is none of .onnx, .engine, .plan"),
        ("mlp.onnx -o mlp.onnx --precision fp16", "--output: mlp.onnx is SOURCE itself"),
        ("mlp.onnx -o other.onnx", "--precision: an ONNX file is written to another only to change its precision"),
        ("mlp.onnx -o other.onnx --max-batch 4", "--max-batch: only for plans"),
        ("mlp.onnx --seed 1", "--seed: mlp.onnx is none of the models that are made here"),
        ("mlp --max-batch 4 --max-batch 8", "--max-batch: only plans have several ranges"),
        ("mlp --workspace 1G", "--workspace: only for plans"),
        ("mlp --min-batch 2", "--min-batch: only for plans"),
        ("mlp --no-timing-cache", "--no-timing-cache: only for plans"),
        ("identity -o i.engine --min-batch 1", "--min-batch: identity has no batch dimension"),
        ("mlp.onnx --min-batch 4 --max-batch 2", "--max-batch: 2 is less than --min-batch, 4"),
        ("mlp.onnx --min-batch 4 --max-batch 6 --max-batch 8", "those that are given must be given equally often"),
        ("mlp.onnx --opt-batch 4 --max-batch 2", "--opt-batch: 4 is more than --max-batch, 2"),
        ("mlp.onnx --calibrate .", "--calibrate: only --precision int8 is calibrated"),
        ("mlp.onnx --calibration-pictures 4", "--calibration-pictures: --calibrate names no folder"),
        ("mlp.onnx --calibration-scaling unit", "--calibration-scaling: --calibrate names no folder"),
        ("mlp.onnx --precision int8 --calibrate absent", "'absent' does not exist"),
        ("mlp.onnx --timing-cache a --no-timing-cache", "--timing-cache and --no-timing-cache exclude each other"),
        ("mlp.onnx --timing-cache absent/a", "--timing-cache: absent is not a folder"),
        ("mlp.onnx --timing-cache a --tensorrt tensorrt-rtx", "measures nothing when it builds"),
        ("mlp.onnx --shape INPUT0=64", "'INPUT0=64' is not NAME=MIN:OPT:MAX"),
        ("mlp.onnx --shape =1:2:3", "'=1:2:3' is not NAME=MIN:OPT:MAX"),
        ("mlp.onnx --shape INPUT0=3:2:1", "3:2:1 is not MIN:OPT:MAX with MIN <= OPT <= MAX: 3, 2, 1"),
        ("mlp.onnx --shape INPUT0=3:2x2:1", "bounds of different numbers of dimensions"),
        ("mlp.onnx --shape A=1:2:3 --shape A=1:2:4", "--shape: A is given twice"),
        ("mlp.onnx --workspace 0", "'0' is not a size"),
        ("mlp.onnx --workspace lots", "'lots' is not a size"),
        ("mlp.onnx --optimization-level 6", "6 is not in the range 0<=x<=5"),
        ("mlp.onnx --capability ampere", "'ampere' is neither a compute capability such as 8.6 nor 'current'"),
    ],
)
def test_options_that_cannot_be_exit_with_2(
    command: str, message: str, mlp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mlp.parent)
    result = engine_build(*command.split())
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert list(Path.cwd().iterdir()) == [mlp]


@pytest.mark.parametrize(
    ("size", "expected"), [("1048576", 2**20), ("64M", 64 * 10**6), ("64MiB", 64 * 2**20), ("2GB", 2 * 10**9)]
)
def test_the_workspace_is_a_number_of_bytes(
    size: str, expected: int, mlp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watched_options(monkeypatch)
    assert engine_build(mlp, "--dry-run", "--workspace", size, *RTX).exit_code == 0
    assert [options.workspace for options in seen] == [expected]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [((), "mlp.timing"), (("--timing-cache", "other"), "other"), (("--no-timing-cache",), None)],
)
def test_the_timing_cache_lies_beside_the_plan_unless_told_otherwise(
    flags: tuple[str, ...], expected: str | None, mlp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watched_options(monkeypatch)
    monkeypatch.chdir(mlp.parent)
    with_timing = replace(find_library("tensorrt-rtx"), features=Features(True, True, True, True, True))
    monkeypatch.setattr(cli, "find_library", lambda kind: with_timing)
    # Those of RTX itself do nothing but warn.
    monkeypatch.setattr("yais.engines.builder.build.load_timing_cache", lambda *_: None)
    monkeypatch.setattr("yais.engines.builder.build.save_timing_cache", lambda *_: None)
    assert engine_build("mlp.onnx", *flags, *RTX).exit_code == 0
    assert [options.timing_cache for options in seen] == [Path(expected) if expected else None]


def test_a_failed_write_leaves_the_old_plan_alone(mlp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = mlp.with_suffix(".engine")
    path.write_text("an older plan")
    monkeypatch.setattr(os, "fsync", full)
    result = engine_build(mlp, *RTX)
    assert result.exit_code == 1
    assert f"Error: cannot write {path}: No space left on device" in result.stderr
    assert path.read_text() == "an older plan"
    assert sorted(mlp.parent.iterdir()) == [path, mlp]


def test_ctrl_c_ends_the_build_and_leaves_nothing(mlp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ProgressBar.step_complete
    answers = []

    def interrupt(bar: ProgressBar, name: str, step: int) -> bool:
        if not answers:
            os.kill(os.getpid(), signal.SIGINT)
            assert bar._cancelled.wait(10)
        answers.append(real(bar, name, step))
        return answers[-1]

    monkeypatch.setattr(ProgressBar, "step_complete", interrupt)
    result = engine_build(mlp, *RTX)
    assert result.exit_code == 130
    assert result.stderr == "Aborted!\n"
    assert answers == [False]
    assert list(mlp.parent.iterdir()) == [mlp]


def test_the_command_draws_a_bar_on_a_terminal_and_obeys_ctrl_c(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, "resnet50", "-o", str(tmp_path / "resnet50.engine"), *RTX]
    environment = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=slave, env=environment) as process:
        os.close(slave)
        text = b""
        while b"Building engine" not in text:
            text += os.read(master, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    os.close(master)
    assert list(tmp_path.iterdir()) == []


def test_without_tensorrt_it_says_what_to_install(mlp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yais.engines.tensorrt.library.find_spec", lambda name: None)
    result = engine_build(mlp)
    assert result.exit_code == 1
    assert "Error: TensorRT is not installed: pip install 'yais[gpu]'" in result.stderr
