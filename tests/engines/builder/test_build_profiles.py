import re

import pytest

from yais.engines import EngineError
from yais.engines.builder.profiles import BatchRange, NetworkTensor, ProfileBounds, ShapeRange, plan_profiles
from yais.engines.zoo import BuildError

PICTURE = NetworkTensor("x", "FP32", (-1, 3, 8, 8))
TOKENS = NetworkTensor("tokens", "INT64", (-1, -1))
LOGITS = NetworkTensor("y", "FP32", (-1, 10))
LENGTHS = ShapeRange((16,), (128,), (512,))


def bounds_of(*batches: BatchRange, max_batch: int | None = None, **shapes: ShapeRange) -> ProfileBounds:
    return ProfileBounds(batches, max_batch, shapes)


def rows(bounds: ProfileBounds, declared: int | None) -> list[tuple[int, ...]]:
    profiles = plan_profiles([PICTURE], [LOGITS], bounds, declared)
    return [tuple(shape[0] for shape in (p["x"].minimum, p["x"].optimum, p["x"].maximum)) for p in profiles]


@pytest.mark.parametrize(
    ("bounds", "declared", "expected"),
    [
        (bounds_of(), None, [(1, 8, 8)]),
        (bounds_of(), 64, [(1, 64, 64)]),
        (bounds_of(max_batch=4), 64, [(1, 4, 4)]),
        (bounds_of(max_batch=100), 64, [(1, 64, 64)]),
        (bounds_of(max_batch=100), None, [(1, 100, 100)]),
        (bounds_of(BatchRange(2)), 64, [(2, 64, 64)]),
        (bounds_of(BatchRange(2, 3)), None, [(2, 3, 8)]),
        (bounds_of(BatchRange(2, 3, 20)), None, [(2, 3, 20)]),
        (bounds_of(BatchRange(1, None, 4), BatchRange(5, 16, 32)), 32, [(1, 4, 4), (5, 16, 32)]),
    ],
)
def test_rows_of_each_profile(bounds: ProfileBounds, declared: int | None, expected: list[tuple[int, ...]]) -> None:
    assert rows(bounds, declared) == expected


def test_named_shapes_stand_behind_the_batch() -> None:
    (profile,) = plan_profiles([TOKENS, PICTURE], [LOGITS], bounds_of(BatchRange(1, 2, 4), tokens=LENGTHS), None)
    assert profile == {
        "tokens": ShapeRange((1, 16), (2, 128), (4, 512)),
        "x": ShapeRange((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8)),
    }


def test_each_range_has_the_named_shapes() -> None:
    bounds = bounds_of(BatchRange(maximum=4), BatchRange(maximum=32), tokens=LENGTHS)
    assert [profile["tokens"].maximum for profile in plan_profiles([TOKENS], [LOGITS], bounds, None)] == [
        (4, 512),
        (32, 512),
    ]


def test_without_free_dimensions_there_is_no_profile() -> None:
    fixed = NetworkTensor("x", "FP32", (4, 3))
    assert plan_profiles([fixed], [fixed], bounds_of(), None) == []


def test_without_a_batch_dimension_shapes_are_whole_and_fixed_inputs_have_none() -> None:
    fixed, free = NetworkTensor("w", "FP32", (4,)), NetworkTensor("x", "FP32", (-1,))
    (profile,) = plan_profiles([fixed, free], [free], bounds_of(x=LENGTHS), 0)
    assert profile == {"x": LENGTHS}


def test_a_largest_batch_of_zero_makes_the_first_dimension_one_as_the_others() -> None:
    (profile,) = plan_profiles([TOKENS], [LOGITS], bounds_of(max_batch=0, tokens=ShapeRange((1, 2), (3, 4), (5, 6))), 8)
    assert profile == {"tokens": ShapeRange((1, 2), (3, 4), (5, 6))}


def test_the_largest_batch_of_a_model_without_one_is_passed_over() -> None:
    fixed = NetworkTensor("x", "FP32", (4, 3))
    assert plan_profiles([fixed], [fixed], bounds_of(max_batch=8), None) == []


