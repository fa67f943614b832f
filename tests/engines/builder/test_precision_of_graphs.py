"""Graphs with parts that stay in FP32, or whose rewrite is not simple."""

import logging
from pathlib import Path

import numpy as np
import pytest
from engines.builder.precision_models import (
    FLOAT,
    FLOAT16,
    INT64,
    Array,
    check,
    graph,
    model_of,
    operators,
    rows,
    run,
    types_of,
    weight,
)
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from yais.engines.builder.build import BuildOptions, build_plan
from yais.engines.builder.model import has_quantization, opset_of
from yais.engines.builder.options import Precision
from yais.engines.builder.precision import convert
from yais.engines.tensorrt.library import Library
from yais.engines.zoo import BuildError

node = helper.make_node
BOOL = TensorProto.BOOL


def assert_same(model: ModelProto, tolerance: float = 0.01, **feeds: Array) -> ModelProto:
    """That the model in FP16 is a sound one, and answers nearly the same; it is returned."""
    made = convert(model, "fp16")
    check(made)
    for expected, answer in zip(run(model, feeds), run(made, feeds), strict=True):
        assert answer.dtype == expected.dtype
        np.testing.assert_allclose(answer, expected, rtol=tolerance, atol=tolerance)
    return made


def one(operator: str, *constants: Array, width: int | str = 4, **attributes: object) -> ModelProto:
    """Y is what the operator makes of X, all of whose rows have as many columns, and of constants."""
    names = [f"c{index}" for index in range(len(constants))]
    nodes = [node(operator, ["X", *names], ["Y"], **attributes)]
    weights = dict(zip(names, constants, strict=True))
    return model_of(graph(nodes, [("X", FLOAT, ["N", width])], [("Y", FLOAT, ["N", "M"])], **weights))


def test_scales_that_are_computed_of_shapes_do_not_lose_a_pixel() -> None:
    nodes = [
        node("Shape", ["X"], ["shape"]),
        node("Cast", ["shape"], ["sizes"], to=FLOAT),
        node("Add", ["sizes", "more"], ["larger"]),
        node("Div", ["larger", "sizes"], ["scales"]),
        node("Resize", ["X", "", "scales"], ["Y"], mode="linear"),
    ]
    # As FP16, 2051 is 2052 and 2049 is 2048.
    more = np.array([0, 2], np.float32)
    made = model_of(graph(nodes, [("X", FLOAT, [1, "W"])], [("Y", FLOAT, [1, "V"])], more=more))
    reduced = assert_same(made, X=rows(1, 2049))
    assert types_of(reduced, "Resize") == {FLOAT16}
    assert types_of(reduced, "Div") == {FLOAT}


def test_positions_are_exact_however_many() -> None:
    nodes = [
        node("Size", ["X"], ["length"]),
        node("Cast", ["length"], ["limit"], to=FLOAT),
        node("Range", ["zero", "limit", "one"], ["positions"]),
        node("Mul", ["positions", "step"], ["angles"]),
        node("Sin", ["angles"], ["waves"]),
        node("Add", ["X", "waves"], ["Y"]),
    ]
    numbers = {name: np.array(value, np.float32) for name, value in {"zero": 0, "one": 1, "step": 0.7}.items()}
    made = model_of(graph(nodes, [("X", FLOAT, ["N"])], [("Y", FLOAT, ["N"])], **numbers))
    reduced = assert_same(made, X=np.zeros(5000, np.float32))
    assert types_of(reduced, "Add") == {FLOAT16}


