"""How our own figures grow with the load: a tenth of it, all of it, ten times as much.

The exponent of a step is that of the power which joins its two figures: 0 is no growth, 1 grows as
the load does, 2 with its square.

A machine may itself do the tenth gigabyte more slowly than the first one, whoever writes it. Where
that would be taken for our growth, the floor writes the same, and is what ours is judged by.
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
        floor: The contender whose time grows by what the machine does; empty for none.
    """

    title: str
    unit: str
    contender: str
    scenarios: Mapping[int, str]
    is_timed: bool = True
    floor: str = ""


@dataclass(frozen=True, slots=True)
class Grown:
    """What a series came to: a figure for each size, and the power that joins each two."""

    series: Series
    wall_s: tuple[float, ...]
    peak_mb: tuple[float, ...]
    floor_s: tuple[float, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """From the smallest to the largest."""
        return tuple(self.series.scenarios)

    @property
    def time_exponents(self) -> tuple[float, ...]:
        """Of each step; none where time is no matter of the size."""
        return exponents(self.sizes, self.wall_s) if self.series.is_timed else ()

    @property
    def floor_exponents(self) -> tuple[float, ...]:
        """By how much the floor's time grows; none where there is no floor."""
        return exponents(self.sizes, self.floor_s) if self.floor_s else ()

    @property
    def judged_exponents(self) -> tuple[float, ...]:
        """What is left of each step's growth of time, if the floor's is as the load."""
        floor = self.floor_exponents or (1.0,) * len(self.time_exponents)
        # Where even the floor has not begun to grow as the load, it is not the machine's growth.
        return tuple(
            ours - max(0.0, theirs - 1)
            for ours, theirs in zip(self.time_exponents, floor, strict=True)
        )

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
        tuple(figures[name][series.floor].wall_s for name in series.scenarios.values())
        if series.floor
        else (),
    )


def judge(all_series: Sequence[Series], figures: Figures) -> Verdict:
    """Whether nothing grows faster than the load does."""
    worst, of = max(
        (exponent, f"{what} of {one.series.title}")
        for one in (grown(series, figures) for series in all_series)
        for what, found in (("time", one.judged_exponents), ("memory", one.memory_exponents))
        for exponent in found
    )
    verdict = at_most(MAX_EXPONENT, "{:.2f}", worst)
    return Verdict(f"at most the power {verdict.figure} ({of})", verdict.is_met)
