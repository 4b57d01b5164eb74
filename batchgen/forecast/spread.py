"""How far a sum may be from what is expected of it. Pure; nothing here knows what is summed.

A sum of many like things is expected to be their number times the mean of what was seen. How far
it may be from that follows from the quantiles of single ones: they go up and down each for itself,
so the spread of a sum grows with the root of their number; and the mean of few is itself uncertain.

Source: docs/cost.md; the factors are what a simulation asks for (tests/unit/test_spread.py).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Self

from batchgen.known_models import Span

_QUANTILES: Final = (0.05, 0.95)
_NORMAL: Final = 1.645  # where those lie, in standard deviations, were it a bell
_SURE: Final = 1.65  # from there to where one sum in a hundred lies
_RARE: Final = 0.04  # one that fails or is made twice so seldom may not have been seen
_FEW: Final = 3.0  # so much wider for few samples, as a share of 1/m


class Spread(NamedTuple):
    """What is expected of a sum, and how far below and above it may be.

    Attributes:
        is_shared: What is wrong is wrong for all that is summed alike.
    """

    expected: float
    below: float
    above: float
    is_shared: bool = False

    @classmethod
    def of_span(cls, low: float, expected: float, high: float) -> Self:
        """From and to what is known, without knowing what lies between."""
        return cls(expected, expected - low, high - expected, is_shared=True)

    @property
    def span(self) -> Span:
        """Low, expected and high; nothing is less than nothing."""
        low, high = self.expected - self.below, self.expected + self.above
        return Span(max(0.0, low), self.expected, max(0.0, high))


def added(spreads: Iterable[Spread]) -> Spread:
    """The sum of sums: those that go wrong each for itself even out, the others do not."""
    spreads = list(spreads)

    def together(side: Callable[[Spread], float]) -> float:
        shared = sum(side(one) for one in spreads if one.is_shared)
        return shared + math.hypot(*(side(one) for one in spreads if not one.is_shared))

    return Spread(
        sum(one.expected for one in spreads),
        together(lambda one: one.below),
        together(lambda one: one.above),
    )


def of_samples(values: Sequence[float], n: int) -> Spread:
    """What `n` more come to, if they are like these, of which there are at least two.

    Where nothing was seen to fail or to be made twice, it may be so rare that it was not seen: of
    `m`, one at most.
    """
    m = len(values)
    mean = sum(values) / m
    variance = sum((value - mean) ** 2 for value in values) / (m - 1)
    deviation = math.sqrt(variance + mean**2 * min(1 / m, _RARE))
    low, high = (quantile(values, q) for q in _QUANTILES)
    factor = n * _SURE * (1 + _FEW / m) * math.sqrt(1 / n + 1 / m)
    return Spread(
        n * mean,
        factor * max(mean - low, _NORMAL * deviation),
        factor * max(high - mean, _NORMAL * deviation),
    )


def quantile(values: Iterable[float], q: float) -> float:
    """A quantile, between two values in proportion."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
