import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines import models
from yais.engines.builder.build import (
    BatchRange,
    BuildOptions,
    PreparedBuild,
    ShapeRange,
    UnsupportedModelError,
    build_plan,
    build_prepared,
    prepare,
)
from yais.engines.tensorrt.bindings import DECLARED_BATCH, NO_BATCH
from yais.engines.tensorrt.library import Library
from yais.engines.tensorrt.plan import read_header
from yais.engines.zoo import BuildError
from yais.engines.zoo.catalogue import CATALOGUE

DEFAULTS = BuildOptions()


def datatypes(prepared: PreparedBuild) -> set[str]:
    return {layer.get_output(0).dtype.name for layer in prepared.network.layers}


def is_plan(data: bytes) -> bool:
    return read_header(data).flavour == "tensorrt-rtx"


def quantised(path: Path, kind: int, zero: float) -> Path:
    """Y is X times a matrix, both through Q/DQ."""
    tensors = [
        helper.make_tensor("scale", TensorProto.FLOAT, [], [0.1]),
        helper.make_tensor("zero", kind, [], [zero]),
        helper.make_tensor("w", kind, [64, 64], [1] * 4096),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["X", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["dw"]),
        helper.make_node("MatMul", ["x", "dw"], ["Y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 64]) for name in "XY"]
    graph = helper.make_graph(nodes, "quantised", values[:1], values[1:], tensors)
    onnx.save(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 19)]), path)
    return path


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "mlp.onnx"
    path.write_bytes(CATALOGUE["mlp"].build(64, {}))
    return path


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "resnet50.onnx"
    path.write_bytes(CATALOGUE["resnet50"].build(8, {}))
    return path


def test_a_plan_of_mlp(mlp: Path, rtx: Library) -> None:
    prepared = prepare(mlp, DEFAULTS, rtx)
    assert prepared.profiles == [{"INPUT0": ShapeRange((1, 64), (64, 64), (64, 64))}]
    assert prepared.network.definition.name == f"mlp{DECLARED_BATCH}"
    assert is_plan(build_plan(mlp, DEFAULTS, rtx))


def test_a_model_without_a_name_has_that_of_its_file(tmp_path: Path, rtx: Library) -> None:
    path = models.identity(tmp_path / "nameless.onnx")
    model = onnx.load(path)
    model.graph.name = ""
    onnx.save(model, path)
    assert prepare(path, DEFAULTS, rtx).network.definition.name == "nameless"


def test_a_plan_without_a_batch_dimension_says_so_in_its_name(mlp: Path, tmp_path: Path, rtx: Library) -> None:
    length = ShapeRange((1,), (16,), (64,))
    path = models.identity(tmp_path / "identity.onnx", dims=("N",), max_batch_size="0")
    prepared = prepare(path, BuildOptions(shapes={"X": length}), rtx)
    assert prepared.network.definition.name == f"test{NO_BATCH}"
    rows = ShapeRange((1, 64), (1, 64), (1, 64))
    prepared = prepare(mlp, BuildOptions(max_batch=0, shapes={"INPUT0": rows}), rtx)
    assert prepared.network.definition.name == f"mlp{NO_BATCH}"


def test_resnet50_in_half_precision_is_half_as_large(resnet50: Path, rtx: Library) -> None:
    whole, half = (build_plan(resnet50, BuildOptions(precision=precision), rtx) for precision in (None, "fp16"))
    assert is_plan(half)
    assert 0.45 < len(half) / len(whole) < 0.55


@pytest.mark.parametrize(("precision", "name"), [("fp32", "FLOAT"), ("fp16", "HALF"), ("bf16", "BF16")])
def test_layers_compute_in_the_precision_asked_for(precision: str, name: str, mlp: Path, rtx: Library) -> None:
    prepared = prepare(mlp, BuildOptions(precision=precision), rtx)  # type: ignore[arg-type]
    assert name in datatypes(prepared)
    assert [tensor.datatype for tensor in prepared.network.inputs] == ["FP32"]


@pytest.mark.parametrize("precision", [None, "int8"])
def test_a_quantised_model_is_built_in_int8(precision: str | None, tmp_path: Path, rtx: Library) -> None:
    path = quantised(tmp_path / "int8.onnx", TensorProto.INT8, 0)
    options = BuildOptions(precision=precision)  # type: ignore[arg-type]
    assert "INT8" in datatypes(prepare(path, options, rtx))
    assert is_plan(build_plan(path, options, rtx))


def test_a_model_of_fp8_is_built_as_it_is_for_the_gpus_that_have_it(tmp_path: Path, rtx: Library) -> None:
    path = quantised(tmp_path / "fp8.onnx", TensorProto.FLOAT8E4M3FN, 0)
    assert "FP8" in datatypes(prepare(path, DEFAULTS, rtx))
    assert is_plan(build_plan(path, BuildOptions(capabilities=("8.9",)), rtx))
    with pytest.raises(BuildError, match=r"cannot build 'quantised': .*sm80.*fp8"):
        build_plan(path, BuildOptions(capabilities=("8.0",)), rtx)


