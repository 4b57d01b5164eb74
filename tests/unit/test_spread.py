"""How far a sum may be from what is expected: by hand, and by drawing many sums."""

import math
import random
from collections.abc import Callable

import pytest

from batchgen.forecast.spread import Spread, added, of_samples, quantile

Draw = Callable[[random.Random], float]


@pytest.mark.parametrize(
    ("values", "q", "expected"),
    [
        ([7], 0.05, 7),
        ([1, 3], 0.5, 2),
        ([30, 10, 20], 0.5, 20),
        ([0, 1, 2, 3, 4], 0.25, 1),
        ([0, 10, 20, 30, 40], 0.05, 2),  # a fifth of the way from the first to the second
        ([0, 10, 20, 30, 40], 0.95, 38),
        ([5, 5, 5, 5], 0.95, 5),
    ],
)
def test_a_quantile_lies_between_two_values_in_proportion(
    values: list[float], q: float, expected: float
) -> None:
    assert quantile(values, q) == pytest.approx(expected)


def test_the_sum_of_many_is_their_number_times_the_mean() -> None:
    assert of_samples([1.0, 2.0, 6.0], 5).expected == pytest.approx(15)


@pytest.mark.parametrize(("m", "rare"), [(100, 1 / 100), (10, 1 / 25)])
def test_what_never_differed_may_do_so_too_rarely_to_have_been_seen(m: int, rare: float) -> None:
    spread = of_samples([3.0] * m, 60)
    a_turn = 3 * math.sqrt(rare) * 1.645 * 1.65 * (1 + 3 / m)
    away = 60 * a_turn * math.sqrt(1 / 60 + 1 / m)
    assert spread == pytest.approx((180, away, away, False))


def test_a_long_tail_is_told_by_its_quantile() -> None:
    spread = of_samples([1.0] * 90 + [5.0] * 10, 50)
    away = 50 * 1.65 * 1.03 * math.sqrt(1 / 50 + 1 / 100)
    assert spread.above == pytest.approx(away * (5 - 1.4))
    assert spread.below < spread.above * 0.6


def test_the_spread_of_a_sum_grows_with_the_root_of_its_number() -> None:
    values = [float(value) for value in range(1000)]
    few, many = of_samples(values, 100), of_samples(values, 400)
    of_few, of_many = few.above / math.sqrt(1 / 100 + 1 / 1000), many.above / many.expected
    assert of_many / (of_few / few.expected) == pytest.approx(math.sqrt(1 / 400 + 1 / 1000))


def test_what_goes_wrong_each_for_itself_evens_out_and_what_is_shared_adds_up() -> None:
    by_itself = Spread(100, 3, 30)
    assert added([by_itself, Spread(50, 4, 40)]) == Spread(150, 5, 50)
    shared = Spread.of_span(90, 100, 130)
    assert shared == Spread(100, 10, 30, is_shared=True)
    assert added([shared, shared]) == Spread(200, 20, 60)
    assert added([shared, by_itself]) == Spread(200, 13, 60)
    assert added([]).span == (0, 0, 0)


def test_nothing_is_less_than_nothing() -> None:
    assert Spread(2, 5, 1).span == (0, 2, 3)


def _words(rng: random.Random) -> float:
    """A picture of 1120 tokens, the words beside it and the thoughts, by the rates of Pro."""
    return 1120 * 120 + (rng.randint(88, 630) + rng.randint(50, 400)) * 12


def _with_refusals(rng: random.Random) -> float:
    """The same; one in five thinks once more for nothing."""
    again = rng.randint(50, 400) * 12 if rng.random() < 0.2 else 0
    return _words(rng) + again


def _with_waste(rng: random.Random) -> float:
    """The same; one in 25 is drawn twice."""
    return _words(rng) + (_words(rng) if rng.random() < 0.04 else 0)


def _with_failures(rng: random.Random) -> float:
    """The same; one in 25 is refused and costs what it thought."""
    return _words(rng) if rng.random() < 0.96 else rng.randint(50, 400) * 12


def _seconds(rng: random.Random) -> float:
    """A latency that is mostly short, and at times very long."""
    return min(300, rng.lognormvariate(3, 0.6))


@pytest.mark.parametrize(
    ("draw", "share"),
    [
        (_words, 0.99),
        (_with_refusals, 0.99),
        # What is rare and dear comes in ones and twos: the ends of few turns cannot be that sure.
        (_with_waste, 0.97),
        (_with_failures, 0.96),
        (_seconds, 0.97),
    ],
)
def test_of_a_hundred_sums_hardly_one_lies_outside(draw: Draw, share: float) -> None:
    rng = random.Random(7)
    n_sums = n_inside = 0
    for m in (8, 40, 160):
        for n in (1, 12, 40, 160):
            for _ in range(60):
                spread = of_samples([draw(rng) for _ in range(m)], n)
                low, _expected, high = spread.span
                n_sums += 1
                n_inside += low <= sum(draw(rng) for _ in range(n)) <= high
    assert n_inside >= share * n_sums, (n_inside, n_sums)


def test_after_many_pictures_the_ends_are_near() -> None:
    rng = random.Random(7)
    spread = of_samples([_words(rng) for _ in range(160)], 160)
    assert max(spread.above, spread.below) < 0.03 * spread.expected
