import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yais.engines import EngineError, InvalidInputError
from yais.engines.tensorrt.bindings import (
    BatchLayout,
    Binding,
    Bindings,
    ProfileChoice,
    ShapeBounds,
    check_shapes,
    choose,
)

FP32 = np.dtype(np.float32)


def bindings(*ranges: tuple[tuple[int, ...], tuple[int, ...]], is_batchable: bool = True) -> Bindings:
    """Of a plan with an input X and an output Y of the same shape, and a profile for each of `ranges`."""
    ranks = list(zip(*(dims for bounds in ranges for dims in bounds), strict=True))
    shape = tuple(dims[0] if len(set(dims)) == 1 else -1 for dims in ranks)
    given_ranges = tuple(ShapeBounds(low, high) for low, high in ranges)
    return Bindings((Binding("X", FP32, shape, given_ranges),), (Binding("Y", FP32, shape),), len(ranges), is_batchable)


ONE = bindings(((1, 4), (8, 4)))
TWO = bindings(((1, 4), (4, 4)), ((3, 4), (32, 4)))
LARGE = bindings(((8, 4), (16, 4)))
WIDE = bindings(((1, 2), (8, 16)))
UNBATCHED = bindings(((1, 2), (1, 9)), is_batchable=False)


@pytest.mark.parametrize(
    ("plan", "rows", "chosen"),
    [
        (ONE, 1, (0, 1)),
        (ONE, 8, (0, 8)),
        (ONE, 9, None),
        (TWO, 3, (0, 3)),
        (TWO, 4, (0, 4)),
        (TWO, 5, (1, 5)),
        (TWO, 32, (1, 32)),
        (TWO, 33, None),
        (LARGE, 1, (0, 8)),
        (LARGE, 9, (0, 9)),
    ],
)
def test_a_batch_runs_in_the_smallest_profile_that_takes_it(
    plan: Bindings, rows: int, chosen: tuple[int, int] | None
) -> None:
    want = chosen and ProfileChoice(*chosen, shapes=((chosen[1], 4),))
    assert choose(plan, rows, ((4,),), has_batch=True) == want


def test_rows_without_a_batch_dimension_have_their_own_shape() -> None:
    assert choose(UNBATCHED, 1, ((1, 5),), has_batch=False) == ProfileChoice(0, 1, ((1, 5),))


@pytest.mark.parametrize(
    ("plan", "shape", "has_batch", "bounds"),
    [
        (WIDE, (1,), True, "from [2] to [16]"),
        (WIDE, (17,), True, "from [2] to [16]"),
        (WIDE, (4, 4), True, "from [2] to [16]"),
        (UNBATCHED, (1, 10), False, "from [1, 2] to [1, 9]"),
        (TWO, (5,), True, "from [4] to [4]"),
        (bindings(((1, 2), (8, 4)), ((1, 8), (8, 16))), (6,), True, "from [2] to [4] or from [8] to [16]"),
    ],
)
def test_a_shape_outside_the_profiles_is_told_with_its_bounds(
    plan: Bindings, shape: tuple[int, ...], has_batch: bool, bounds: str
) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        check_shapes(plan, (shape,), has_batch)
    assert str(refusal.value) == f"input 'X': shape {list(shape)} is not {bounds}"


@pytest.mark.parametrize("shape", [(2,), (9,), (16,)])
def test_a_shape_within_a_profile_is_taken(shape: tuple[int, ...]) -> None:
    check_shapes(WIDE, (shape,), has_batch=True)


def test_shapes_that_no_profile_takes_together_are_told() -> None:
    ranges = (
        (ShapeBounds((1, 2), (4, 2)), ShapeBounds((1, 8), (4, 8))),
        (ShapeBounds((1, 8), (4, 8)), ShapeBounds((1, 2), (4, 2))),
    )
    inputs = tuple(Binding(name, FP32, (-1, -1), each) for name, each in zip("AB", ranges, strict=True))
    with pytest.raises(InvalidInputError, match=r"^no profile of the plan takes inputs of the shapes \[\[2\], \[2\]\]"):
        check_shapes(Bindings(inputs, (), 2, True), ((2,), (2,)), has_batch=True)


@pytest.mark.parametrize(
    ("plan", "asked", "largest"),
    [(ONE, None, 8), (ONE, 5, 5), (ONE, 99, 8), (TWO, None, 32), (ONE, 0, 0), (LARGE, 8, 8)],
)
def test_the_largest_batch_is_that_of_the_profiles_unless_less_is_asked_for(
    plan: Bindings, asked: int | None, largest: int
) -> None:
    assert BatchLayout(plan, asked).max_batch_size == largest


def test_less_than_the_plan_takes_at_least_is_refused() -> None:
    with pytest.raises(EngineError, match=r"^--max-batch-size: 7 is less than the 8 rows that the plan takes"):
        BatchLayout(LARGE, 7)


@pytest.mark.parametrize(("plan", "asked"), [(UNBATCHED, None), (UNBATCHED, 4), (ONE, 0)])
def test_without_a_batch_dimension_specs_have_the_whole_shape(plan: Bindings, asked: int | None) -> None:
    layout = BatchLayout(plan, asked)
    assert layout.inputs[0].shape == plan.inputs[0].shape
    assert (layout.capacity, layout.rows_on_device) == (1, 1)


def test_specs_are_those_of_a_row() -> None:
    layout = BatchLayout(WIDE, None)
    assert (layout.inputs[0].shape, layout.is_fixed) == ((-1,), False)
    assert (BatchLayout(ONE, None).fixed_shapes, BatchLayout(ONE, None).is_fixed) == (((4,),), True)


def test_the_device_has_room_for_what_a_batch_is_filled_up_with() -> None:
    assert BatchLayout(bindings(((1, 4), (4, 4)), ((8, 4), (32, 4))), 6).rows_on_device == 32
    assert BatchLayout(WIDE, 2).input_size(WIDE.inputs[0]) == 8 * 16 * 4


def test_a_batch_that_no_profile_takes_is_told_with_its_rows() -> None:
    with pytest.raises(EngineError, match=r"^no profile of the plan takes 9 rows of the shapes \[\[4\]\]$"):
        BatchLayout(ONE, None).choose(9, ((4,),))


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), min_size=1, max_size=4), st.integers(1, 80))
def test_a_choice_holds_the_rows_and_keeps_to_its_profile(spans: list[tuple[int, int]], rows: int) -> None:
    plan = bindings(*(((low, 4), (low + more, 4)) for low, more in spans))
    choice = choose(plan, rows, ((4,),), has_batch=True)
    fits = [low + more >= rows for low, more in spans]
    assert (choice is not None) == any(fits)
    if choice is not None:
        low, more = spans[choice.profile]
        assert rows <= choice.rows <= low + more
        assert low <= choice.rows
        assert low + more == min(sum(span) for span, fit in zip(spans, fits, strict=True) if fit)
