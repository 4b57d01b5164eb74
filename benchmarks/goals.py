"""Goals, and what makes a figure meet one: everything on the page that says "met" is said here."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from benchmarks.measure import Median

# The medians of a run, by scenario and contender; none of what was not measured, or failed.
Figures: TypeAlias = Mapping[str, Mapping[str, Median]]


class Verdict(NamedTuple):
    """A figure in words, and whether it is good enough."""

    figure: str
    is_met: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """A figure that batchgen should reach.

    Attributes:
        words: The goal as it stands in the results.
        scenarios: What has to be measured for it; the section of the first states it.
        judge: Makes the figure of the medians, and says whether it is good enough; a KeyError
            names what is missing.
        point: The heading under which it stands in the table that begins the page, if it does.
    """

    words: str
    scenarios: tuple[str, ...]
    judge: Callable[[Figures], Verdict]
    point: str = ""

    def is_measured_by(self, figures: Figures) -> bool:
        """Whether all that it needs was measured, whether it went well or not."""
        return all(name in figures for name in self.scenarios)


def at_most(limit: float, form: str, *figures: float) -> Verdict:
    """Met if no figure is above the limit; `form` words one of them."""
    return Verdict(_worded(form, figures), max(figures) <= limit)


def at_least(limit: float, form: str, *figures: float) -> Verdict:
    """Met if no figure is below the limit; `form` words one of them."""
    return Verdict(_worded(form, figures), min(figures) >= limit)


def both(*verdicts: Verdict) -> Verdict:
    """Met if each is."""
    words = ", ".join(verdict.figure for verdict in verdicts)
    return Verdict(words, all(verdict.is_met for verdict in verdicts))


def _worded(form: str, figures: Iterable[float]) -> str:
    return " and ".join(form.format(figure) for figure in figures)
