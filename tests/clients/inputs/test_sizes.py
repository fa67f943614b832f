import pytest

from yais.clients.inputs.generated import parse_sizes, parse_weights


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("8", {8: 1}),
        ("2..4", {2: 1, 3: 1, 4: 1}),
        ("4..4", {4: 1}),
        ("1:70,8:25,32:5", {1: 70, 8: 25, 32: 5}),
        ("1,8:0.5", {1: 1, 8: 0.5}),
        ("geometric:2:3", {1: 0.5, 2: 0.25, 3: 0.125}),
    ],
)
def test_sizes_are_written_in_these_forms(text: str, sizes: dict[int, float]) -> None:
    assert parse_sizes(text) == sizes


def test_a_geometric_tail_is_cut_where_a_thousandth_is_left() -> None:
    sizes = parse_sizes("geometric:4")
    assert list(sizes) == list(range(1, 26))
    assert 0.999 < sum(sizes.values()) < 1
    assert sum(sizes.values()) - sizes[25] < 0.999
    mean = sum(size * weight for size, weight in sizes.items()) / sum(sizes.values())
    assert mean == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0", "0 is not in the range x>=1"),
        ("-3", "-3 is not in the range x>=1"),
        ("", "'' is not"),
        ("many", "'many' is not a size: write 8, 1..16, "),
        ("1.5", "'1.5' is not a size"),
        ("0..4", "0 is not in the range x>=1"),
        ("..4", "'' is not a size"),
        ("4..1", "4..1 is not a range of 1 to 1024 sizes"),
        ("1..1025", "1..1025 is not a range of 1 to 1024 sizes"),
        ("1..", "'' is not a size"),
        ("1:x", "'1:x' is not NAME:WEIGHT with a weight above 0"),
        ("1:0", "'1:0' is not NAME:WEIGHT with a weight above 0"),
        ("1:-1", "a weight above 0"),
        ("1:nan", "a weight above 0"),
        ("1:inf", "a weight above 0"),
        ("1,1", "'1' is there twice"),
        ("geometric:", "'geometric:' is not geometric:MEAN"),
        ("geometric:1", "with a mean above 1 and up to 100"),
        ("geometric:101", "with a mean above 1 and up to 100"),
        ("geometric:nan", "with a mean above 1 and up to 100"),
        ("geometric:2:0", "0 is not in the range x>=1"),
        ("geometric:2:3:4", "is not geometric:MEAN"),
    ],
)
def test_other_sizes_are_refused_with_the_bound(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        parse_sizes(text)
    assert reason in str(raised.value)


def test_weights_keep_the_order_and_default_to_one() -> None:
    assert list(parse_weights("mlp = 3, a:0=2,identity".replace(" = ", "="), "=").items()) == [
        ("mlp", 3),
        ("a:0", 2),
        ("identity", 1),
    ]