def test_int8_needs_a_quantised_model_or_pictures(mlp: Path, rtx: Library) -> None:
    with pytest.raises(BuildError, match="--precision int8: the model is not quantised; --calibrate FOLDER"):
        build_plan(mlp, BuildOptions(precision="int8"), rtx)


def test_int8_is_calibrated(mlp: Path, tmp_path: Path, rtx: Library) -> None:
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", np.random.default_rng(number).standard_normal(64).astype(np.float32))
    options = BuildOptions(precision="int8", calibration=tmp_path, calibration_pictures=4)
    assert "INT8" in datatypes(prepare(mlp, options, rtx))
    assert is_plan(build_plan(mlp, options, rtx))


def test_what_is_quantised_is_not_calibrated_again(tmp_path: Path, rtx: Library) -> None:
    path = quantised(tmp_path / "int8.onnx", TensorProto.INT8, 0)
    with pytest.raises(BuildError, match="--calibrate: the model is quantised already"):
        build_plan(path, BuildOptions(precision="int8", calibration=tmp_path), rtx)


def test_calibration_is_for_int8(mlp: Path, tmp_path: Path, rtx: Library) -> None:
    with pytest.raises(BuildError, match="--calibrate: only --precision int8"):
        build_plan(mlp, BuildOptions(calibration=tmp_path), rtx)


def test_each_range_of_rows_is_a_profile_of_the_plan(mlp: Path, rtx: Library) -> None:
    one = BuildOptions(batches=(BatchRange(1, None, 4),))
    two = replace(one, batches=(*one.batches, BatchRange(5, 16, 32)))
    plans = [build_plan(mlp, options, rtx) for options in (one, two)]
    assert len(plans[1]) > len(plans[0])


def test_named_shapes(tmp_path: Path, rtx: Library) -> None:
    path = models.add(tmp_path / "add.onnx")
    lengths = ShapeRange((16,), (128,), (512,))
    options = BuildOptions(max_batch=2, shapes={"A": lengths, "B": lengths})
    assert prepare(path, options, rtx).profiles[0]["A"] == ShapeRange((1, 16), (2, 128), (2, 512))
    assert is_plan(build_plan(path, options, rtx))


def test_a_model_without_inputs(tmp_path: Path, rtx: Library) -> None:
    assert is_plan(build_plan(models.constant(tmp_path / "constant.onnx"), DEFAULTS, rtx))


def test_an_input_that_is_a_shape_is_refused(tmp_path: Path, rtx: Library) -> None:
    node = helper.make_node("Reshape", ["X", "S"], ["Y"])
    inputs = [("X", models.FLOAT, ["N", 4]), ("S", models.INT64, [2])]
    path = models.save(tmp_path / "reshape.onnx", [node], inputs, [("Y", models.FLOAT, ["A", "B"])])
    with pytest.raises(BuildError, match="input 'S' is a shape"):
        build_plan(path, DEFAULTS, rtx)


