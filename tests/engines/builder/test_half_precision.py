"""Models of the zoo in FP16 and BF16."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from engines.builder.precision_models import BFLOAT16, FLOAT16, Array, check, operators, rows, run, types_of
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from yais.engines.builder.build import BuildOptions, build_plan
from yais.engines.builder.model import opset_of
from yais.engines.builder.options import Precision
from yais.engines.builder.precision import convert
from yais.engines.tensorrt.library import Library
from yais.engines.zoo import efficientnet, mlp, resnet

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
NORMALISED = ((PICTURES.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)
ZOO: dict[str, tuple[Callable[[int], ModelProto], dict[str, Array]]] = {
    "mlp": (mlp.build, {"INPUT0": rows(3, 64)}),
    "efficientnet-lite0": (efficientnet.build, {"input": NORMALISED}),
    "efficientnet-lite0-uint8": (partial(efficientnet.build, pixels="uint8"), {"input": PICTURES}),
    "resnet50": (resnet.build, {"input": NORMALISED}),
}
REDUCED: tuple[tuple[Precision, int], ...] = (("fp16", FLOAT16), ("bf16", BFLOAT16))


@cache
def model_of(name: str) -> ModelProto:
    return ZOO[name][0](8)


@cache
def converted(name: str, precision: Precision) -> ModelProto:
    return convert(model_of(name), precision)


@pytest.mark.parametrize("name", ZOO)
def test_fp16_answers_within_a_hundredth_of_fp32(name: str) -> None:
    feeds = ZOO[name][1]
    (expected,), (answer,) = run(model_of(name), feeds), run(converted(name, "fp16"), feeds)
    assert answer.dtype == np.float32
    assert 0 < np.abs(answer - expected).max() < 0.01 * np.abs(expected).max()
    np.testing.assert_array_equal(answer.argmax(axis=1), expected.argmax(axis=1))


def test_bf16_answers_as_by_the_letter_of_the_standard() -> None:
    # ONNX Runtime has hardly an operator in BF16 on the CPU.
    feeds = ZOO["mlp"][1]
    (expected,) = run(model_of("mlp"), feeds)
    (answer,) = ReferenceEvaluator(converted("mlp", "bf16")).run(None, feeds)
    assert answer.dtype == np.float32
    assert 0.001 < np.abs(answer - expected).max() < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize(("precision", "kind"), REDUCED)
@pytest.mark.parametrize("name", ZOO)
def test_all_layers_and_weights_are_in_the_type_of_16_bits(precision: Precision, kind: int, name: str) -> None:
    made = converted(name, precision)
    check(made)
    for operator in set(operators(made)) - {"Cast"}:
        assert types_of(made, operator) == {kind}
    assert {weight.data_type for weight in made.graph.initializer} == {kind}
    assert not made.graph.value_info


@pytest.mark.parametrize(("precision", "kind"), REDUCED)
@pytest.mark.parametrize("name", ZOO)
def test_casts_stand_at_the_borders_only(precision: Precision, kind: int, name: str) -> None:
    assert operators(converted(name, precision)).count("Cast") == operators(model_of(name)).count("Cast") + 2


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", ZOO)
def test_what_the_model_says_of_itself_is_kept(precision: Precision, name: str) -> None:
    model, made = model_of(name), converted(name, precision)
    assert (made.graph.input, made.graph.output) == (model.graph.input, model.graph.output)
    assert (made.metadata_props, made.producer_name) == (model.metadata_props, model.producer_name)
    assert made.graph.name == model.graph.name


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_the_model_itself_is_left_as_it_is(precision: Precision) -> None:
    model = mlp.build(8)
    convert(model, precision).graph.node[0].name = "changed"
    assert model == mlp.build(8)


def test_only_bf16_needs_a_newer_opset() -> None:
    assert opset_of(converted("mlp", "fp16")) == opset_of(model_of("mlp")) == 17
    assert opset_of(converted("mlp", "bf16")) == 22


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", ZOO)
def test_tensorrt_builds_it(precision: Precision, name: str, rtx: Library, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(converted(name, precision).SerializeToString())
    plan = build_plan(path, BuildOptions(capabilities=("8.0",)), rtx)
    weights = sum(len(weight.raw_data) for weight in converted(name, precision).graph.initializer)
    assert weights < len(plan) < 1.5 * weights + 200_000
