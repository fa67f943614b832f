import pytest

from yais.engines.ladder import ladder, step


@pytest.mark.parametrize(
    ("max_batch", "sizes"),
    [
        (1, (1,)),
        (2, (1, 2)),
        (3, (1, 2, 3)),
        (4, (1, 2, 4)),
        (5, (1, 2, 4, 5)),
        (8, (1, 2, 4, 8)),
        (100, (1, 2, 4, 8, 16, 32, 64, 100)),
    ],
)
def test_a_ladder_doubles_up_to_the_largest_batch(max_batch: int, sizes: tuple[int, ...]) -> None:
    assert ladder(max_batch) == sizes


@pytest.mark.parametrize("max_batch", range(1, 70))
def test_a_batch_goes_up_to_the_next_size_and_no_further(max_batch: int) -> None:
    sizes = ladder(max_batch)
    for rows in range(1, max_batch + 1):
        padded = step(rows, sizes)
        assert padded in sizes
        assert rows <= padded < 2 * rows
        assert not [size for size in sizes if rows <= size < padded]


def test_no_rows_are_padded_to_one() -> None:
    assert step(0, ladder(8)) == 1


def test_more_rows_than_the_largest_batch_have_no_size() -> None:
    with pytest.raises(IndexError):
        step(9, ladder(8))