def test_what_onnx_has_no_type_of_16_bits_for_stays_fp32() -> None:
    nodes = [
        node("Relu", ["boxes"], ["positive"]),
        node("NonMaxSuppression", ["positive", "scores", "most"], ["chosen"]),
        node("Cast", ["chosen"], ["Y"], to=FLOAT),
    ]
    inputs = [("boxes", FLOAT, [1, "N", 4]), ("scores", FLOAT, [1, 1, "N"])]
    made = model_of(graph(nodes, inputs, [("Y", FLOAT, ["M", 3])], most=np.array([3], np.int64)))
    boxes = np.array([[[0, 0, 1, 1], [0, 0, 1, 1.1], [2, 2, 3, 3]]], np.float32)
    reduced = assert_same(made, boxes=boxes, scores=np.array([[[0.9, 0.8, 0.7]]], np.float32))
    assert types_of(reduced, "Relu") == {FLOAT16}


@pytest.mark.parametrize(("operator", "opset"), [("FastGelu", 17), ("Gelu", 20)])
def test_an_operator_of_others_stays_fp32_and_so_does_what_follows_it(operator: str, opset: int) -> None:
    """Of Gelu, ONNX has one of its own, which has types of 16 bits."""
    nodes = [
        node("Sigmoid", ["X"], ["a"]),
        node(operator, ["a"], ["b"], domain="com.microsoft"),
        node("Relu", ["b"], ["c"]),
        node("Mul", ["c", "a"], ["Y"]),
    ]
    made = model_of(graph(nodes, [("X", FLOAT, ["N", 4])], [("Y", FLOAT, ["N", 4])]), opset, com_microsoft=1)
    reduced = assert_same(made, X=rows(3, 4))
    assert operators(reduced) == ["Cast", "Sigmoid", "Cast", operator, "Relu", "Mul"]


def test_the_type_that_an_operator_of_others_makes_may_be_told() -> None:
    nodes = [node("Gelu", ["X"], ["a"], domain="com.microsoft"), node("Relu", ["a"], ["Y"])]
    made = model_of(graph(nodes, [("X", FLOAT, ["N", 4])], [("Y", FLOAT, ["N", 4])]), 20, com_microsoft=1)
    made.graph.value_info.append(helper.make_tensor_value_info("a", FLOAT, ["N", 4]))
    assert operators(assert_same(made, X=rows(3, 4))) == ["Gelu", "Cast", "Relu", "Cast"]


def branch(name: str, *nodes: tuple[str, list[str], str]) -> GraphProto:
    made = [node(operator, inputs, [output]) for operator, inputs, output in nodes]
    return helper.make_graph(made, name, [], [helper.make_tensor_value_info("made", FLOAT, None)])


@pytest.mark.parametrize("condition", [True, False])
def test_branches_see_what_is_around_them(condition: bool) -> None:
    nodes = [
        node("Relu", ["X"], ["positive"]),
        node(
            "If",
            ["condition"],
            ["chosen"],
            then_branch=branch("then", ("MatMul", ["positive", "w"], "deep"), ("Neg", ["deep"], "made")),
            else_branch=branch("else", ("Identity", ["X"], "made")),
        ),
        node("Add", ["chosen", "positive"], ["Y"]),
    ]
    inputs = [("X", FLOAT, ["N", 4]), ("condition", BOOL, [])]
    made = model_of(graph(nodes, inputs, [("Y", FLOAT, ["N", 4])], w=rows(4, 4)))
    reduced = assert_same(made, X=rows(3, 4), condition=np.array(condition))
    assert [each.name for each in reduced.graph.initializer] == ["w_fp16"]


def test_a_tensor_may_be_cast_in_a_branch_and_outside_of_it() -> None:
    plain = branch("else", ("Identity", ["positive"], "made"))
    special = branch("then", ("Gelu", ["positive"], "made"))
    special.node[0].domain = "com.microsoft"
    nodes = [
        node("Relu", ["X"], ["positive"]),
        node("If", ["condition"], ["Y"], then_branch=special, else_branch=plain),
    ]
    inputs = [("X", FLOAT, ["N", 4]), ("condition", BOOL, [])]
    outputs = [("Y", FLOAT, ["N", 4]), ("positive", FLOAT, ["N", 4])]
    made = model_of(graph(nodes, inputs, outputs), com_microsoft=1)
    assert_same(made, X=rows(3, 4), condition=np.array(True))


