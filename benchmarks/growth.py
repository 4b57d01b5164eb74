"""How our own figures grow with the load: a tenth of it, all of it, ten times as much.

The exponent of a step is that of the power which joins its two figures: 0 is no growth, 1 grows as
the load does, 2 with its square.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from typing import Final

from benchmarks.goals import Figures, Verdict, at_most
from benchmarks.kinds import MB

# Above 1 by what is noise: 12 % of a figure over a step of ten.
MAX_EXPONENT: Final = 1.05


@dataclass(frozen=True, slots=True)
class Series:
    """One load in three sizes, each ten times the one before.

    Attributes:
        title: What is done.
        unit: What the sizes count.
        contender: Who does it.
        scenarios: The scenario of each size.
        is_timed: Whether its time is a matter of its size.
    """

    title: str
    unit: str
    contender: str
    scenarios: Mapping[int, str]
    is_timed: bool = True


@dataclass(frozen=True, slots=True)
class Grown:
    """What a series came to: a figure for each size, and the power that joins each two."""

    series: Series
    wall_s: tuple[float, ...]
    peak_mb: tuple[float, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """From the smallest to the largest."""
        return tuple(self.series.scenarios)

    @property
    def time_exponents(self) -> tuple[float, ...]:
        """Of each step; none where time is no matter of the size."""
        return exponents(self.sizes, self.wall_s) if self.series.is_timed else ()

    @property
    def memory_exponents(self) -> tuple[float, ...]:
        """Of each step."""
        return exponents(self.sizes, self.peak_mb)


def exponents(sizes: Sequence[float], figures: Sequence[float]) -> tuple[float, ...]:
    """The power of the size by which a figure grows, for each step from one size to the next."""
    points = list(zip(sizes, figures, strict=True))
    return tuple(
        log(after / before) / log(larger / smaller)
        for (smaller, before), (larger, after) in pairwise(points)
    )


def grown(series: Series, figures: Figures) -> Grown:
    """The figures of a series.

    Raises:
        KeyError: One was not measured.
    """
    medians = [figures[name][series.contender] for name in series.scenarios.values()]
    return Grown(
        series,
        tuple(one.wall_s for one in medians),
        tuple(one.peak_rss_bytes / MB for one in medians),
    )


def judge(all_series: Sequence[Series], figures: Figures) -> Verdict:
    """Whether nothing grows faster than the load does."""
    worst, of = max(
        (exponent, f"{what} of {one.series.title}")
        for one in (grown(series, figures) for series in all_series)
        for what, found in (("time", one.time_exponents), ("memory", one.memory_exponents))
        for exponent in found
    )
    verdict = at_most(MAX_EXPONENT, "{:.2f}", worst)
    return Verdict(f"at most the power {verdict.figure} ({of})", verdict.is_met)