FIXED, FREE = NetworkTensor("x", "FP32", (4, 3)), NetworkTensor("x", "FP32", (-1,))
ROWS = bounds_of(BatchRange(2))
PAIRS, WIDE = ShapeRange((1, 1), (1, 1), (1, 1)), ShapeRange((3, 8, 8), (3, 8, 8), (3, 8, 9))


@pytest.mark.parametrize(
    ("tensor", "bounds", "declared", "message"),
    [
        (
            TOKENS,
            bounds_of(),
            None,
            "input 'tokens' has free dimensions, ? besides the batch; give --shape tokens=MIN",
        ),
        (
            TOKENS,
            bounds_of(),
            0,
            "dimensions, ?x? (the first is no batch, since it declares none); give --shape",
        ),
        (PICTURE, bounds_of(nope=LENGTHS), None, "--shape nope: the model has no such input; its inputs are x"),
        (TOKENS, bounds_of(tokens=PAIRS), None, "--shape tokens=1x1:1x1:1x1: the input's dimensions are ? besides"),
        (
            PICTURE,
            bounds_of(x=WIDE),
            None,
            "--shape x=3x8x8:3x8x8:3x8x9: 8 is fixed in the input's dimensions, 3x8x8",
        ),
        (PICTURE, bounds_of(BatchRange(maximum=65)), 64, "--max-batch: 65 is more than the 64 that the model declares"),
        (PICTURE, bounds_of(BatchRange(minimum=9)), None, "--max-batch: 8 is less than --min-batch, 9"),
        (PICTURE, bounds_of(BatchRange(1, 65)), 64, "--opt-batch: 65 is more than --max-batch, 64"),
        (NetworkTensor("s", "INT64", (2,), is_shape=True), bounds_of(), None, "input 's' is a shape"),
        (
            FIXED,
            ROWS,
            None,
            "--max-batch: the model has no batch dimension, since the first dimension of 'x', 4x3",
        ),
        (NetworkTensor("x", "FP32", ()), ROWS, None, "the first dimension of 'x', scalar, is fixed"),
        (
            FREE,
            bounds_of(BatchRange(2), x=LENGTHS),
            0,
            "--max-batch: the model has no batch dimension, since it",
        ),
        (FIXED, bounds_of(), 8, "the model declares batches of 8, but the first dimension of 'x' is fixed"),
    ],
)
def test_what_does_not_fit_is_named(
    tensor: NetworkTensor, bounds: ProfileBounds, declared: int | None, message: str
) -> None:
    with pytest.raises(BuildError, match=re.escape(message)):
        plan_profiles([tensor], [LOGITS], bounds, declared)


def test_a_fixed_output_is_no_batch() -> None:
    with pytest.raises(BuildError, match="since the first dimension of 'y', 1x10, is fixed"):
        plan_profiles([PICTURE], [NetworkTensor("y", "FP32", (1, 10))], bounds_of(BatchRange(2)), None)


def test_no_inputs_make_no_batch() -> None:
    with pytest.raises(BuildError, match="since it has no inputs"):
        plan_profiles([], [LOGITS], bounds_of(BatchRange(2)), None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0, None, None), "--min-batch: 0 is less than 1"),
        ((5, None, 4), "--max-batch: 4 is less than --min-batch, 5"),
        ((5, 4, None), "--opt-batch: 4 is less than --min-batch, 5"),
        ((1, 5, 4), "--opt-batch: 5 is more than --max-batch, 4"),
    ],
)
def test_a_range_of_rows_is_in_order(given: tuple[int, int | None, int | None], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        BatchRange(*given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (((1,), (1,), (1, 2)), "1:1:1x2 has bounds of different numbers of dimensions"),
        (((2,), (1,), (3,)), "2:1:3 is not MIN:OPT:MAX with MIN <= OPT <= MAX: 2, 1, 3"),
        (((1, 1), (1, 4), (1, 3)), "1x1:1x4:1x3 is not .*: 1, 4, 3"),
        (((-1,), (1,), (3,)), "not MIN:OPT:MAX"),
    ],
)
def test_a_range_of_shapes_is_in_order(given: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        ShapeRange(*given)
