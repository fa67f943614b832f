import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import ModelProto, TensorProto, helper, numpy_helper

from yais.engines.inspection.cli import main
from yais.engines.inspection.onnx_file import OnnxTensor, Weights, describe_onnx
from yais.engines.zoo import mlp


def inspect(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def perceptron(tmp_path: Path) -> Path:
    path = tmp_path / "mlp.onnx"
    onnx.save(mlp.build(64), path)
    return path


def mixed() -> ModelProto:
    """Weights of several types, some of them in a branch; a Q/DQ; an operator of another domain; a sequence."""
    branches = {
        name: helper.make_graph(
            [helper.make_node("Relu", ["inner"], ["made"])],
            name,
            [],
            [helper.make_tensor_value_info("made", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.ones(3, np.float32), "inner")],
        )
        for name in ("then_branch", "else_branch")
    }
    nodes = [
        helper.make_node("If", ["on"], ["chosen"], **branches),
        helper.make_node("QuantizeLinear", ["chosen", "scale"], ["q"]),
        helper.make_node("FastGelu", ["X"], ["Y"], domain="com.microsoft"),
    ]
    weights = [
        numpy_helper.from_array(np.array(0.1, np.float32), "scale"),
        helper.make_tensor("packed", TensorProto.INT4, [5], [1, 2, 3, 4, 5]),
        helper.make_tensor("words", TensorProto.STRING, [2], [b"one", b"three"]),
        helper.make_tensor("bits", TensorProto.BFLOAT16, [2, 2], [1, 2, 3, 4]),
    ]
    graph = helper.make_graph(
        nodes,
        "mixed",
        [
            helper.make_tensor_value_info("X", TensorProto.FLOAT16, ["N", None, 3]),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("scale", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_sequence_value_info("Y", TensorProto.FLOAT, None)],
        weights,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, producer_name="hand", producer_version="2", ir_version=10)


def test_an_onnx_file_is_printed_in_columns(perceptron: Path) -> None:
    result = inspect(perceptron)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "ONNX model     mlp",
        "size           77.2 kB",
        "producer       yais",
        "opset          ai.onnx 17",
        "IR version     8",
        "largest batch  64",
        "quantised      no",
        "",
        "inputs and outputs",
        "          name     datatype  shape",
        "  input   INPUT0   FP32      [batch, 64]",
        "  output  OUTPUT0  FP32      [batch, 10]",
        "",
        "weights",
        "  datatype  values  size",
        "  FP32      19,210  76.8 kB",
        "",
        "operators",
        "  operator  count",
        "  Gemm      2",
        "  Relu      1",
    ]


def test_a_terminal_gets_tables(perceptron: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    printed = inspect(perceptron).stdout
    assert "───" in printed
    assert "[batch, 64]" in printed


def test_json_is_the_same_for_machines(perceptron: Path) -> None:
    assert json.loads(inspect(perceptron, "--json").stdout) == {
        "kind": "onnx",
        "size": perceptron.stat().st_size,
        "name": "mlp",
        "producer": "yais",
        "ir_version": 8,
        "opsets": {"ai.onnx": 17},
        "max_batch_size": 64,
        "is_quantised": False,
        "inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": ["batch", 64]}],
        "outputs": [{"name": "OUTPUT0", "datatype": "FP32", "shape": ["batch", 10]}],
        "weights": {"FP32": {"values": 19210, "size": 76840}},
        "operators": {"Gemm": 2, "Relu": 1},
    }


def test_all_that_a_model_may_hold_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mixed.onnx"
    onnx.save(mixed(), path)
    told = describe_onnx(path)
    assert (told.producer, told.opsets) == ("hand 2", {"ai.onnx": 21, "com.microsoft": 1})
    assert (told.max_batch_size, told.is_quantised) == (None, True)
    assert told.inputs == (OnnxTensor("X", "FP16", ("N", "?", 3)), OnnxTensor("on", "BOOL", ()))
    assert told.outputs == (OnnxTensor("Y", "SEQUENCE", ()),)
    assert told.weights == {
        "FP32": Weights(7, 28),
        "BF16": Weights(4, 8),
        "BYTES": Weights(2, 8),
        "INT4": Weights(5, 3),
    }
    assert told.operators == {"Relu": 2, "If": 1, "QuantizeLinear": 1, "com.microsoft.FastGelu": 1}


def test_weights_that_lie_beside_the_file_are_counted_without_it(perceptron: Path) -> None:
    expected = describe_onnx(perceptron).weights
    onnx.save(mlp.build(64), perceptron, save_as_external_data=True, location="weights", size_threshold=0)
    (perceptron.parent / "weights").unlink()
    assert describe_onnx(perceptron).weights == expected
    assert describe_onnx(perceptron).size < 2000


@pytest.mark.parametrize(("declared", "text"), [("0", "no batch dimension"), (None, "not declared")])
def test_the_batch_is_told_as_it_is_declared(declared: str | None, text: str, perceptron: Path) -> None:
    model = mlp.build(64)
    del model.metadata_props[:]
    if declared:
        helper.set_model_props(model, {"yais.max_batch_size": declared})
    onnx.save(model, perceptron)
    assert f"largest batch  {text}" in inspect(perceptron).stdout.splitlines()


@pytest.mark.parametrize("content", [b"", b"no model at all", bytes(100)], ids=["empty", "text", "zeros"])
def test_what_is_no_model_exits_with_1(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    result = inspect(path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {path} is neither a plan nor an ONNX model: not a TensorRT plan")
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", [["absent.onnx"], ["."], []])
def test_bad_usage_exits_with_2(arguments: list[str]) -> None:
    assert inspect(*arguments).exit_code == 2


def test_without_the_package_onnx_it_says_what_to_install(perceptron: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = inspect(perceptron)
    assert result.exit_code == 1
    assert "the package onnx is missing: pip install 'yais[build]'" in result.stderr