def test_a_branch_is_no_constant_although_its_condition_is() -> None:
    branches = {f"{name}_branch": branch(name, ("Neg", ["X"], "made")) for name in ("then", "else")}
    nodes = [
        node("If", ["yes"], ["chosen"], **branches),
        node("Size", ["X"], ["size"]),
        node("Cast", ["size"], ["length"], to=FLOAT),
        node("Div", ["chosen", "length"], ["Y"]),
    ]
    made = model_of(graph(nodes, [("X", FLOAT, ["N", 4])], [("Y", FLOAT, ["N", 4])], yes=np.array(True)))
    assert types_of(assert_same(made, X=rows(3, 4)), "Div") == {FLOAT16}


def test_a_weight_that_is_an_input_besides_stays_one_that_need_not_be_given() -> None:
    inputs = [("X", FLOAT, ["N", 4]), ("w", FLOAT, [4])]
    made = model_of(
        graph([node("Add", ["X", "w"], ["Y"])], inputs, [("Y", FLOAT, ["N", 4])], w=np.arange(4, dtype=np.float32))
    )
    assert_same(made, X=rows(3, 4))
    assert_same(made, X=rows(3, 4), w=np.ones(4, np.float32))


def test_the_bodies_of_loops_keep_the_types_of_what_goes_round() -> None:
    body = helper.make_graph(
        [
            node("Gemm", ["state", "w"], ["product"]),
            node("Tanh", ["product"], ["next"]),
            node("Identity", ["goes_on"], ["still"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("index", INT64, []),
            helper.make_tensor_value_info("goes_on", BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, ["N", 4]),
        ],
        [
            helper.make_tensor_value_info("still", BOOL, []),
            helper.make_tensor_value_info("next", FLOAT, ["N", 4]),
        ],
    )
    nodes = [node("Abs", ["X"], ["start"]), node("Loop", ["count", "", "start"], ["Y"], body=body)]
    made = graph(nodes, [("X", FLOAT, ["N", 4])], [("Y", FLOAT, ["N", 4])], w=rows(4, 4), count=np.array(3))
    reduced = assert_same(model_of(made), X=rows(3, 4))
    (loop,) = (each for each in reduced.graph.node if each.op_type == "Loop")
    assert [each.op_type for each in loop.attribute[0].g.node] == ["Cast", "Gemm", "Tanh", "Identity", "Cast"]


def test_sequences_keep_what_they_are_of() -> None:
    nodes = [
        node("Relu", ["X"], ["positive"]),
        node("SplitToSequence", ["positive"], ["parts"], axis=1),
        node("SequenceAt", ["parts", "index"], ["part"]),
        node("Exp", ["part"], ["Y"]),
    ]
    index = np.array(2, np.int64)
    outputs = [("Y", FLOAT, ["N", 1]), ("part", FLOAT, ["N", 1])]
    assert_same(model_of(graph(nodes, [("X", FLOAT, ["N", 4])], outputs, index=index)), X=rows(3, 4))


def test_functions_are_taken_apart() -> None:
    function = helper.make_function(
        "own", "Double", ["x"], ["y"], [node("Add", ["x", "x"], ["y"])], [helper.make_opsetid("", 17)]
    )
    made = model_of(
        graph([node("Double", ["X"], ["Y"], domain="own")], [("X", FLOAT, ["N", 4])], [("Y", FLOAT, ["N", 4])]), own=1
    )
    made.functions.append(function)
    assert operators(assert_same(made, X=rows(3, 4))) == ["Cast", "Add", "Cast"]


def test_a_tensor_may_be_input_and_output_and_used_besides() -> None:
    nodes = [node("Exp", ["X"], ["E"]), node("Neg", ["E"], ["Y"])]
    outputs = [("Y", FLOAT, ["N", 4]), ("E", FLOAT, ["N", 4]), ("X", FLOAT, ["N", 4])]
    assert_same(model_of(graph(nodes, [("X", FLOAT, ["N", 4])], outputs)), X=rows(3, 4))


def test_names_that_are_taken_are_not_taken_again() -> None:
    made = model_of(graph([node("Neg", ["X"], ["X_fp16"])], [("X", FLOAT, ["N", 4])], [("X_fp16", FLOAT, ["N", 4])]))
    assert_same(made, X=rows(3, 4))
    assert_same(convert(made, "fp16"), X=rows(3, 4))


def test_a_weight_that_is_wanted_in_both_types_is_there_in_both() -> None:
    nodes = [
        node("Range", ["zero", "limit", "step"], ["steps"]),
        node("Mul", ["X", "step"], ["scaled"]),
        node("Add", ["scaled", "steps"], ["Y"]),
    ]
    numbers = {name: np.array(value, np.float32) for name, value in {"zero": 0, "limit": 3, "step": 0.75}.items()}
    made = model_of(graph(nodes, [("X", FLOAT, ["N", 4])], [("Y", FLOAT, ["N", 4])], **numbers))
    reduced = assert_same(made, X=rows(3, 4))
    assert {each.name for each in reduced.graph.initializer} == {"zero", "limit", "step", "step_fp16"}


def test_integers_are_left_alone() -> None:
    nodes = [node("ArgMax", ["X"], ["best"], axis=1), node("Add", ["best", "more"], ["Y"])]
    more = np.array(40_001, np.int64)
    made = model_of(graph(nodes, [("X", FLOAT, ["N", 4])], [("Y", INT64, ["N", 1])], more=more))
    reduced = assert_same(made, X=rows(3, 4))
    # What makes no FP32 is not worth a cast.
    assert operators(reduced) == ["ArgMax", "Add"]


def test_an_operator_of_several_float_types_is_reduced_in_all() -> None:
    reduced = assert_same(one("Pow", np.array(2, np.float32)), X=rows(3, 4))
    assert {each.data_type for each in reduced.graph.initializer} == {FLOAT16}


@pytest.mark.parametrize("attribute", ["value", "value_floats"])
def test_constants_in_nodes_are_weights(attribute: str) -> None:
    values = np.array([1, -1e38, 3, 4], np.float32)
    constant = {"value": numpy_helper.from_array(values), "value_floats": values.tolist()}[attribute]
    nodes = [node("Constant", [], ["c"], **{attribute: constant}), node("Max", ["X", "c"], ["Y"])]
    made = model_of(graph(nodes, [("X", FLOAT, ["N", 4])], [("Y", FLOAT, ["N", 4])]))
    assert operators(assert_same(made, X=rows(3, 4))) == ["Cast", "Max", "Cast"]


def test_a_constant_of_one_float_and_those_of_other_types_are_as_good() -> None:
    nodes = [
        node("Constant", [], ["half"], value_float=0.5),
        node("Constant", [], ["axes"], value_ints=[1]),
        node("Mul", ["X", "half"], ["scaled"]),
        node("ReduceSum", ["scaled", "axes"], ["Y"]),
    ]
    made = model_of(graph(nodes, [("X", FLOAT, ["N", 4])], [("Y", FLOAT, ["N", 1])]))
    assert operators(assert_same(made, X=rows(3, 4))).count("Constant") == 1


def reduced_weight(values: Array) -> Array:
    return numpy_helper.to_array(weight(convert(one("Max", values), "fp16"), "c0_fp16"))


def test_what_fp16_cannot_hold_becomes_its_largest_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    answer = reduced_weight(np.array([1, -3.4e38, 7e4, 65504], np.float32))
    assert answer.tolist() == [1, -65504, 65504, 65504]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "Weight 'c0': 2 of 4 values are beyond FP16's 65504, up to -3.4e+38, and become that"


def test_bf16_holds_what_fp16_cannot(caplog: pytest.LogCaptureFixture) -> None:
    convert(one("Max", np.array([1e38], np.float32)), "bf16")
    assert not caplog.records


def test_a_small_divisor_does_not_become_nothing() -> None:
    values = reduced_weight(np.array([1e-12, -1e-30, 0, 1e-6], np.float32))
    np.testing.assert_allclose(values, [6e-8, -6e-8, 0, 1e-6], rtol=0.05)


def test_infinity_and_nan_are_kept_and_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    np.testing.assert_array_equal(
        reduced_weight(np.array([np.inf, -np.inf, np.nan], np.float32)), [np.inf, -np.inf, np.nan]
    )
    assert not caplog.records


def quantised(zero_point: Array | None = None) -> ModelProto:
    """Y is X, through Q/DQ, times a quantised matrix with a scale for each column."""
    zero = np.zeros((), np.int8) if zero_point is None else zero_point
    nodes = [
        node("Relu", ["X"], ["positive"]),
        node("QuantizeLinear", ["positive", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["x"]),
        node("DequantizeLinear", ["w", "scales", "zeros"], ["dw"], axis=1),
        node("MatMul", ["x", "dw"], ["Y"]),
    ]
    return model_of(
        graph(
            nodes,
            [("X", FLOAT, ["N", 4])],
            [("Y", FLOAT, ["N", 4])],
            scale=np.array(0.03, np.float32),
            scales=np.array([0.01, 0.02, 0.03, 0.04], np.float32),
            zero=zero,
            zeros=np.zeros(4, np.int8),
            w=np.arange(-8, 8, dtype=np.int8).reshape(4, 4) * 15,
        )
    )


def test_scales_follow_so_that_quantised_layers_stay_so() -> None:
    reduced = assert_same(quantised(), tolerance=0.05, X=rows(3, 4))
    assert opset_of(reduced) == 19
    assert operators(reduced).count("Cast") == 2
    assert types_of(reduced, "DequantizeLinear") == types_of(reduced, "MatMul") == {FLOAT16}
    assert weight(reduced, "w").data_type == TensorProto.INT8


def test_int8_is_for_models_that_are_quantised() -> None:
    assert has_quantization(quantised())
    assert convert(quantised(), "int8") == quantised()
    with pytest.raises(BuildError, match="precision int8: the model has no QuantizeLinear"):
        convert(one("Relu"), "int8")


def test_quantisation_is_found_inside_of_branches() -> None:
    inner = helper.make_graph(
        list(quantised().graph.node), "inner", [], [helper.make_tensor_value_info("Y", FLOAT, None)]
    )
    plain = branch("plain", ("Identity", ["X"], "made"))
    nodes = [node("If", ["c"], ["Z"], then_branch=inner, else_branch=plain)]
    made = model_of(graph(nodes, [("c", BOOL, []), ("X", FLOAT, [1, 4])], [("Z", FLOAT, [1, 4])]))
    assert has_quantization(made)


def test_a_model_that_cannot_be_rewritten_is_refused() -> None:
    with pytest.raises(BuildError, match=r"the model cannot be rewritten to BF16: .*Rectify"):
        convert(one("Rectify"), "bf16")


@pytest.mark.parametrize(
    "model",
    [
        one(
            "BatchNormalization",
            *(np.array(values, np.float32) for values in ([1, 2], [0, 1], [1, 0], [1, 2])),
            width=2,
        ),
        one("Pow", np.array(2, np.float32)),
        one("LayerNormalization", np.ones(4, np.float32), np.zeros(4, np.float32)),
        one("Softmax"),
        quantised(),
    ],
    ids=lambda model: model.graph.node[-1].op_type,
)
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_tensorrt_takes_what_was_reduced(model: ModelProto, precision: Precision, rtx: Library, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(convert(model, precision).SerializeToString())
    assert build_plan(path, BuildOptions(capabilities=("8.0",)), rtx)
