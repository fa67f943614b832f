import pytest

from yais.engines.cuda.driver import graph_sizes, round_up


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
def test_graph_sizes_double_up_to_the_largest_batch(max_batch: int, sizes: tuple[int, ...]) -> None:
    assert graph_sizes(max_batch) == sizes


@pytest.mark.parametrize("max_batch", range(1, 70))
def test_a_batch_goes_up_to_the_next_size_and_no_further(max_batch: int) -> None:
    sizes = graph_sizes(max_batch)
    for rows in range(1, max_batch + 1):
        padded = round_up(rows, sizes)
        assert padded in sizes
        assert rows <= padded < 2 * rows
        assert not [size for size in sizes if rows <= size < padded]


def test_no_rows_are_padded_to_one() -> None:
    assert round_up(0, graph_sizes(8)) == 1


def test_more_rows_than_the_largest_batch_have_no_size() -> None:
    with pytest.raises(IndexError):
        round_up(9, graph_sizes(8))
