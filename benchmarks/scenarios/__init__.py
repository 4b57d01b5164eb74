"""What is measured, a module a subject, and the goals that there are.

`MAIN` is what the table at the head of RESULTS.md needs; `SCENARIOS` is all.
"""

from typing import Final

from benchmarks.goals import Goal
from benchmarks.kinds import Scenario
from benchmarks.scenarios import (
    crews,
    growth,
    large,
    limits,
    loop,
    memory,
    others,
    references,
    replies,
    small,
    start,
)

_FIRST: Final = (replies, memory, small, references, large, start, loop, growth)
_REST: Final = (crews, others, limits)

# What `make bench` runs: all that the goals at the head of the page need.
MAIN: Final[tuple[Scenario, ...]] = tuple(one for module in _FIRST for one in module.SCENARIOS)
SCENARIOS: Final[tuple[Scenario, ...]] = (
    *MAIN,
    *(one for module in _REST for one in module.SCENARIOS),
)
GOALS: Final[tuple[Goal, ...]] = tuple(
    goal for module in (*_FIRST, *_REST) for goal in module.GOALS
)