@pytest.mark.parametrize("precision", [None, "fp16"])
def test_weights_may_lie_in_files_beside_the_model(
    precision: str | None, mlp: Path, tmp_path: Path, rtx: Library
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(onnx.load(mlp), path, save_as_external_data=True, location="weights", size_threshold=0)
    options = BuildOptions(precision=precision)  # type: ignore[arg-type]
    assert is_plan(build_plan(path, options, rtx))
    (tmp_path / "weights").unlink()
    with pytest.raises(BuildError, match="weights"):
        build_plan(path, options, rtx)


def test_what_is_not_supported_is_named_with_its_place(tmp_path: Path, rtx: Library) -> None:
    nodes = [
        helper.make_node("Relu", ["X"], ["a"], name="fine"),
        helper.make_node("Foo", ["a"], ["Y"], name="strange", domain="my.operators"),
        helper.make_node("StringNormalizer", ["S"], ["Z"]),
    ]
    inputs = [("X", models.FLOAT, ["N", 2]), ("S", models.STRING, [2])]
    path = models.save(tmp_path / "odd.onnx", nodes, inputs, [("Y", models.FLOAT, ["N", 2])])
    with pytest.raises(UnsupportedModelError, match=f"^{rtx.title} does not take the model\n") as caught:
        prepare(path, DEFAULTS, rtx)
    faults = {fault.where: fault.text for fault in caught.value.faults}
    assert list(faults) == ["input 'S'", "node 'strange', operator Foo", "node 2, operator StringNormalizer"]
    assert "Plugin not found" in faults["node 'strange', operator Foo"]
    assert faults["node 2, operator StringNormalizer"] == "UNSUPPORTED_NODE: not supported"
    assert "strange" in str(caught.value)


def test_the_parser_s_own_words_are_told(tmp_path: Path, rtx: Library) -> None:
    nodes = [
        helper.make_node("Cast", ["X"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["X", "h"], ["Y"], name="mixed"),
    ]
    value = ("X", models.FLOAT, ["N", 2])
    path = models.save(tmp_path / "mixed.onnx", nodes, [value], [("Y", *value[1:])])
    with pytest.raises(UnsupportedModelError, match=r"node 'mixed', operator Mul: .*must have same input types"):
        prepare(path, DEFAULTS, rtx)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda whole: whole[: len(whole) // 2], "Error parsing message"),
        (lambda whole: b"", "it has no outputs"),
        (lambda whole: b"not a model at all" * 10, "Error parsing message"),
    ],
    ids=["truncated", "empty", "something else"],
)
def test_a_broken_file_is_named(data: object, message: str, mlp: Path, tmp_path: Path, rtx: Library) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(data(mlp.read_bytes()))  # type: ignore[operator]
    with pytest.raises(BuildError, match=f"cannot read .*broken.onnx as an ONNX model: .*{message}"):
        build_plan(path, DEFAULTS, rtx)


def test_a_missing_file_is_named(tmp_path: Path, rtx: Library) -> None:
    with pytest.raises(BuildError, match=r"cannot read .*absent\.onnx .*No such file"):
        build_plan(tmp_path / "absent.onnx", DEFAULTS, rtx)


def test_a_declaration_that_is_no_number_is_refused(tmp_path: Path, rtx: Library) -> None:
    path = models.identity(tmp_path / "identity.onnx", max_batch_size="many")
    with pytest.raises(BuildError, match=r"yais\.max_batch_size is 'many', not a number"):
        build_plan(path, DEFAULTS, rtx)


def test_too_small_a_workspace_is_told(mlp: Path, rtx: Library) -> None:
    with pytest.raises(BuildError, match=f"^{rtx.title} cannot build 'mlp': .*workspace"):
        build_plan(mlp, BuildOptions(workspace=2**20), rtx)


def test_all_switches_reach_the_builder(mlp: Path, rtx: Library) -> None:
    options = BuildOptions(
        optimization_level=1, weight_streaming=True, workspace=2**30, capabilities=("7.5", "12.0"), precision="fp16"
    )
    assert is_plan(build_plan(mlp, options, rtx))


def test_the_monitor_is_told_of_phases_and_can_end_the_build(mlp: Path, rtx: Library) -> None:
    class Watching:
        def __init__(self, steps: int) -> None:
            self.left = steps
            self.open: list[str] = []
            self.seen: list[tuple[str, str | None]] = []

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            assert steps > 0
            assert parent is None or parent in self.open
            self.open.append(name)
            self.seen.append((name, parent))

        def step_complete(self, name: str, step: int) -> bool:
            assert name in self.open
            self.left -= 1
            return self.left != 0

        def phase_finish(self, name: str) -> None:
            self.open.remove(name)

    patient, hasty = Watching(-1), Watching(3)
    assert is_plan(build_plan(mlp, DEFAULTS, rtx, patient))
    assert len(patient.seen) > 3
    assert not patient.open
    with pytest.raises(BuildError, match=r"[Cc]ancel"):
        build_plan(mlp, DEFAULTS, rtx, hasty)
    assert len(hasty.seen) < len(patient.seen)


def test_a_missing_package_is_named(mlp: Path, rtx: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BuildError, match=r"the package onnx is missing: pip install 'yais\[build\]'"):
        build_plan(mlp, DEFAULTS, rtx)


def test_a_network_that_must_take_memory_while_it_runs_is_built_to_do_so(tmp_path: Path, rtx: Library) -> None:
    """What RTX says of such a network is from its library; its parser takes none that can be made here."""
    path = tmp_path / "mlp.onnx"
    path.write_bytes(CATALOGUE["mlp"].build(8, {}))
    prepared = prepare(path, DEFAULTS, rtx)
    flag, tried = rtx.module.BuilderFlag.REQUIRE_USER_ALLOCATION, []
    network = prepared.network

    class Builder:
        def __getattr__(self, name: str) -> Any:
            return getattr(network.builder, name)

        def build_serialized_network(self, definition: Any, config: Any) -> Any:
            tried.append(config.get_flag(flag))
            if tried[-1]:
                network.messages.add("ERROR", "BuilderFlag::kREQUIRE_USER_ALLOCATION is not compatible ...")
                return None
            return network.builder.build_serialized_network(definition, config)

    assert build_prepared(replace(prepared, network=replace(network, builder=Builder())), DEFAULTS)
    assert tried == [True, False]
