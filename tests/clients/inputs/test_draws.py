from collections import Counter
from itertools import islice

import pytest

from yais.clients.inputs.workload import WeightedChoice, draw


def test_a_single_share_goes_round_in_turn() -> None:
    assert list(islice(draw([WeightedChoice(1.0, ("a", "b", "c"))], 0), 7)) == ["a", "b", "c", "a", "b", "c", "a"]


def test_shares_are_drawn_by_their_weights() -> None:
    choices = [WeightedChoice(70, ("small",)), WeightedChoice(25, ("medium",)), WeightedChoice(5, ("large",))]
    counts = Counter(islice(draw(choices, 3), 100_000))
    # Five standard deviations of a binomial count.
    for choice in choices:
        probability = choice.weight / 100
        deviation = (100_000 * probability * (1 - probability)) ** 0.5
        assert abs(counts[choice.items[0]] - 100_000 * probability) < 5 * deviation


def test_draws_do_not_depend_on_those_before() -> None:
    drawn = "".join(islice(draw([WeightedChoice(1, ("a",)), WeightedChoice(1, ("b",))], 0), 40_000))
    pairs = Counter(drawn[place : place + 2] for place in range(0, 40_000, 2))
    assert all(4_650 < pairs[pair] < 5_350 for pair in ("aa", "ab", "ba", "bb"))


def test_things_of_a_drawn_share_take_turns() -> None:
    drawn = list(islice(draw([WeightedChoice(1, (1, 2, 3)), WeightedChoice(1, ("x",))], 0), 100))
    numbers = [thing for thing in drawn if thing != "x"]
    assert 20 < len(numbers) < 80
    assert numbers == list(islice(draw([WeightedChoice(1, (1, 2, 3))]), len(numbers)))


def test_the_seed_decides_about_the_draws() -> None:
    choices = [WeightedChoice(1, ("a",)), WeightedChoice(1, ("b",))]
    first, same, other, third = (list(islice(draw(choices, *seed), 100)) for seed in ((1,), (1,), (2,), (1, 1)))
    assert first == same
    assert first != other
    assert first != third


@pytest.mark.parametrize("weights", [(0.1,) * 10, (1e-9, 1e9), (1e-300, 1e-300)])
def test_any_weights_can_be_drawn(weights: tuple[float, ...]) -> None:
    choices = [WeightedChoice(weight, (index,)) for index, weight in enumerate(weights)]
    drawn = set(islice(draw(choices, 0), 3000))
    assert drawn == ({1} if weights[0] < weights[1] else set(range(len(weights))))
